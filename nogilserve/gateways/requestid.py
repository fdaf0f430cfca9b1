"""Gateways that tell a client the id of its request, under which the logs have it."""

from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from nogilserve.gateways.wrapped import AsyncWrapped, Wrapped
from nogilserve.messages import AsyncExchange, Exchange, Headers, WebSocketExchange

__all__ = ["AsyncRequestIdGateway", "RequestIdGateway"]

_NAME: Final = "X-Request-ID"
_LOWER: Final = _NAME.lower()


def _told(headers: Headers, request_id: str) -> Headers:
    """The field lines with the id; one that the application has put there is replaced: it would not
    be the one in the logs."""
    kept = [field for field in headers if field[0].lower() != _LOWER]
    return [*kept, (_NAME, request_id)]


class _Tagged(Wrapped):
    """Owner: the thread that runs the request."""

    __slots__ = ()

    def prepare(self, status: str, headers: Headers) -> None:
        self._inner.prepare(status, headers)  # the application's mistakes are its own
        self._inner.prepare(status, _told(headers, self._inner.request_id))


class _AsyncTagged(AsyncWrapped):
    """Owner: the event loop of the connection."""

    __slots__ = ()

    def prepare(self, status: str, headers: Headers) -> None:
        self._inner.prepare(status, headers)
        self._inner.prepare(status, _told(headers, self._inner.request_id))


class RequestIdGateway:
    """For the thread engine. Owner: its core; calls may overlap, nothing in it changes."""

    def __init__(self, inner: Callable[[Exchange], None]) -> None:
        self._inner = inner

    def run(self, exchange: Exchange) -> None:
        """Run what is inside. Never raises."""
        self._inner(_Tagged(exchange))


class _Application(Protocol):
    def http(self, exchange: AsyncExchange) -> Coroutine[Any, Any, None]:
        """One request."""

    def websocket(self, exchange: WebSocketExchange) -> Coroutine[Any, Any, None]:
        """One WebSocket connection."""


class AsyncRequestIdGateway:
    """For event loops. Owner: one loop. Handshakes of WebSockets are left alone."""

    def __init__(self, inner: _Application) -> None:
        self._inner = inner
        self.websocket = inner.websocket

    def http(self, exchange: AsyncExchange) -> Coroutine[Any, Any, None]:
        """Run what is inside."""
        return self._inner.http(_AsyncTagged(exchange))
