"""Pauses of the garbage collector, noted while somebody looks."""

import gc
from time import monotonic, time
from typing import Any, Final

__all__ = ["Pauses"]

_KEPT: Final = 200
_PATIENCE: Final = 10.0
"""Seconds after the last look at which noting ends."""


class Pauses:
    """Any thread: collections do not overlap, so one writes at a time, and always a new list."""

    def __init__(self) -> None:
        self._noted: list[tuple[float, float, int, int]] = []
        self._until = 0.0
        self._began = 0.0

    def look(self, since: float) -> list[dict[str, Any]]:
        """Those that began after `since` (seconds since the epoch). From now on, and for some
        seconds, further ones are noted."""
        self._until = monotonic() + _PATIENCE
        if self._note not in gc.callbacks:
            gc.callbacks.append(self._note)
        return [
            {"at": at, "seconds": seconds, "generation": generation, "collected": collected}
            for at, seconds, generation, collected in self._noted
            if at > since
        ]

    def stop(self) -> None:
        """Note no more."""
        if self._note in gc.callbacks:
            gc.callbacks.remove(self._note)

    def _note(self, phase: str, info: dict[str, int]) -> None:
        now = monotonic()
        if phase == "start":
            self._began = now
            return
        if self._began:
            took = now - self._began
            pause = (time() - took, took, info["generation"], info["collected"])
            self._noted = [*self._noted[1 - _KEPT :], pause]
        if now > self._until:
            self.stop()
