"""When garbage is collected: what is left alone, and the thread that collects when nobody asks."""

import gc
import threading
from collections.abc import Callable
from time import monotonic
from typing import Final

from nogilserve.prepare.deferring import AVAILABLE

__all__ = ["FROZEN", "Collector", "Frozen"]

_LOOK: Final = 0.5
"""Seconds between looks while there is something to collect."""
_ASLEEP: Final = 5.0
"""Seconds between looks else."""
_WORTH: Final = 20_000
"""New objects for which an idle moment is used."""
_TOO_MANY: Final = 2_000_000
"""New objects for which no idle moment is waited for: some hundreds of megabytes."""
_AT_LATEST: Final = 60.0
"""Seconds after which none is waited for either, if it is worth anything."""

_AS_EVER: Final = (2000, 10)
"""Python's own thresholds. It collects after 40 times as many new objects as the first one says, or
when memory has grown by a tenth."""
_SOONER: Final = 500
"""Our own where little but new objects is looked at: garbage does not grow to many megabytes, nor
the pause to free it to tens of milliseconds."""
_FEW: Final = 100_000
"""Frozen objects up to which that is so: passing over them takes time, too."""


class Frozen:
    """What collections leave alone, in this interpreter, and how soon they come. Any thread.

    Several servers in one process share it: the last one that ends gives everything back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._thresholds: tuple[int, ...] = ()
        """As they were, where they were changed."""

    def hold(self, *, sooner: bool = False) -> int:
        """Leave alone all that exists now; how many objects. `sooner`: collect what is new more
        often, where they are not too many."""
        with self._lock:
            self._holders += 1
            gc.freeze()
            frozen = gc.get_freeze_count()
            if sooner and frozen <= _FEW:
                self._collect_sooner()
            return frozen

    def release(self) -> None:
        """End one `hold`."""
        with self._lock:
            self._holders -= 1
            if not self._holders:
                self._give_back()

    def collect_all(self) -> int:
        """Collect garbage among all objects; how many were found.

        Nothing is left alone any more: Python can only freeze all that exists, and by now that is
        also what requests have made.
        """
        with self._lock:
            self._give_back()
            return gc.collect()

    def _collect_sooner(self) -> None:
        """Not where the application has thresholds of its own, nor where Python counts otherwise
        (with the GIL, before 3.14)."""
        thresholds = gc.get_threshold()
        if AVAILABLE and thresholds[:2] == _AS_EVER:
            gc.set_threshold(_SOONER)
            self._thresholds = thresholds

    def _give_back(self) -> None:
        gc.unfreeze()
        if self._thresholds:
            gc.set_threshold(*self._thresholds)
            self._thresholds = ()


FROZEN: Final = Frozen()


class Collector:
    """Collects in moments without a request, instead of whichever makes the object too many.

    Owner: the thread that made it; `run` is the body of a thread.
    """

    def __init__(self, active: Callable[[], int]) -> None:
        """`active`: requests inside the application, any thread. The automatic collection is
        off."""
        self._active = active
        self._stop = threading.Event()

    def run(self) -> None:
        """Until `stop`."""
        last = monotonic()
        pause = _ASLEEP
        while not self._stop.wait(pause):
            now = monotonic()
            # Counted also while the automatic collection is off; each collection begins anew.
            new = gc.get_count()[0]
            worth = new >= _WORTH
            if worth and (not self._active() or new >= _TOO_MANY or now - last >= _AT_LATEST):
                gc.collect()
                last = now
            pause = _LOOK if worth else _ASLEEP

    def stop(self) -> None:
        """End the thread. Any thread."""
        self._stop.set()
