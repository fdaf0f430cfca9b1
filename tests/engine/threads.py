"""A thread whose end is awaited with a deadline, and whose result or error is not lost."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

__all__ = ["SECONDS", "Running"]

SECONDS = 10.0
"""What any single step may take before a test fails."""


class Running[T]:
    """`what()` in a thread of its own. Owner: the test; the thread writes before it ends."""

    def __init__(self, what: Callable[[], T]) -> None:
        self._what = what
        self._result: T
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._what()
        except BaseException as exc:
            self._error = exc

    def result(self, timeout: float = SECONDS) -> T:
        """What it returned or raised; TimeoutError if it has not ended in time."""
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError(f"{self._what} still runs after {timeout} s")
        if self._error is not None:
            raise self._error
        return self._result

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._thread.is_alive()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.result()
