"""Coroutines that wait for something to happen to their connection."""

import asyncio

__all__ = ["Waiters"]


class Waiters:
    """Owner: the thread of the loop. Each waiter has a future of its own: one that is cancelled
    does not take the others with it."""

    __slots__ = ("_loop", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.waiting: list[asyncio.Future[None]] = []
        """Who waits; look, but do not touch."""

    def wait(self) -> "asyncio.Future[None]":
        """Done at the next `wake`."""
        future: asyncio.Future[None] = self._loop.create_future()
        if self.waiting:  # who asks again and again and gives up each time must leave no trace
            self.waiting = [waiting for waiting in self.waiting if not waiting.done()]
        self.waiting.append(future)
        return future

    @property
    def awaited(self) -> bool:
        """Whether anybody waits, and has not given up."""
        return any(not future.done() for future in self.waiting)

    def wake(self) -> None:
        """Something has happened."""
        if self.waiting:
            futures, self.waiting = self.waiting, []
            for future in futures:
                if not future.done():
                    future.set_result(None)
