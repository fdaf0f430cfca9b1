"""When garbage is collected: what is left alone, and the thread that collects when nobody asks."""

import gc
import math
import threading
from collections.abc import Callable
from time import monotonic
from typing import Final

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
_ALL: Final = 600.0
"""Seconds between collections of everything: before, nothing is freed that is deferred and frozen.
An idle moment is waited for, but not as long again."""


class Frozen:
    """What the collector leaves alone, in this interpreter. Any thread.

    Several servers in one process share it: the last one that ends gives everything back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0

    def hold(self) -> None:
        """Leave alone all that exists now."""
        with self._lock:
            self._holders += 1
            gc.freeze()

    def release(self) -> None:
        """End one `hold`."""
        with self._lock:
            self._holders -= 1
            if not self._holders:
                gc.unfreeze()

    def collect_all(self) -> int:
        """Collect garbage among all objects, and leave alone those that are left."""
        with self._lock:
            if not self._holders:
                return gc.collect()
            gc.unfreeze()
            try:
                return gc.collect()
            finally:
                gc.freeze()


FROZEN: Final = Frozen()


class Collector:
    """Collects in moments without a request, instead of whichever makes the object too many; and
    from time to time everything.

    Owner: the thread that made it; `run` is the body of a thread.
    """

    def __init__(
        self, active: Callable[[], int], *, alone: bool, whole: bool, every: float = _ALL
    ) -> None:
        """`active`: requests inside the application, any thread; `alone`: the automatic collection
        is off; `whole`: collect everything every so many seconds."""
        self._active = active
        self._alone = alone
        self._every = every if whole else math.inf
        self._stop = threading.Event()

    def run(self) -> None:
        """Until `stop`."""
        last = last_whole = monotonic()
        pause = asleep = min(_ASLEEP if self._alone else self._every / 10, self._every)
        while not self._stop.wait(pause):
            now = monotonic()
            # Counted also while the automatic collection is off; each collection begins anew.
            new = gc.get_count()[0]
            worth = self._alone and new >= _WORTH
            idle = not self._active()
            if now - last_whole >= self._every * (1 if idle else 2):
                FROZEN.collect_all()
                last = last_whole = now
            elif worth and (idle or new >= _TOO_MANY or now - last >= _AT_LATEST):
                gc.collect()
                last = now
            pause = _LOOK if worth else asleep

    def stop(self) -> None:
        """End the thread. Any thread."""
        self._stop.set()
