"""Pauses of the garbage collector: how many there were, and each of them while somebody looks."""

import gc
from time import monotonic, time
from typing import Any, Final

__all__ = ["Pauses"]

_GENERATIONS: Final = 3
_KEPT: Final = 200
_PATIENCE: Final = 10.0
"""Seconds after the last look at which noting ends."""


class Pauses:
    """Any thread. The interpreter calls `_note` in the thread that collects, before and after;
    its collections do not overlap, so one writes at a time, without a lock. What others read may
    be of a moment ago.
    """

    def __init__(self) -> None:
        self._numbers = [0] * _GENERATIONS
        self._seconds = [0.0] * _GENERATIONS
        self._noted: list[tuple[float, float, int, int]] = []
        """Replaced by a new list, never changed."""
        self._until = 0.0
        self._began = 0.0

    def start(self) -> None:
        """Count from now on."""
        gc.callbacks.append(self._note)

    def stop(self) -> None:
        """Count no more."""
        if self._note in gc.callbacks:
            gc.callbacks.remove(self._note)

    def counted(self) -> dict[str, dict[str, float]]:
        """By generation of objects: the "number" of collections and the "seconds" they took, the
        wait for all threads to stop included."""
        return {
            str(generation): {"number": number, "seconds": seconds}
            for generation, (number, seconds) in enumerate(
                zip(self._numbers, self._seconds, strict=True)
            )
        }

    def look(self, since: float) -> list[dict[str, Any]]:
        """Those that began after `since` (seconds since the epoch). From now on, and for some
        seconds, further ones are noted."""
        self._until = monotonic() + _PATIENCE
        return [
            {"at": at, "seconds": seconds, "generation": generation, "collected": collected}
            for at, seconds, generation, collected in self._noted
            if at > since
        ]

    def _note(self, phase: str, info: dict[str, int]) -> None:
        now = monotonic()
        if phase == "start":
            self._began = now
            return
        if not self._began:  # it was going on already
            return
        took, generation = now - self._began, info["generation"]
        self._numbers[generation] += 1
        self._seconds[generation] += took
        if now < self._until:
            pause = (time() - took, took, generation, info["collected"])
            self._noted = [*self._noted[1 - _KEPT :], pause]
