"""The watchdog: an event loop that does not turn is reported, with the code that blocks it.

A loop with something in progress gives a sign of life five times a second (`LoopCore.touch`), an
idle one gives none and is not waited for. So looking costs nothing when nothing happens.
"""

import logging
import threading
from collections.abc import Sequence
from typing import Final

from nogilserve.engine.loop.core import LoopCore
from nogilserve.stacks import text_of

__all__ = ["LoopWatch"]

_log = logging.getLogger("nogilserve.engine")

_SHOWN: Final = 12
"""Frames of a loop's stack that are logged, the innermost."""


class LoopWatch:
    """Owner: the thread that runs `run`; `stop` and ringing the bell are for any thread."""

    def __init__(self, cores: Sequence[LoopCore], seconds: float) -> None:
        """`seconds`: how long a loop may go without turning."""
        self._cores = cores
        self._seconds = seconds
        self._bell = threading.Event()
        """Rung by a loop that begins to give signs of life, and to stop."""
        self._stopping = False
        self._reported: set[int] = set()
        """Loops found blocked and not seen turning since."""
        for core in cores:
            core.on_beating = self._bell.set

    def stop(self) -> None:
        """End `run`. Any thread."""
        self._stopping = True
        self._bell.set()

    def run(self) -> None:
        """The body of the watching thread.

        No wake-up is lost: it clears the bell before it looks whether any loop beats, or it is
        to stop; a loop rings after it has begun to beat.
        """
        while True:
            self._bell.clear()
            if self._stopping:
                return
            # A loop that begins to beat rings: it is looked at anew from then on.
            beating = any(core.beating for core in self._cores)
            self._bell.wait(self._seconds if beating else None)
            # Also when it was rung: loops that begin again and again ring all the time.
            self.look()

    def look(self) -> None:
        """Look at every loop once; report each occurrence once."""
        for core in self._cores:
            silence = core.silence()
            if not core.is_late(self._seconds):
                self._reported.discard(core.index)
            elif core.index not in self._reported:
                stack = text_of(core.thread, _SHOWN)
                if core.is_late(self._seconds):  # else it has gone on, and the stack is another
                    self._reported.add(core.index)
                    core.blocked += 1
                    _report(core, silence, stack)


def _report(core: LoopCore, silence: float, stack: str) -> None:
    _log.warning(
        "Event loop %d is blocked: it has not turned for %.2f s, and its %d connections wait. "
        "Use an asynchronous call, or asyncio.to_thread. It is in:\n%s",
        core.index,
        silence,
        len(core.clients),
        stack,
    )
