"""When garbage is collected: what is left alone, and the thread that collects when nobody asks."""

import gc
import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import Final

__all__ = ["FROZEN", "Collector", "Frozen"]

_log = logging.getLogger("nogilserve")

_LOOK: Final = 0.5
"""Seconds between looks while requests come."""
_ASLEEP: Final = 5.0
"""Seconds between looks while none come."""
_WORTH: Final = 20_000
"""New objects for which an idle moment is used."""
_TOO_MANY: Final = 2_000_000
"""New objects for which no idle moment is waited for: some hundreds of megabytes."""
_AT_LATEST: Final = 60.0
"""Seconds after which none is waited for either, if it is worth anything."""


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


FROZEN: Final = Frozen()


class Collector:
    """Collects in a thread of its own, instead of whichever request makes the object too many.

    Owner: the thread that made it; `run` is the body of the thread.
    """

    def __init__(self, active: Callable[[], int]) -> None:
        """`active`: requests inside the application. Any thread."""
        self._active = active
        self._stop = threading.Event()

    def run(self) -> None:
        """Until `stop`."""
        last = monotonic()
        pause = _LOOK
        while not self._stop.wait(pause):
            # Counted also while the automatic collection is off; it starts anew with each.
            new = gc.get_count()[0]
            pause = _LOOK if new >= _WORTH else _ASLEEP
            if new < _WORTH:
                continue
            late = new >= _TOO_MANY or monotonic() - last >= _AT_LATEST
            if late or not self._active():
                gc.collect()
                last = monotonic()

    def stop(self) -> None:
        """End the thread. Any thread."""
        self._stop.set()
