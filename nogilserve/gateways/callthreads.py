"""Threads that call what may block, for event loops."""

import contextvars
import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

__all__ = ["CallThreads"]

_log = logging.getLogger("nogilserve.error")


class CallThreads:
    """At most so many threads, started when there is work that no idle one can take.

    Any thread may `submit`. The numbers belong to the lock, which nobody holds for longer than it
    takes to change them. The threads are daemons: one that never comes back must not keep the
    process.
    """

    def __init__(self, most: int) -> None:
        """`most`: threads that may be busy at once."""
        self._most = most
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._waiting = 0
        """Calls that no thread has taken yet, those that one was woken for among them."""
        self._idle = 0
        """Threads that wait, those that were woken among them: so the two can be compared."""
        self._threads = 0
        self._number = 0
        self._stuck = 0
        """Threads that were replaced and have not come back."""
        self._closed = False

    def submit(self, work: Callable[[], object]) -> None:
        """Have a thread call `work`, in the order of submission. RuntimeError when closed."""
        name = ""
        with self._lock:
            if self._closed:
                raise RuntimeError("these threads have ended")
            self._waiting += 1
            if self._waiting > self._idle and self._threads < self._most:
                self._threads += 1
                self._number += 1
                name = f"call-{self._number}"
        self._queue.put(work)
        if name:
            self._start(name)

    def _start(self, name: str) -> None:
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        # In a context of its own: it would inherit that of the request it is started for, and
        # keep what is in there for as long as it lives.
        contextvars.Context().run(thread.start)

    def replaced(self) -> int:
        """How many are stuck now."""
        with self._lock:
            return self._stuck

    def replace(self, change: int) -> None:
        """Allow one more, for one that is stuck, or one less, when that has come back."""
        with self._lock:
            self._stuck += change
            self._most += change
            start = change > 0 and not self._closed and self._waiting > self._idle
            if start:
                self._threads += 1
                self._number += 1
        if start:
            name = f"call-{self._number}"
            self._start(name)
        elif change < 0:
            self._queue.put(None)  # wakes one, which sees that it is one too many

    def close(self) -> None:
        """Take no more; threads end when there is nothing left to call, or they come back."""
        with self._lock:
            self._closed = True
            threads = self._threads
        for _ in range(threads):
            self._queue.put(None)

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._closed or self._threads > self._most:
                    self._threads -= 1
                    return
                self._idle += 1
            work = self._queue.get()
            with self._lock:
                self._idle -= 1
                self._waiting -= work is not None
            if work is not None:
                self._call(work)
                del work  # what was called is not kept until the next call

    @staticmethod
    def _call(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException:
            _log.critical("internal error in a thread that calls applications", exc_info=True)
