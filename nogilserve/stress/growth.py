"""Whether a process grows and grows."""

from collections.abc import Callable
from typing import Final

__all__ = ["Growth"]

_EVERY: Final = 0.25
_LOOKS: Final = 16
"""Fewer say nothing."""
_MUCH: Final = 64 << 20
"""Bytes that a process may grow, whatever it does."""


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

    def verdict(self) -> str:
        """A sentence if it has grown much and did not stop to, else ""."""
        quarter = len(self._looks) // 4
        if len(self._looks) < _LOOKS or not self._looks[0][1]:
            return ""
        early, middle, late = self._looks[quarter], self._looks[2 * quarter], self._looks[-1]
        before, after = middle[1] - early[1], late[1] - middle[1]
        if late[1] - early[1] < _MUCH or after < before / 2 or late[0] <= early[0]:
            return ""
        each = (late[1] - early[1]) / (late[0] - early[0])
        return (
            f"Memory grew by {(late[1] - early[1]) >> 20} MiB in {late[0] - early[0]} requests, "
            f"{each / 1024:.1f} KiB each, and went on growing."
        )
