"""Options that change what a client sees take effect, each with its own answer."""

import os
from collections.abc import Callable

import pytest

from tests.support.server import Server

APP = "tests.supervise.waiting_app:app"

Start = Callable[..., Server]


def answer(server: Server, request: bytes) -> tuple[int, str]:
    """Status and text that a request gets; if it is refused, the server must close after it."""
    with server.connect() as client:
        client.send(request)
        response = client.receive()
        if response.status != 200:
            assert response.get("Connection") == "close"
            client.half_close()
            client.wait_closed()
        return response.status, response.body.decode()


def get(target: bytes = b"/", fields: bytes = b"") -> bytes:
    """A GET with these further field lines."""
    return b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n"


def post(body: bytes, fields: bytes) -> bytes:
    """A POST with this body as it goes over the wire."""
    return b"POST /echo HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    ("option", "just_right", "too_much", "expected"),
    [
        (
            ("--limit-request-line", "64"),
            get(b"/" + b"x" * 50),  # 64 bytes
            get(b"/" + b"x" * 51),
            (414, "414 URI Too Long: request line too long\n"),
        ),
        (
            ("--limit-request-fields", "2"),
            get(fields=b"A: 1\r\n"),
            get(fields=b"A: 1\r\nB: 2\r\n"),
            (431, "431 Request Header Fields Too Large: too many header fields\n"),
        ),
        (
            ("--limit-request-field-size", "64"),
            get(fields=b"A: " + b"x" * 61 + b"\r\n"),
            get(fields=b"A: " + b"x" * 62 + b"\r\n"),
            (431, "431 Request Header Fields Too Large: header field too large\n"),
        ),
        (
            (
                *("--limit-request-head", "1024", "--limit-request-line", "1024"),
                *("--limit-request-field-size", "1024"),
            ),
            get(fields=b"A: " + b"x" * (1024 - 32) + b"\r\n"),
            get(fields=b"A: " + b"x" * (1025 - 32) + b"\r\n"),
            (431, "431 Request Header Fields Too Large: header section too large\n"),
        ),
        (
            ("--limit-request-body", "10"),
            post(b"0123456789", b"Content-Length: 10\r\n"),
            post(b"", b"Content-Length: 11\r\n"),
            (413, "413 Content Too Large: request body too large\n"),
        ),
        (
            ("--limit-request-body", "10"),
            post(b"5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n", CHUNKED),
            post(b"5\r\n01234\r\n6\r\n", CHUNKED),
            (413, "413 Content Too Large: request body too large\n"),
        ),
    ],
)
def test_limit(
    serve: Start,
    option: tuple[str, ...],
    just_right: bytes,
    too_much: bytes,
    expected: tuple[int, str],
) -> None:
    """What is just within a limit is served; one byte or field more has the limit's answer."""
    server = serve(APP, *option, "--keep-alive", "0")
    assert answer(server, just_right)[0] == 200
    assert answer(server, too_much) == expected


def test_keep_alive_0(serve: Start) -> None:
    """Every response closes its connection, and says so."""
    server = serve(APP, "--keep-alive", "0")
    with server.connect() as client:
        response = client.get("/")
        assert (response.status, response.get("Connection")) == (200, "close")
        client.wait_closed()


def test_keep_alive(serve: Start) -> None:
    """An idle connection is closed after --keep-alive, without a word."""
    server = serve(APP, "--keep-alive", "0.1")
    with server.connect() as client:
        assert client.get("/").get("Connection") == ""
        client.wait_closed()


@pytest.mark.parametrize(
    ("option", "expected"), [((), "nogilserve"), (("--no-server-header",), "")]
)
def test_server_header(serve: Start, option: tuple[str, ...], expected: str) -> None:
    """The Server header can be left out."""
    server = serve(APP, *option)
    with server.connect() as client:
        response = client.get("/")
        assert response.get("Server") == expected
        assert response.get("Date")


@pytest.mark.parametrize(
    ("option", "request_bytes", "expected"),
    [
        (
            "--header-timeout",
            b"GET / HTTP/1.1\r\nHos",
            "408 Request Timeout: the request head took too long\n",
        ),
        (
            "--body-timeout",
            post(b"half", b"Content-Length: 8\r\n"),
            "408 Request Timeout: the request body stalled\n",
        ),
    ],
)
def test_slow_request(serve: Start, option: str, request_bytes: bytes, expected: str) -> None:
    """A client that does not finish its request is told so and let go."""
    assert answer(serve(APP, option, "0.2"), request_bytes) == (408, expected)


def test_silent_connection(serve: Start) -> None:
    """A connection on which nothing is ever said is closed after --header-timeout."""
    server = serve(APP, "--header-timeout", "0.2")
    with server.connect() as client:
        client.wait_closed()


@pytest.mark.parametrize("debug", [True, False])
def test_debug(serve: Start, debug: bool) -> None:
    """--debug shows the traceback to the client; without it nobody outside sees one."""
    arguments = ["--debug"] if debug else []
    server = serve(APP, *arguments, env={"GATE_FD": "no number"})
    status, text = answer(server, get(b"/gate").replace(b"Host", b"Connection: close\r\nHost"))
    assert status == 500
    assert ("invalid literal for int()" in text) is debug
    server.wait_log(r"invalid literal for int\(\)")


@pytest.mark.parametrize("poller", ["select", "poll", "epoll"])
def test_poller(serve: Start, poller: str) -> None:
    """Each poller of this system serves, finishes, and ends."""
    if poller == "epoll" and not os.path.exists("/proc/self"):
        pytest.skip("epoll is Linux's")
    server = serve(APP, "--poller", poller)
    with server.connect() as client:
        for _ in range(3):
            assert client.get("/").status == 200
        assert client.request("POST", "/echo", body=b"x" * 300_000).body == b"x" * 300_000
    assert server.stop() == 0
