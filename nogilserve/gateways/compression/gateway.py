"""Gateways that have an application's responses compressed."""

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from nogilserve.gateways.compression.exchange import (
    AsyncCompressingExchange,
    CompressingExchange,
    Makers,
)
from nogilserve.messages import AsyncExchange, Exchange, WebSocketExchange

__all__ = ["AsyncCompressingGateway", "CompressingGateway"]


class CompressingGateway:
    """For the thread engine. Owner: its core; calls may overlap, nothing in it changes."""

    def __init__(self, makers: Makers, inner: Callable[[Exchange], None]) -> None:
        """`inner` runs the application."""
        self._makers = makers
        self._inner = inner

    def run(self, exchange: Exchange) -> None:
        """Run the application. Never raises."""
        self._inner(CompressingExchange(exchange, self._makers))


class AsyncApplication(Protocol):
    """What an event loop's gateway does."""

    def http(self, exchange: AsyncExchange) -> Coroutine[Any, Any, None]:
        """One request."""

    def websocket(self, exchange: WebSocketExchange) -> Coroutine[Any, Any, None]:
        """One WebSocket connection."""


class AsyncCompressingGateway:
    """For event loops. Owner: one loop. WebSockets have a compression of their own."""

    def __init__(self, makers: Makers, inner: AsyncApplication) -> None:
        """`inner` runs the application."""
        self._makers = makers
        self._inner = inner
        self.websocket = inner.websocket

    def http(self, exchange: AsyncExchange) -> Coroutine[Any, Any, None]:
        """Run the application. The coroutine never raises, but for a cancellation."""
        return self._inner.http(AsyncCompressingExchange(exchange, self._makers))
