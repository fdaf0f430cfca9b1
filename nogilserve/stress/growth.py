"""Whether a process grows and grows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["Grown", "Growth"]

_EVERY: Final = 0.25
_LOOKS: Final = 16
"""Fewer say nothing."""
_MUCH: Final = 64 << 20
"""Bytes that a process may grow, whatever it does."""


@dataclass(frozen=True, slots=True)
class Grown:
    """Immutable."""

    size: int
    """Bytes."""
    requests: int
    """So many requests it took."""

    @property
    def each(self) -> float:
        """Bytes for each request."""
        return self.size / max(self.requests, 1)

    def __str__(self) -> str:
        return f"{self.size >> 20} MiB in {self.requests} requests, {self.each / 1024:.1f} KiB each"


class Growth:
    """Owner: the driving process's thread."""

    def __init__(self, memory: Callable[[], int]) -> None:
        """`memory`: bytes in use now, 0 if that cannot be told."""
        self._memory = memory
        self._next = 0.0
        self._looks: list[tuple[int, int]] = []

    def look(self, now: float, requests: int) -> None:
        """Take note, if it is time (monotonic seconds); so many requests were sent."""
        if now >= self._next:
            self._next = now + _EVERY
            self._looks.append((requests, self._memory()))

    def seen(self) -> Grown:
        """By how much it has grown after a first quarter, in which much is made once and kept."""
        if not self._looks:
            return Grown(0, 0)
        early, late = self._looks[len(self._looks) // 4], self._looks[-1]
        return Grown(late[1] - early[1], late[0] - early[0])

    def verdict(self) -> Grown | None:
        """The same if it is much and did not stop, else None."""
        quarter = len(self._looks) // 4
        if len(self._looks) < _LOOKS or not self._looks[0][1]:
            return None
        before = self._looks[2 * quarter][1] - self._looks[quarter][1]
        after = self._looks[-1][1] - self._looks[2 * quarter][1]
        grown = self.seen()
        return grown if grown.size >= _MUCH and after >= before / 2 else None
