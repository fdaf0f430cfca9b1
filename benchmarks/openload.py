"""A load generator with a timetable: requests are due at fixed times, whatever the server does.

wrk sends the next request when it has the answer, so that a server that stops for a second is asked
less in that second, and the wait hardly shows. Here each of the connections has its own times; a
request whose connection is still waiting for an answer queues, and its wait counts from when it was
due. One thread; everything is owned by the thread that calls `run`.
"""

import gc
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Outcome", "Timetable", "percentile", "run"]

AFTERWARDS = 10.0  # seconds to wait for the last answers
CONNECT = 1.0


@dataclass(frozen=True, slots=True)
class Timetable:
    """What is asked, and when."""

    port: int
    path: str
    rate: float
    """Requests per second, over all connections."""
    seconds: float
    connections: int


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    waits: list[float] = field(default_factory=list)
    """Seconds until each right answer."""
    failed: int = 0
    """Refused, cut off in the middle, or answered with another status than 200."""
    resent: int = 0
    """Sent again, as browsers do, because the connection was closed before any answer."""
    unanswered: int = 0
    """Still without an answer ten seconds after the last one was due."""


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of all do not exceed; 0 of none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


class _Connection:
    """One kept connection, and the requests that are due on it."""

    __slots__ = ("_again", "_outcome", "_port", "_request", "began", "due", "received", "sock")

    def __init__(self, port: int, path: str, outcome: Outcome) -> None:
        self._port = port
        self._request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        self._outcome = outcome
        self._again = False
        self.due: deque[float] = deque()
        self.began = 0.0
        """When the request that is under way was due or sent; 0.0 while none is."""
        self.received = b""
        self.sock: socket.socket | None = None

    def add(self, due: float, now: float) -> None:
        """A request is due. On an idle connection its wait counts from now: being late is ours."""
        if self.began:
            self.due.append(due)
        else:
            self._begin(now)

    def _begin(self, since: float) -> None:
        self.began = since
        self._again = False
        if not self._send():
            self._lost()

    def _send(self) -> bool:
        self.received = b""
        try:
            if self.sock is None:
                self.sock = socket.create_connection(("127.0.0.1", self._port), CONNECT)
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.sock.setblocking(False)
            self.sock.send(self._request)
        except OSError:
            return False
        return True

    def _lost(self) -> None:
        """The connection is gone. A request that had no answer yet is sent again, once."""
        self.close()
        if not self.began:
            return
        if not self.received and not self._again:
            self._again = True
            self._outcome.resent += 1
            if self._send():
                return
        self.close()
        self._outcome.failed += 1
        self.began = 0.0

    def go_on(self) -> None:
        """Begin what is due, if nothing is under way."""
        while self.due and not self.began:
            self._begin(self.due.popleft())

    def readable(self) -> None:
        """Take what came."""
        assert self.sock is not None
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        self.received += data
        if not (self.began and _complete(self.received)):
            return
        head = self.received.partition(b"\r\n\r\n")[0].lower()
        if head.split(b" ", 2)[1][:3] == b"200":
            self._outcome.waits.append(time.perf_counter() - self.began)
        else:
            self._outcome.failed += 1
        if b"\r\nconnection: close" in head:
            self.close()
        self.began = 0.0

    def close(self) -> None:
        """Close it; the next request makes another."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None


def _complete(received: bytes) -> bool:
    """Whether this is a whole response: with a length, or in chunks."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.lower().split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return len(body) >= int(value)
    return body.endswith(b"0\r\n\r\n")


def run(timetable: Timetable, events: dict[float, Callable[[], None]] | None = None) -> Outcome:
    """Ask by the timetable. `events` are called when so many seconds have passed."""
    outcome = Outcome()
    connections = [
        _Connection(timetable.port, timetable.path, outcome) for _ in range(timetable.connections)
    ]
    later = sorted((events or {}).items(), key=lambda item: item[0])
    gc.collect()
    gc.disable()  # a pause of ours would look like one of the server
    try:
        _drive(timetable, connections, later)
    finally:
        gc.enable()
        for connection in connections:
            outcome.unanswered += bool(connection.began) + len(connection.due)
            connection.close()
    return outcome


def _drive(
    timetable: Timetable,
    connections: list[_Connection],
    later: list[tuple[float, Callable[[], None]]],
) -> None:
    total = int(timetable.rate * timetable.seconds)
    started = time.perf_counter()
    end = started + timetable.seconds + AFTERWARDS
    number = 0
    while True:
        now = time.perf_counter()
        while later and now - started >= later[0][0]:
            later.pop(0)[1]()
        while number < total and (due := started + number / timetable.rate) <= now:
            connections[number % len(connections)].add(due, now)
            number += 1
        if number == total and (now > end or not any(c.began for c in connections)):
            return
        soon = started + number / timetable.rate if number < total else now + 0.05
        poll = select.poll()
        by_number = {c.sock.fileno(): c for c in connections if c.sock is not None}
        for descriptor in by_number:
            poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll(max(soon - time.perf_counter(), 0) * 1000):
            connection = by_number[descriptor]
            if connection.sock is not None and connection.sock.fileno() == descriptor:
                connection.readable()
                connection.go_on()
