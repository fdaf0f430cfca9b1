"""The same for ASGI applications: what a trusted proxy tells is in the scope."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import Server
from tests.support.wire import Response

Serve = Callable[..., Server]

APP = "tests.apps.origin:asgi"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LINE = b"PROXY TCP4 203.0.113.9 192.0.2.1 51234 443\r\n"
BLOCK = bytes.fromhex("cb007109c0000201c82201bb")
TLS = struct.pack("!BHBI", 0x20, 5, 1, 0)
HEADER = SIGNATURE + struct.pack("!BBH", 0x21, 0x11, len(BLOCK + TLS)) + BLOCK + TLS
GET = b"GET /a HTTP/1.1\r\nHost: app.example\r\n\r\n"


def seen(response: Response) -> dict[str, Any]:
    """What the application saw."""
    assert response.status == 200, response.body
    found: dict[str, Any] = json.loads(response.body)
    return found


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_each_request_of_a_connection_has_its_own_origin(serve: Serve, loop: str) -> None:
    """Proxies use one connection for many clients: nothing of one request stays for the next."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    with serve(APP, f"--loop={loop}").connect() as client:
        own = client.sock.getsockname()
        for _ in range(2):
            told = seen(client.get("/", X_Forwarded_For="203.0.113.9", X_Forwarded_Proto="https"))
            assert (told["client"], told["scheme"]) == (["203.0.113.9", 0], "https")
            told = seen(client.get("/", X_Forwarded_For="1.1.1.1, [2001:db8::1]:9"))
            assert (told["client"], told["scheme"]) == (["2001:db8::1", 9], "http")
            told = seen(client.get("/"))
            assert (told["client"], told["scheme"]) == (list(own), "http")
            told = seen(client.get("/", Forwarded="for=_hidden;proto=https;host=a.b"))
            assert (told["client"], told["scheme"], told["host"]) == (None, "https", "a.b")
            assert told["server"] == ["a.b", 443]


def test_pipelined_requests_have_their_own_origins(serve: Serve) -> None:
    """The same where they arrive in one piece."""
    requests = [
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.%d\r\n\r\n" % number
        for number in range(40)
    ]
    with serve(APP).connect() as client:
        client.send(b"".join(requests))
        for number in range(40):
            assert seen(client.receive())["client"] == [f"203.0.113.{number}", 0]


@pytest.mark.parametrize(
    "arguments", [["--no-proxy-headers"], ["--forwarded-allow-ips=10.0.0.0/8,unix"]]
)
def test_headers_of_strangers_are_not_believed(serve: Serve, arguments: list[str]) -> None:
    """Whoever is not named has his own address, and malformed fields are no business of ours."""
    with serve(APP, *arguments).connect() as client:
        told = seen(client.get("/", X_Forwarded_For="not an address", X_Forwarded_Proto="https"))
    assert (told["client"][0], told["scheme"]) == ("127.0.0.1", "http")


def test_nonsense_of_a_trusted_proxy_is_refused(serve: Serve, tmp_path: Path) -> None:
    """400 and the end of the connection; the log names the peer as its client."""
    log = tmp_path / "log"
    server = serve(APP, f"--access-log={log}", "--access-log-format=%h %r %>s")
    with server.connect() as client:
        assert seen(client.get("/ok", X_Forwarded_For="203.0.113.9"))
        client.send(
            b"GET /bad HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3\r\n\r\n"
            b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        refusal = client.receive()
        assert (refusal.status, refusal.get("Connection")) == (400, "close")
        client.wait_closed()
    server.stop()
    assert log.read_text().splitlines() == [
        "203.0.113.9 GET /ok HTTP/1.1 200",
        "127.0.0.1 GET /bad HTTP/1.1 400",
    ]


@pytest.mark.parametrize("beginning", [LINE, HEADER])
@pytest.mark.parametrize("whole", [True, False])
def test_proxy_protocol(serve: Serve, beginning: bytes, whole: bool) -> None:
    """The addresses of the header are those of every request, however it is cut."""
    with serve(APP, "--proxy-protocol=required").connect() as client:
        for piece in [beginning + GET] if whole else [bytes([b]) for b in beginning + GET]:
            client.send(piece)
        for _ in range(2):
            told = seen(client.receive())
            assert (told["client"], told["server"]) == (["203.0.113.9", 51234], ["192.0.2.1", 443])
            assert told["scheme"] == ("http" if beginning == LINE else "https")
            client.send(GET)
        assert seen(client.receive())


def test_proxy_protocol_of_strangers_and_missing(serve: Serve) -> None:
    """Refused as with WSGI: 403 for who may not connect, 400 for who says nothing."""
    with serve(APP, "--proxy-protocol=required").connect() as client:
        client.send(GET)
        assert client.receive().status == 400
        client.wait_closed()
    server = serve(APP, "--proxy-protocol=required", "--proxy-protocol-from=10.0.0.0/8")
    with server.connect() as client:
        client.send(LINE + GET)
        assert client.receive().status == 403
        client.wait_closed()


def test_stop_while_headers_are_awaited(serve: Serve) -> None:
    """Connections on which nothing has come do not keep a stopping server."""
    server = serve(APP, "--proxy-protocol=required", "--header-timeout=60")
    with server.connect() as silent, server.connect() as begun, server.connect() as busy:
        begun.send(LINE[:10])
        busy.send(LINE + GET)
        assert seen(busy.receive())
        assert server.stop(timeout=10) == 0
        silent.wait_closed()
        begun.wait_closed()


@pytest.mark.parametrize("path", ["/shop/a", "/a"])
def test_root_path(serve: Serve, path: str) -> None:
    """`path` has the prefix, as ASGI wants it, whether or not the proxy took it off."""
    with serve(APP, "--root-path=/shop").connect() as client:
        told = seen(client.get(path))
    assert (told["root_path"], told["path"]) == ("/shop", "/shop/a")
