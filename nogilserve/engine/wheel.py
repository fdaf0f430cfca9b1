"""Deadlines in whole seconds, cheap to push back: a lazy timer wheel.

A connection's deadline moves with every request. So an entry is not moved when that happens: it
stays where it is, and when its second comes the connection's real deadline is looked at
and, if that is later, entered again. A busy connection costs one entry per timeout, not one
per request.
"""

from typing import Final, Protocol

__all__ = ["NEVER", "Timed", "Wheel"]

NEVER: Final = 1e999  # a literal is immortal: storing it costs no atomic operation


class Timed(Protocol):
    """Something with a deadline."""

    deadline: float
    """Monotonic time in seconds, or NEVER."""
    due: float
    """The earliest second it is entered under; NEVER if it is in no wheel. The wheel's."""


class Wheel[T: Timed]:
    """Owner: the thread that holds the core."""

    __slots__ = ("_buckets", "next")

    def __init__(self) -> None:
        self._buckets: dict[float, list[T]] = {}
        self.next: float = NEVER
        """The second at which `expire` has something to look at."""

    def enter(self, item: T) -> None:
        """Have `item` looked at when its deadline has passed (up to a second later)."""
        if item.deadline < item.due - 1:  # else it is looked at soon enough as it is
            self._enter(item)

    def _enter(self, item: T) -> None:
        second = item.deadline // 1 + 1
        item.due = second
        bucket = self._buckets.get(second)
        if bucket is None:
            self._buckets[second] = [item]
            self.next = min(self.next, second)
        else:
            bucket.append(item)

    def expire(self, now: float) -> list[T]:
        """Take out and return what is past its deadline at `now`."""
        expired: list[T] = []
        if now < self.next:
            return expired
        for second in [second for second in self._buckets if second <= now]:
            for item in self._buckets.pop(second):
                if item.due != second:
                    continue  # entered again under an earlier second meanwhile
                item.due = NEVER
                if item.deadline <= now:
                    expired.append(item)
                elif item.deadline != NEVER:
                    self._enter(item)
        self.next = min(self._buckets, default=NEVER)
        return expired
