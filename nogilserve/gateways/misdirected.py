"""Requests for another host than the one this process serves: 421 (RFC 9110 §15.5.20).

A client may send requests for several hosts over one connection: proxies do, and browsers where one
certificate covers them. Nobody but the right tenant may answer.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from nogilserve.errors import ClientDisconnected
from nogilserve.gateways.failures import PLAIN
from nogilserve.messages import AsyncExchange, Exchange, Request, WebSocketExchange

__all__ = ["AsyncOnlyFor", "OnlyFor"]

_TEXT: Final = b"421 Misdirected Request: ask for this host over a connection of its own\n"
_KNOWN: Final = 64
"""Names kept that were found to be this one's: with a port or without, and of all its hosts."""

type Mine = Callable[[Request], bool]
"""Whether a request is for this process. Any thread."""


class OnlyFor:
    """For the thread engine. Owner: its core; calls may overlap in `_known`, a set that is only
    added to."""

    def __init__(self, mine: Mine, *, by_host: bool, inner: Callable[[Exchange], None]) -> None:
        """`by_host`: the host alone decides, so it need not be judged each time."""
        self._mine = mine
        self._most = _KNOWN if by_host else 0
        self._inner = inner
        self._known: set[str] = set()

    def run(self, exchange: Exchange) -> None:
        """Run the application, or refuse. Never raises."""
        request = exchange.request
        if request.authority in self._known:
            self._inner(exchange)
        elif self._mine(request):
            if len(self._known) < self._most:
                self._known.add(request.authority)
            self._inner(exchange)
        else:
            _refuse(exchange)


class AsyncInner(Protocol):
    """What an event loop's gateway does."""

    def http(self, exchange: AsyncExchange) -> Coroutine[Any, Any, None]:
        """One request."""

    def websocket(self, exchange: WebSocketExchange) -> Coroutine[Any, Any, None]:
        """One WebSocket connection."""


class AsyncOnlyFor:
    """For event loops. Owner: one loop."""

    def __init__(self, mine: Mine, *, by_host: bool, inner: AsyncInner) -> None:
        """As of OnlyFor."""
        self._mine = mine
        self._most = _KNOWN if by_host else 0
        self._inner = inner
        self._known: set[str] = set()

    def http(self, exchange: AsyncExchange) -> Coroutine[Any, Any, None]:
        """One request: the application's coroutine, or one that refuses."""
        if self._is_mine(exchange.request):
            return self._inner.http(exchange)
        return _refuse_soon(exchange)

    def websocket(self, exchange: WebSocketExchange) -> Coroutine[Any, Any, None]:
        """One WebSocket connection."""
        if self._is_mine(exchange.http.request):
            return self._inner.websocket(exchange)
        return _refuse_soon(exchange.http)

    def _is_mine(self, request: Request) -> bool:
        if request.authority in self._known:
            return True
        if not self._mine(request):
            return False
        if len(self._known) < self._most:
            self._known.add(request.authority)
        return True


async def _refuse_soon(exchange: AsyncExchange) -> None:
    _refuse(exchange)


def _refuse(exchange: Exchange | AsyncExchange) -> None:
    try:
        exchange.prepare("421 Misdirected Request", [PLAIN])
        exchange.send_whole(_TEXT)
    except ClientDisconnected:
        exchange.abort()
