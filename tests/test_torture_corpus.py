"""The corpus of wire inputs, sent to a running server over real sockets."""

import contextlib
import hashlib
import json
import random
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

import pytest

from tests.apps.raw_client import RawClient, Response
from tests.apps.served import Served
from tests.corpus import Case, Expected, load


@pytest.fixture(scope="module", params=["app", "asgi"])
def server(request: pytest.FixtureRequest) -> Iterator[Served]:
    """One server gets everything; it must neither die nor log a traceback."""
    with Served(
        f"tests.apps.mirror:{request.param}", "--threads=2", "--no-proxy-headers", "--http=1"
    ) as running:
        yield running
    assert "Traceback" not in running.log


def compare(expected: Expected, answer: Response) -> None:
    """The application has seen this request."""
    assert answer.status == 200
    seen = json.loads(answer.header("x-mirror") or "")
    assert seen["method"] == expected.method
    assert seen["body"] == hashlib.sha256(expected.body).hexdigest()
    path, query = expected.path, expected.query
    if expected.target.startswith("/"):
        before, _, after = expected.target.partition("?")
        path, query = path or before, after if query is None else query
    if path is not None and path != "*":
        assert seen["path"] == unquote_to_bytes(path.encode("latin-1")).decode("latin-1")
    if query is not None:
        assert seen["query"] == query
    if expected.authority:
        assert seen["host"] == expected.authority


CUT_OFF = {"chunks-cut-short", "chunks-cut-in-size", "length-cut-short"}
"""A client that leaves in the middle of a body. An ASGI application is called before the body is
there: it is told of the disconnect, and nobody is left to be answered."""


def converse(client: RawClient, case: Case, app: str) -> None:
    """Read what the case demands, and nothing behind it."""
    for expected in case.requests:
        compare(expected, client.response(expected.method))
    if app == "asgi" and case.name in CUT_OFF:
        assert client.rest() == b""
        return
    if case.status is not None:
        answer = client.response()
        assert answer.status == case.status
        assert answer.header("x-mirror") is None
        assert client.rest() == b"", "something behind the error was run"
        return
    # What is incomplete now is cut off by us, and may be called so.
    if not case.eof:
        client.half_close()
    rest = client.rest()
    assert rest == b"" or rest.startswith(b"HTTP/1.1 400 "), rest


@pytest.mark.parametrize("case", load("http1"), ids=lambda case: case.name)
def test_case(server: Served, case: Case) -> None:
    """Accepted requests reach the application as they are, the error ends the connection."""
    place = random.Random(case.name).randrange(len(case.sent) or 1)
    for pieces in ([case.sent], [case.sent[:place], case.sent[place:]]):
        with server.raw() as client:
            for piece in pieces:
                client.send_quietly(piece)
            if case.eof:
                with contextlib.suppress(OSError):  # it has been refused and closed meanwhile
                    client.half_close()
            converse(client, case, server.command[3].rpartition(":")[2])
    with server.raw() as client:
        client.send(b"GET /alive HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        compare(Expected("GET", "/alive"), client.response())
