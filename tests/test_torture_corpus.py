"""The corpus of wire inputs, sent to a running server over real sockets."""

import hashlib
import json
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

import pytest

from tests.apps.raw_client import RawClient, Response
from tests.apps.served import Served
from tests.corpus import Case, Expected, load


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    """One server gets everything; it must neither die nor log a traceback."""
    with Served("tests.apps.mirror:app", "--threads", "2") as running:
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


def converse(client: RawClient, case: Case) -> None:
    """Read what the case demands, and nothing behind it."""
    for expected in case.requests:
        compare(expected, client.response(expected.method))
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
    with server.raw() as client:
        client.send_quietly(case.sent)
        if case.eof:
            client.half_close()
        converse(client, case)
    with server.raw() as client:
        client.send(b"GET /alive HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        compare(Expected("GET", "/alive"), client.response())
