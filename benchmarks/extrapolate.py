"""From the measured cost of sharing to more processors: Gunther's Universal Scalability Law.

N threads on one copy do what C(N) threads on copies of their own would do:

    C(N) = N / (1 + s (N - 1) + k N (N - 1))

`s` is the share of the work that only one thread at a time can do (a lock, a cache line that all
write), `k` what every pair of threads costs each other. Measured is C(N) = N / loss: what both do
on the same machine, so that its clock, its caches and its memory are on both sides and fall out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Law", "fit"]


@dataclass(frozen=True, slots=True)
class Law:
    """The two parameters. Immutable."""

    serial: float
    pairs: float

    def loss(self, threads: int) -> float:
        """How many times more processors are needed than with copies."""
        return 1 + self.serial * (threads - 1) + self.pairs * threads * (threads - 1)


def fit(losses: Mapping[int, float]) -> Law:
    """Least squares of what is lost beyond 1, relative to the threads; neither is below zero.

    (loss - 1) / (N - 1) = s + k N is a straight line, so two counts above 1 are enough.
    """
    points = [(n, (loss - 1) / (n - 1)) for n, loss in losses.items() if n > 1]
    if not points:
        return Law(0.0, 0.0)
    mean_n = sum(n for n, _ in points) / len(points)
    mean = sum(value for _, value in points) / len(points)
    spread = sum((n - mean_n) ** 2 for n, _ in points)
    slope = sum((n - mean_n) * (value - mean) for n, value in points) / spread if spread else 0.0
    if slope <= 0:
        return Law(max(mean, 0.0), 0.0)
    if (serial := mean - slope * mean_n) >= 0:
        return Law(serial, slope)
    # Through the origin: all of the loss is between pairs.
    pairs = sum(n * value for n, value in points) / sum(n * n for n, _ in points)
    return Law(0.0, max(pairs, 0.0))
