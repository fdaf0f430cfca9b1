"""The gateway in front of several: it looks up whose a request is, and passes it on."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

from nogilserve.messages import AsyncExchange, Exchange, WebSocketExchange
from nogilserve.sites.table import NO_HOST, Paths, Router

__all__ = ["AsyncSitesGateway", "Found", "SitesGateway"]

_MOST: Final = 1024
"""Hosts that are remembered: they come from clients, so there is a bound."""


class Found:
    """Looks rows up, and remembers hosts as they were written.

    Owner: a core or a loop; calls may overlap: what two of them remember for a host is the same.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._known: dict[str, Paths | None] = {}

    def index(self, authority: str, path: str) -> int:
        """The row, or NO_HOST or NO_PATH."""
        known = self._known
        try:
            paths = known[authority]
        except KeyError:
            paths = self._router.paths(authority)
            if len(known) < _MOST:
                known[authority] = paths
        return NO_HOST if paths is None else paths.find(path)


class SitesGateway:
    """For the thread engine. Owner: its core; calls may overlap, see Found."""

    def __init__(self, router: Router, gateways: Sequence[Callable[[Exchange], None]]) -> None:
        """`gateways`: one for each row; then that for unknown paths, and that for unknown hosts."""
        self._find = Found(router).index
        self._gateways = tuple(gateways)

    def run(self, exchange: Exchange) -> None:
        """Pass it on. Never raises."""
        request = exchange.request
        self._gateways[self._find(request.authority, request.path)](exchange)


class AsyncApplication(Protocol):
    """What an event loop's gateway does."""

    def http(self, exchange: AsyncExchange) -> Coroutine[Any, Any, None]:
        """One request."""

    def websocket(self, exchange: WebSocketExchange) -> Coroutine[Any, Any, None]:
        """One WebSocket connection."""


class AsyncSitesGateway:
    """For event loops. Owner: one loop."""

    def __init__(self, router: Router, gateways: Sequence[AsyncApplication]) -> None:
        """`gateways`: as of SitesGateway."""
        self._find = Found(router).index
        self._gateways = tuple(gateways)

    def http(self, exchange: AsyncExchange) -> Coroutine[Any, Any, None]:
        """Pass it on."""
        request = exchange.request
        return self._gateways[self._find(request.authority, request.path)].http(exchange)

    def websocket(self, exchange: WebSocketExchange) -> Coroutine[Any, Any, None]:
        """Pass it on."""
        request = exchange.http.request
        return self._gateways[self._find(request.authority, request.path)].websocket(exchange)
