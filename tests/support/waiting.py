"""Waiting for a condition, with a deadline, never for a time to pass."""

import threading
import time
from collections.abc import Callable

__all__ = ["Deadline", "wait_until"]


class Deadline:
    """A moment on the monotonic clock. Immutable, so any thread may read it."""

    def __init__(self, seconds: float) -> None:
        self.moment = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until then, never negative."""
        return max(0.0, self.moment - time.monotonic())

    def require(self, what: str) -> float:
        """Seconds until then; TimeoutError that says `what` when it has passed."""
        left = self.left
        if not left:
            raise TimeoutError(what)
        return left


def wait_until(predicate: Callable[[], object], timeout: float = 5.0, what: str = "") -> None:
    """Return as soon as `predicate()` is true; TimeoutError after `timeout` seconds.

    For conditions that nothing announces (another process, the kernel). The pauses grow from
    0.5 ms to 20 ms, so that a quick condition is seen at once and a slow one costs little.
    """
    deadline = Deadline(timeout)
    never = threading.Event()
    pause = 0.0005
    while not predicate():
        if not deadline.left:
            raise TimeoutError(what or f"not so within {timeout} s: {predicate}")
        never.wait(min(pause, deadline.left))
        pause = min(pause * 1.5, 0.02)
