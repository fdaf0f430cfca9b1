"""Sends requests to the subject and collects the answers.

One thread does it all: requests are written to as many connections first, and read afterwards. What
happens at the same time is decided in the subject, where they wait for each other.
"""

import http.client
import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic, perf_counter
from typing import Final

from nogilserve.stress.answers import Answer
from nogilserve.stress.asks import Ask
from nogilserve.stress.process import Subject
from nogilserve.stress.tickets import FIELD, Ticket

__all__ = ["Client", "Sent"]

_LARGEST: Final = 16 * 1024 * 1024
_MARKER_FIELD: Final = "X-Request-ID"


@dataclass(frozen=True, slots=True)
class Sent:
    """A request, where it was sent with which ticket. Immutable."""

    ask: Ask
    """As it was sent, with its marker."""
    ticket: Ticket | None
    marker: str


@dataclass
class Client:
    """Connections to one subject. Owner: the driving process's thread."""

    subject: Subject
    seed: int
    deadline: float = 10.0
    """Seconds within which an answer has to be complete."""
    host: str = "localhost"
    headers: Mapping[str, str] = field(default_factory=dict)
    """For requests that have no such field."""
    _connections: dict[int, http.client.HTTPConnection] = field(default_factory=dict)
    _bursts: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _markers: "itertools.count[int]" = field(default_factory=itertools.count)

    def burst_number(self) -> int:
        """One that this subject does not know yet."""
        return next(self._bursts)

    def prepare(self, ask: Ask, ticket: Ticket | None) -> Sent:
        """Give a request its marker."""
        number = next(self._markers)
        digits = random.Random(f"{self.seed}/{self.subject.number}/{number}").getrandbits(48)
        marker = f"ngs{digits:012x}"
        return Sent(ask.marked(marker), ticket, marker)

    def one(self, sent: Sent, slot: int = 0) -> Answer:
        """Send a request alone, on one of the connections, and wait for its answer."""
        return self.together([sent], [slot])[0]

    def together(self, requests: Sequence[Sent], slots: Sequence[int] = ()) -> list[Answer]:
        """Send all of them, then collect the answers, in the same order."""
        slots = slots or range(len(requests))
        started = perf_counter()
        limit = monotonic() + self.deadline
        connections = [self._send(sent, slot) for sent, slot in zip(requests, slots, strict=True)]
        found = []
        for sent, slot, connection in zip(requests, slots, connections, strict=True):
            answer = self._receive(sent, connection, limit)
            if answer.problem or answer.header("connection").lower() == "close":
                self._drop(slot)
            found.append(replace(answer, seconds=perf_counter() - started, marker=sent.marker))
        return found

    def occupy(self, slot: int, burst: int) -> None:
        """Send a request that only occupies a thread; nothing is read for it."""
        ticket = Ticket(burst, 0, 1, 0, 0, hold=True)
        self._send(Sent(Ask("GET", "/"), ticket, ""), slot)

    def forget(self, slots: Iterable[int]) -> None:
        """Close these connections, whatever was to come on them."""
        for slot in slots:
            self._drop(slot)

    def _send(self, sent: Sent, slot: int) -> http.client.HTTPConnection | None:
        try:
            return self._write(sent, self._connection(slot))
        except (OSError, http.client.HTTPException):
            self._drop(slot)  # it was kept open for too long: once more, on a new one
        try:
            return self._write(sent, self._connection(slot))
        except (OSError, http.client.HTTPException):
            self._drop(slot)
            return None

    def _write(
        self, sent: Sent, connection: http.client.HTTPConnection
    ) -> http.client.HTTPConnection:
        ask = sent.ask
        given = {name.lower() for name, _ in ask.headers}
        connection.putrequest(
            ask.method, ask.target or "/", skip_host=True, skip_accept_encoding=True
        )
        fields = [*ask.headers]
        fields += [pair for pair in self.headers.items() if pair[0].lower() not in given]
        if "host" not in given:
            fields.insert(0, ("Host", self.host))
        if _MARKER_FIELD.lower() not in given:
            fields.append((_MARKER_FIELD, sent.marker))
        if sent.ticket is not None:
            fields.append((FIELD, str(sent.ticket)))
        if ask.body or ask.method in ("POST", "PUT", "PATCH"):
            fields.append(("Content-Length", str(len(ask.body))))
        for name, value in fields:
            connection.putheader(name, value.encode("latin-1", "replace"))
        connection.endheaders(ask.body or None)
        return connection

    def _receive(
        self, sent: Sent, connection: http.client.HTTPConnection | None, limit: float
    ) -> Answer:
        if connection is None:
            return Answer(problem="closed")
        body = b""
        head: tuple[int, tuple[tuple[str, str], ...]] = (0, ())
        try:
            _set_timeout(connection, limit)
            with connection.getresponse() as response:
                head = (
                    response.status,
                    tuple((name.lower(), value) for name, value in response.getheaders()),
                )
                while True:
                    _set_timeout(connection, limit)
                    piece = response.read1(65536)
                    if not piece:
                        break
                    body += piece
                    if len(body) > _LARGEST or monotonic() > limit:
                        return Answer(*head, body, "endless")
        except TimeoutError:
            return Answer(*head, body, "endless" if body else "hang")
        except (OSError, http.client.HTTPException, ValueError):
            return Answer(*head, body, "closed")
        return Answer(*head, body)

    def _connection(self, slot: int) -> http.client.HTTPConnection:
        connection = self._connections.get(slot)
        if connection is None:
            connection = http.client.HTTPConnection(
                "127.0.0.1", self.subject.port, timeout=self.deadline
            )
            connection.connect()
            self._connections[slot] = connection
        return connection

    def _drop(self, slot: int) -> None:
        connection = self._connections.pop(slot, None)
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Close all connections."""
        for slot in list(self._connections):
            self._drop(slot)


def _set_timeout(connection: http.client.HTTPConnection, limit: float) -> None:
    if connection.sock is not None:
        connection.sock.settimeout(max(limit - monotonic(), 0.001))
