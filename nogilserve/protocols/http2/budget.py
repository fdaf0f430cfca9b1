"""How much of what costs us, and serves nobody, a peer may send (RFC 9113 §10.5)."""

from typing import Final

__all__ = ["Budget"]


class Budget:
    """A bucket that fills again with time. Owner: the connection; knows no clock."""

    __slots__ = ("_at", "_left", "_most", "_rate")

    def __init__(self, most: int, rate: float) -> None:
        """`most`: at once; `rate`: more of it per second."""
        self._most: Final = most
        self._rate: Final = rate
        self._left = float(most)
        self._at = 0.0

    def spend(self, now: float) -> bool:
        """Take one at `now`, in seconds. False: it is too much."""
        left = self._left - 1
        if left < 0:
            left = min(self._left + (now - self._at) * self._rate, self._most) - 1
            self._at = now
            if left < 0:
                return False
        elif not self._at:
            self._at = now
        self._left = left
        return True

    def give(self) -> None:
        """Something useful has happened."""
        if self._left < self._most:
            self._left += 1
