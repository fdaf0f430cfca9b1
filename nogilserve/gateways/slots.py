"""Gateways that let only so many requests of a site into its application (`limit-concurrency`)."""

import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from nogilserve.gateways.fixed import AsyncFixedGateway, FixedGateway, fixed
from nogilserve.messages import AsyncExchange, Exchange, WebSocketExchange

__all__ = ["AsyncSlotsGateway", "Slots", "SlotsGateway"]

_FULL: Final = fixed(503, "Service Unavailable\n", [("Retry-After", "1")])


class Slots:
    """How many are inside, and may be. Any thread; the number belongs to the lock."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._inside = 0

    def enter(self) -> bool:
        """Take a place; False: there is none."""
        with self._lock:
            if self._inside >= self._most:
                return False
            self._inside += 1
            return True

    def leave(self) -> None:
        """Give it back."""
        with self._lock:
            self._inside -= 1


class SlotsGateway:
    """For the thread engine. Owner: its core; the slots are shared by all."""

    def __init__(self, slots: Slots, inner: Callable[[Exchange], None]) -> None:
        self._slots = slots
        self._inner = inner
        self._full = FixedGateway(_FULL).run

    def run(self, exchange: Exchange) -> None:
        """Run what is inside, or answer 503."""
        if not self._slots.enter():
            self._full(exchange)
            return
        try:
            self._inner(exchange)
        finally:
            self._slots.leave()


class AsyncApplication(Protocol):
    """What an event loop's gateway does."""

    def http(self, exchange: AsyncExchange) -> Coroutine[Any, Any, None]:
        """One request."""

    def websocket(self, exchange: WebSocketExchange) -> Coroutine[Any, Any, None]:
        """One WebSocket connection."""


class AsyncSlotsGateway:
    """For event loops. Owner: one loop; the slots are shared by all. An open WebSocket keeps its
    place."""

    def __init__(self, slots: Slots, inner: AsyncApplication) -> None:
        self._slots = slots
        self._inner = inner
        self._full = AsyncFixedGateway(_FULL)

    async def http(self, exchange: AsyncExchange) -> None:
        """Run what is inside, or answer 503."""
        if not self._slots.enter():
            await self._full.http(exchange)
            return
        try:
            await self._inner.http(exchange)
        finally:
            self._slots.leave()

    async def websocket(self, exchange: WebSocketExchange) -> None:
        """Run what is inside, or refuse the handshake with 503."""
        if not self._slots.enter():
            await self._full.websocket(exchange)
            return
        try:
            await self._inner.websocket(exchange)
        finally:
            self._slots.leave()
