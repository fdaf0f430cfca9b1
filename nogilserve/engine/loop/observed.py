"""A gateway between an event loop and the application's, which notes what is inside."""

import asyncio
from collections.abc import Coroutine
from time import monotonic
from typing import Any, Protocol

from nogilserve.engine.meter import Meter
from nogilserve.messages import AsyncExchange, WebSocketExchange

__all__ = ["Observed"]


class _Gateway(Protocol):
    def http(self, exchange: AsyncExchange) -> Coroutine[Any, Any, None]:
        """One request."""

    def websocket(self, exchange: WebSocketExchange) -> Coroutine[Any, Any, None]:
        """One WebSocket connection."""


class Observed:
    """Owner: one loop. Entries of `Meter.inside` have the task as their last part."""

    def __init__(self, inner: _Gateway, meter: Meter) -> None:
        self._inner = inner
        self._inside = meter.inside
        self.websocket = inner.websocket

    async def http(self, exchange: Any) -> None:
        """One request. Never raises, but for a cancellation."""
        task = asyncio.current_task()
        key = id(task)
        began = monotonic()
        exchange.called = began
        self._inside[key] = (exchange.request, began, exchange.client, exchange.known_id, task)
        try:
            await self._inner.http(exchange)
        finally:
            del self._inside[key]
