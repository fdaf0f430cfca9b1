"""What the driving process tells the subject about each request: a header field of its own.

The application never sees the field. Everything the subject has to know travels with the request,
so that there is no other order between the two processes than that of the requests.
"""

from dataclasses import dataclass
from typing import Final

__all__ = ["ENVIRON_KEY", "FIELD", "Ticket"]

FIELD: Final = "x-nogilserve-stress"
ENVIRON_KEY: Final = "HTTP_X_NOGILSERVE_STRESS"


@dataclass(frozen=True, slots=True)
class Ticket:
    """What becomes of a request in the subject. Immutable."""

    burst: int
    """Number of the burst it belongs to; every burst of a process has its own."""
    index: int
    """Which request of the burst it is."""
    together: int
    """How many requests of the burst begin at the same moment; 1: it need not wait for any."""
    seed: int
    """Of the choices that are made while it runs."""
    pauses: int
    """How likely a pause is where the application touches what threads share, in thousandths."""
    detail: bool = False
    """Whether to keep the stack of each such place."""
    hold: bool = False
    """It only occupies a thread, until the subject is told to let go."""

    def __str__(self) -> str:
        numbers = (self.burst, self.index, self.together, self.seed, self.pauses)
        return "/".join(map(str, (*numbers, int(self.detail), int(self.hold))))

    @classmethod
    def read(cls, text: str) -> "Ticket":
        """The reverse of `str`. Raises ValueError."""
        burst, index, together, seed, pauses, detail, hold = map(int, text.split("/"))
        return cls(burst, index, together, seed, pauses, bool(detail), bool(hold))
