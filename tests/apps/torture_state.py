"""What the torture applications remember between requests, and the shape of their routes."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO
from urllib.parse import parse_qsl
from wsgiref.types import StartResponse, WSGIEnvironment

WAIT_SECONDS = 60.0
"""The longest that a route waits for another request; then it fails instead of hanging."""

Query = dict[str, str]
Route = Callable[[WSGIEnvironment, StartResponse, Query], Iterable[bytes]]


class State:
    """Counters, and gates that one request opens for another.

    Any thread. One lock guards the tables and is held for single dictionary steps.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._gates: dict[str, threading.Event] = {}
        self._files: dict[str, BinaryIO] = {}

    def count(self, name: str) -> int:
        """Add one to a counter and return what it is now."""
        with self._lock:
            self._counts[name] += 1
            return self._counts[name]

    def watch(self, key: str, file: BinaryIO) -> None:
        """Remember a file, to count it as `closed KEY` once it is."""
        with self._lock:
            self._files[key] = file

    def counts(self) -> dict[str, int]:
        """A copy of all counters."""
        with self._lock:
            closed = {f"closed {key}": 1 for key, file in self._files.items() if file.closed}
            return self._counts | closed

    def gate(self, key: str) -> threading.Event:
        """The gate called `key`, made closed at its first mention."""
        with self._lock:
            return self._gates.setdefault(key, threading.Event())


STATE = State()


class Counted:
    """A response iterable whose end is counted: `closed KEY`, once for each close().

    Owner: the request that returned it.
    """

    def __init__(self, key: str, pieces: Iterator[bytes]) -> None:
        self._key = key
        self._pieces = pieces

    def __iter__(self) -> "Counted":
        return self

    def __next__(self) -> bytes:
        return next(self._pieces)

    def close(self) -> None:
        """Count, and end the generator underneath."""
        STATE.count(f"closed {self._key}")
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()


def query_of(environ: WSGIEnvironment) -> Query:
    """The query string as a dictionary of latin-1 text; of repeated names the last counts."""
    return dict(parse_qsl(environ.get("QUERY_STRING", ""), True, encoding="latin-1"))


def reply(
    start_response: StartResponse,
    body: bytes,
    status: str = "200 OK",
    kind: str = "text/plain",
    extra: tuple[tuple[str, str], ...] = (),
) -> list[bytes]:
    """Start a response that states its length and return its body."""
    headers = [("Content-Type", kind), ("Content-Length", str(len(body))), *extra]
    start_response(status, headers)
    return [body]


PLAIN = [("Content-Type", "text/plain")]
