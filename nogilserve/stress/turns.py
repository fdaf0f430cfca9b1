"""A request while it runs in the subject: what it has touched, and where it is made to wait."""

import asyncio
import contextvars
import random
import sys
import threading
from collections.abc import Container
from dataclasses import dataclass, field
from time import perf_counter_ns, sleep
from typing import Any, Final

from nogilserve.stress.tickets import Ticket

__all__ = ["CURRENT", "Touch", "Turn"]

_MOST_TOUCHES: Final = 400
"""That are kept of one request."""
_MOST_PAUSED: Final = 0.05
"""Seconds that one request is made to wait at most, all pauses together."""
_LENGTHS: Final = (0.0, 0.0002, 0.001, 0.003)
"""Of a pause, in seconds."""
_FRAMES: Final = 60
"""That are looked at for the application's own."""


@dataclass(frozen=True, slots=True)
class Touch:
    """A place in the application's code that touches what threads share. Immutable."""

    name: str
    """ "cache" of a module, ".count" of some object."""
    kind: str
    """ "reads", "writes" or "uses"."""
    file: str
    line: int
    function: str


@dataclass(eq=False)
class Turn:
    """Owner: whatever runs the request; `touches` and `failures` only grow, by single appends, so
    several threads that work for one request may use it."""

    ticket: Ticket
    touches: list[tuple[int, Touch, str, tuple[str, ...]]] = field(default_factory=list)
    """When (nanoseconds), what, name of the thread, the application's frames if wanted."""
    failures: list[str] = field(default_factory=list)
    """Exceptions and logged errors, one text each."""
    own_files: Container[str] = ()
    task: "asyncio.Task[Any] | None" = None
    """Of ASGI, while it runs."""

    def __post_init__(self) -> None:
        self._chance = self.ticket.pauses / 1000
        self._left = _MOST_PAUSED
        self._random = random.Random(self.ticket.seed)

    def at(self, touch: Touch) -> None:
        """The application is about to do this: perhaps let others go first, then note it."""
        if self._random.random() < self._chance:
            # Many short ones, which only change the order, and a few that are long enough for
            # another request to come from its beginning to this place.
            length = self._random.choice(_LENGTHS)
            if self._left > length:
                self._left -= length
                sleep(length)
        if len(self.touches) < _MOST_TOUCHES:
            stack = self._stack() if self.ticket.detail else ()
            self.touches.append((perf_counter_ns(), touch, threading.current_thread().name, stack))

    def _stack(self) -> tuple[str, ...]:
        """The application's own frames, the innermost last."""
        found: list[str] = []
        frame = sys._getframe(2).f_back  # noqa: SLF001 - traceback would read the sources, too
        for _ in range(_FRAMES):
            if frame is None:
                break
            code = frame.f_code
            if code.co_filename in self.own_files:
                found.append(f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}")
            frame = frame.f_back
        return tuple(reversed(found))

    def plain(self, detail: bool) -> dict[str, Any]:
        """For the driving process."""
        found: dict[str, Any] = {"index": self.ticket.index, "failures": list(self.failures)}
        if detail:
            found["touches"] = [
                [when, each.name, each.kind, each.file, each.line, each.function, thread, stack]
                for when, each, thread, stack in list(self.touches)
            ]
        return found


CURRENT: contextvars.ContextVar[Turn | None] = contextvars.ContextVar("stressed", default=None)
"""The request that this code runs for. Worker threads of ASGI frameworks get a copy."""
