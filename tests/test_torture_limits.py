"""Limits given on the command line, and bodies that are announced but never wanted."""

from collections.abc import Iterator

import pytest

from tests.apps.raw_client import chunked, request
from tests.apps.served import Served

SMUGGLED = request("/raw/upload?key=smuggled")


@pytest.fixture(scope="module")
def tight() -> Iterator[Served]:
    """A server with narrow limits that closes after every response."""
    options = {
        "--limit-request-line": 100,
        "--limit-request-fields": 5,
        "--limit-request-field-size": 200,
        "--limit-request-head": 1024,
        "--limit-request-body": 1000,
        "--keep-alive": 0,
        "--threads": 2,
    }
    words = [str(word) for option in options.items() for word in option]
    with Served("tests.apps.torture:app", *words, "--no-server-header") as running:
        yield running
    assert "Traceback" not in running.log


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request("/hello?" + "x" * 60), 200),
        (request("/hello?" + "x" * 100), 414),
        (request("/hello", "A: b\r\n" * 4), 200),
        (request("/hello", "A: b\r\n" * 5), 431),
        (request("/hello", "A: " + "b" * 190 + "\r\n"), 200),
        (request("/hello", "A: " + "b" * 250 + "\r\n"), 431),
        (request("/raw/echo", "Content-Length: 1000\r\n", "POST") + b"x" * 1000, 200),
        (request("/raw/echo", "Content-Length: 1001\r\n", "POST") + b"x" * 1001, 413),
        (request("/raw/echo", "Content-Length: 99999999999\r\n", "POST"), 413),
        (
            request("/raw/echo", "Expect: 100-continue\r\nContent-Length: 1001\r\n", "POST"),
            413,
        ),
        (
            request("/raw/echo", "Transfer-Encoding: chunked\r\n", "POST")
            + b"".join(chunked(iter([b"x" * 500] * 2))),
            200,
        ),
        (
            request("/raw/echo", "Transfer-Encoding: chunked\r\n", "POST")
            + b"".join(chunked(iter([b"x" * 500] * 3))),
            413,
        ),
    ],
    ids=[
        "line",
        "line-too-long",
        "fields",
        "fields-too-many",
        "field",
        "field-too-long",
        "body",
        "body-too-long",
        "body-much-too-long",
        "body-too-long-expect",
        "body-chunked",
        "body-chunked-too-long",
    ],
)
def test_limits(tight: Served, sent: bytes, status: int) -> None:
    """At the limit all is well, beyond it comes the limit's own status; then it closes."""
    with tight.raw() as client:
        client.send_quietly(sent)
        answer = client.response()
        assert (answer.status, answer.interim) == (status, [])
        assert (answer.header("connection") or "").lower() == "close"
        assert answer.header("server") is None
        assert client.rest() == b""


def test_limits_do_not_reach_the_application(tight: Served) -> None:
    """What is refused was never begun."""
    with tight.raw() as client:
        extra = "Transfer-Encoding: chunked\r\n"
        client.send(request("/raw/upload?key=too-large", extra, "POST"))
        client.send_quietly(b"".join(chunked(iter([b"x" * 600] * 2))))
        assert client.response().status == 413
    assert "entered too-large" not in tight.counts()


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    """A server with the defaults."""
    with Served("tests.apps.torture:app", "--threads", "2") as running:
        yield running
    assert "Traceback" not in running.log


@pytest.mark.parametrize("target", ["/hello", "/write", "/raw/download?n=100000"])
def test_body_sent_after_the_answer_is_not_a_request(server: Served, target: str) -> None:
    """A client that sends its body although the answer came without 100 is not misread."""
    extra = f"Expect: 100-continue\r\nContent-Length: {len(SMUGGLED)}\r\n"
    with server.raw() as client:
        client.send(request(target, extra, "POST"))
        answer = client.response()
        assert (answer.status, answer.interim) == (200, [])
        client.send_quietly(SMUGGLED)
        rest = client.rest()
    assert rest == b""
    assert "entered smuggled" not in server.counts()


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_body_that_does_not_wait_for_100(server: Served, coding: str) -> None:
    """A client may send its body at once: it gets one final answer, and the next one too."""
    body = b"impatient" * 1000
    if coding == "length":
        extra = f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\n"
    else:
        extra = "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n"
        body = b"".join(chunked(iter([body])))
    with server.raw() as client:
        for _ in range(3):
            client.send(request("/echo", extra, "POST") + body)
            assert client.response().body == b"impatient" * 1000
        assert client.get("/hello").body == b"hello\n"


def test_partly_read_body_behind_100(server: Served) -> None:
    """What the application left of a body it had asked for does not become a request."""
    extra = f"Expect: 100-continue\r\nContent-Length: {4 + len(SMUGGLED)}\r\n"
    with server.raw() as client:
        client.send(request("/raw/echo?how=partial&size=4", extra, "POST"))
        assert client.head().status == 100
        client.send_quietly(b"take" + SMUGGLED)
        assert client.response().body == b"take"
        client.send_quietly(request("/hello"))
        client.half_close()
        rest = client.rest()
    assert rest == b"" or rest.endswith(b"hello\n")
    assert "entered smuggled" not in server.counts()
