"""What open status pages get once a second: looked up once, for all of them, and not at all while
none is open."""

import json
import queue
import threading
from collections.abc import Callable, Iterator
from time import monotonic, time
from typing import Any, Final

from nogilserve.engine.meter import BOUNDS
from nogilserve.observe.status import Processes
from nogilserve.supervise.admin.access import redacted
from nogilserve.supervise.admin.backend import Backend
from nogilserve.supervise.admin.scrape import processes_of

__all__ = ["Feed", "Full"]

_PERIOD: Final = 1.0
_PAGES: Final = 8
"""Pages that may be open at once: each holds a thread."""
_BEHIND: Final = 5
"""Events that a page which does not read is kept."""
_PATIENCE: Final = 15.0
"""Seconds without an event after which a page is told that it still lives."""
_KEPT: Final = 50
"""Errors that a page is shown at first."""

_Queue = queue.Queue[str | None]


class Full(Exception):
    """Too many pages are open."""


class Feed:
    """Any thread. The lock guards the list of pages and the thread; what the thread looks at is
    its own."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.settle: Callable[[], None] = lambda: None
        """Called by a stream that begins: it will hold its thread. Set before the first one."""
        self._lock = threading.Lock()
        self._pages: dict[_Queue, bool] = {}
        """Those that are open, and whether each knows the token."""
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._failures: list[dict[str, Any]] = []
        self._since = self._pauses_since = 0.0

    def close(self) -> None:
        """End all pages."""
        self._closing.set()
        with self._lock:
            for page in self._pages:
                _put(page, None)

    def events(self, *, trusted: bool) -> Iterator[bytes]:
        """The event stream of one page. `trusted`: it knows the token. Raises Full at once."""
        page: _Queue = queue.Queue(_BEHIND)
        with self._lock:
            if len(self._pages) >= _PAGES:
                raise Full
            self._pages[page] = trusted
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
                self._thread.start()
        return self._stream(page)

    def _stream(self, page: _Queue) -> Iterator[bytes]:
        try:
            yield b"retry: 2000\n\n"
            self.settle()
            while not self._closing.is_set():
                try:
                    text = page.get(timeout=_PATIENCE)
                except queue.Empty:
                    yield b": still here\n\n"
                    continue
                if text is None:
                    return
                yield f"data: {text}\n\n".encode()
        finally:
            with self._lock:
                self._pages.pop(page, None)

    def _run(self) -> None:
        """Look, as long as a page is open."""
        processes = Processes()
        known: set[_Queue] = set()
        self._failures, self._since, self._pauses_since = [], 0.0, time()
        due = monotonic()
        while not self._closing.wait(max(due - monotonic(), 0)):
            due = max(due + _PERIOD, monotonic() + _PERIOD / 4)
            with self._lock:
                pages = dict(self._pages)
                if not pages:
                    self._thread = None
                    return
            event = self._look(processes)
            fresh = event.pop("failures")
            texts: dict[tuple[bool, bool], str] = {}
            for page, trusted in pages.items():
                kind = (trusted, page not in known)
                if kind not in texts:
                    failures = self._failures if kind[1] else fresh
                    whole = event | {"failures": failures, "trusted": trusted}
                    texts[kind] = json.dumps(whole if trusted else redacted(whole))
                _put(page, texts[kind])
            known = set(pages)

    def _look(self, processes: Processes) -> dict[str, Any]:
        now = time()
        status = self._backend.ask("status")
        asked = {"deep": True, "since": self._since, "pauses_since": self._pauses_since}
        answer = self._backend.ask("look", asked)
        looks = answer.get("answers", {})
        fresh = []
        for number, look in looks.items():
            found = look.get("now", {}).pop("failures", [])
            fresh += [{**failure, "generation": number} for failure in found]
            paused = look.get("now", {}).get("pauses", ())
            self._pauses_since = max([self._pauses_since, *(pause["at"] for pause in paused)])
        self._since = max([self._since, *(failure["at"] for failure in fresh)])
        self._failures = (self._failures + fresh)[-_KEPT:]
        for generation in status.get("generations", ()):
            generation.pop("counters", None)
            generation.pop("running", None)
        return {
            "at": now,
            "status": status,
            "looks": looks,
            "past": answer.get("past", {}),
            "bounds": BOUNDS,
            "failures": fresh,
            "processes": processes.look(processes_of(status)),
        }


def _put(page: _Queue, text: str | None) -> None:
    """A page that does not read loses the oldest event."""
    while True:
        try:
            page.put_nowait(text)
        except queue.Full:
            try:
                page.get_nowait()
            except queue.Empty:
                pass
        else:
            return
