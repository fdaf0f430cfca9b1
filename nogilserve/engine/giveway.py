"""Waiting for a poller, after giving way once to those who wait for this thread's processor."""

from time import monotonic
from typing import Final

from nogilserve.engine.poller import Events, Poller, give_way

__all__ = ["Waiting"]

_LONG_YIELD: Final = 0.002
"""Seconds after which a thread that gave way to others should have had its processor back."""
_YIELD_PAUSE: Final = 100
"""For how many times as long it does not give way again, when it took longer."""


class Waiting:
    """Owner: the thread that polls."""

    __slots__ = ("_no_yield_until",)

    def __init__(self) -> None:
        self._no_yield_until = 0.0

    def wait(self, poller: Poller, timeout: float) -> Events:
        """Wait until something is ready, at most `timeout` seconds (-1: for ever). Nothing was
        ready just now."""
        self.give_way()
        return poller.poll(timeout)

    def give_way(self) -> None:
        """Whom a poller waits for often waits for a processor, for example its clients: after them
        there is more to do at once, and one wake-up for all of it."""
        began = monotonic()
        if began >= self._no_yield_until:
            give_way()
            ended = monotonic()
            if ended - began > _LONG_YIELD:
                # Others compute: against them a thread that slept is preferred to one that yields.
                self._no_yield_until = ended + _YIELD_PAUSE * (ended - began)
