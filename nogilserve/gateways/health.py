"""Answers for probes, before the application: whether the process lives, and whether it wants new
clients."""

from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from nogilserve.errors import ClientDisconnected
from nogilserve.messages import AsyncExchange, Exchange, Headers, Request, WebSocketExchange

__all__ = ["AsyncHealthGateway", "HealthGateway", "Probes", "Readiness"]

_FIELDS: Final[Headers] = [
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Cache-Control", "no-store"),
]
_ALIVE: Final = ("200 OK", b"alive\n")
_READY: Final = ("200 OK", b"ready\n")
_NOT_READY: Final = ("503 Service Unavailable", b"not ready for new clients\n")
_METHODS: Final = frozenset(("GET", "HEAD"))


class Readiness:
    """Whether new clients are welcome. Any thread writes and reads: the last word counts."""

    __slots__ = ("ready",)

    def __init__(self) -> None:
        self.ready = True


class Probes:
    """What is answered where. Immutable but for the readiness."""

    __slots__ = ("_alive", "_readiness", "_ready")

    def __init__(self, alive: str, ready: str, readiness: Readiness) -> None:
        """The paths, "" for none."""
        self._alive = alive
        self._ready = ready
        self._readiness = readiness

    def answer(self, request: Request) -> tuple[str, bytes] | None:
        """Status and body; None: it is no probe's request."""
        target = request.target
        if target != self._ready and target != self._alive:
            return None
        if request.method not in _METHODS:
            return None
        if target == self._alive:
            return _ALIVE
        return _READY if self._readiness.ready else _NOT_READY


class HealthGateway:
    """For the thread engine. Any thread: nothing in it changes."""

    def __init__(self, probes: Probes, inner: Callable[[Exchange], None]) -> None:
        """`inner` runs the application."""
        self._probes = probes
        self._inner = inner

    def run(self, exchange: Exchange) -> None:
        """Answer a probe, or run the application. Never raises."""
        answer = self._probes.answer(exchange.request)
        if answer is None:
            self._inner(exchange)
            return
        try:
            exchange.prepare(answer[0], _FIELDS)
            exchange.send_whole(answer[1])
        except ClientDisconnected:
            exchange.abort()


class _Application(Protocol):
    def http(self, exchange: AsyncExchange) -> Coroutine[Any, Any, None]:
        """One request."""

    def websocket(self, exchange: WebSocketExchange) -> Coroutine[Any, Any, None]:
        """One WebSocket connection."""


class AsyncHealthGateway:
    """For event loops. Owner: one loop; nothing in it changes."""

    def __init__(self, probes: Probes, inner: _Application) -> None:
        """`inner` runs the application."""
        self._probes = probes
        self._inner = inner
        self.websocket = inner.websocket

    def http(self, exchange: AsyncExchange) -> Coroutine[Any, Any, None]:
        """Answer a probe, or run the application. The coroutine never raises, but for a
        cancellation."""
        answer = self._probes.answer(exchange.request)
        return self._inner.http(exchange) if answer is None else self._tell(exchange, answer)

    async def _tell(self, exchange: AsyncExchange, answer: tuple[str, bytes]) -> None:
        try:
            exchange.prepare(answer[0], _FIELDS)
            exchange.send_whole(answer[1])
        except ClientDisconnected:
            exchange.abort()
