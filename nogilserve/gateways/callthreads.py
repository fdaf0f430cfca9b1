"""Threads that call what may block, for event loops."""

import logging
import threading
from collections import deque
from collections.abc import Callable

__all__ = ["CallThreads"]

_log = logging.getLogger("nogilserve.error")


class CallThreads:
    """At most so many threads, started when there is work that no idle one can take.

    Any thread may `submit`. What changes belongs to the condition. The threads are daemons: one
    that never comes back must not keep the process.
    """

    def __init__(self, most: int) -> None:
        """`most`: threads that may be busy at once."""
        self._most = most
        self._changed = threading.Condition(threading.Lock())
        self._waiting: deque[Callable[[], object]] = deque()
        self._idle = 0
        self._threads = 0
        self._number = 0
        self._closed = False

    def submit(self, work: Callable[[], object]) -> None:
        """Have a thread call `work`, in the order of submission. RuntimeError when closed."""
        with self._changed:
            if self._closed:
                raise RuntimeError("these threads have ended")
            self._waiting.append(work)
            # Idle ones that were told count until they have taken theirs.
            if len(self._waiting) <= self._idle or self._threads >= self._most:
                self._changed.notify()
                return
            self._threads += 1
            self._number += 1
            name = f"call-{self._number}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def replace(self, change: int) -> None:
        """Allow one more, for one that is stuck, or one less, when that has come back."""
        with self._changed:
            self._most += change

    def close(self) -> None:
        """Let idle threads end; the others do when they come back. What waits is not called."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            try:
                work()
            except BaseException:
                _log.critical("internal error in a thread that calls applications", exc_info=True)
            work = None

    def _next(self) -> Callable[[], object] | None:
        """Wait for work; None: this thread is not wanted any more."""
        with self._changed:
            self._idle += 1
            while not self._waiting and not self._closed and self._threads <= self._most:
                self._changed.wait()
            self._idle -= 1
            if self._waiting and self._threads <= self._most:
                return self._waiting.popleft()
            self._threads -= 1
            return None
