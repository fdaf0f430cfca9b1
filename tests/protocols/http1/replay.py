"""Feeds bytes to a connection as an engine would, and says what came of them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from nogilserve.errors import ProtocolError, TruncatedBody
from nogilserve.messages import Headers, Limits, Request
from nogilserve.protocols.http1 import Http1Connection

COMMON = b"Date: Sun, 22 Nov 2026 12:00:00 GMT\r\nServer: nogilserve\r\n"
TRUNCATED = 400
"""What a body that ends early is answered with."""


@dataclass
class Received:
    """A request whose body is complete."""

    request: Request
    body: bytes
    trailers: Headers


@dataclass
class Outcome:
    """What a connection has made of its input."""

    received: list[Received] = field(default_factory=list)
    status: int | None = None
    """Of the error that ended it."""
    message: str = ""
    closed: bool = False
    """Ended after a response, as one side wanted."""

    def summary(self) -> tuple[list[tuple[dict[str, object], bytes, Headers]], int | None, bool]:
        """Everything that must not depend on how the bytes were cut."""
        requests = [(fields(r.request), r.body, r.trailers) for r in self.received]
        return requests, self.status, self.closed


def fields(request: Request) -> dict[str, object]:
    """The fields of a request as a dictionary, to compare."""
    notes = {"kept", "made_of_it", "section"}
    return {name: getattr(request, name) for name in Request.__slots__ if name not in notes}


def replay(pieces: Iterable[bytes], eof: bool = False, limits: Limits | None = None) -> Outcome:
    """Feed the pieces one by one, and answer each request with 200 as soon as it is complete."""
    connection = Http1Connection(limits or Limits())
    outcome = Outcome()
    body: list[bytes] = []
    request: Request | None = None
    try:
        for piece in [*pieces, b""] if eof else pieces:
            if not piece and not eof:
                continue
            connection.receive_data(piece)
            while True:
                if request is None:
                    request = connection.next_request()
                    if request is None:
                        break
                part = connection.read_body()
                if part is None:
                    break
                if part:
                    body.append(part)
                    continue
                outcome.received.append(Received(request, b"".join(body), connection.trailers))
                request, body = None, []
                connection.prepare("200 OK", [])
                connection.whole(b"", COMMON)
                if not connection.next_cycle():
                    outcome.closed = True
                    return outcome
    except ProtocolError as error:
        outcome.status, outcome.message = error.status, error.message
        stays_failed(connection, error)
    except TruncatedBody:
        outcome.status = TRUNCATED
    return outcome


def stays_failed(connection: Http1Connection, error: ProtocolError) -> None:
    """Nothing is run after a mistake, whatever follows."""
    connection.receive_data(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    for step in (connection.read_body, connection.next_request):
        with pytest.raises(ProtocolError) as again:
            step()
        assert (again.value.status, again.value.message) == (error.status, error.message)
    assert not connection.next_cycle()
