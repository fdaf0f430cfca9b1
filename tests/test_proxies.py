"""What a trusted proxy tells, by header fields or the PROXY protocol, on real connections."""

import json
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from nogilserve.protocols.proxy import FIELDS
from tests.corpus.proxies import SIGNATURE, load, sent
from tests.support.server import Server
from tests.support.wire import Client, Response

Serve = Callable[..., Server]
Modes = dict[str, Server]

APP = "tests.apps.origin:wsgi"
LINE = b"PROXY TCP4 203.0.113.9 192.0.2.1 51234 443\r\n"
BLOCK = bytes.fromhex("cb007109c0000201c82201bb")
HEADER = SIGNATURE + struct.pack("!BBH", 0x21, 0x11, len(BLOCK)) + BLOCK
GET = b"GET /a HTTP/1.1\r\nHost: app.example\r\n\r\n"


@pytest.fixture(scope="module")
def modes() -> Iterator[Modes]:
    """Servers that are only asked, by how they take the PROXY protocol."""
    with ExitStack() as stack:
        options = {mode: [f"--proxy-protocol={mode}"] for mode in ("optional", "required")}
        yield {
            mode: stack.enter_context(Server(APP, *arguments))
            for mode, arguments in {"default": [], **options}.items()
        }


def seen(response: Response) -> dict[str, str]:
    """What the application saw."""
    assert response.status == 200, response.body
    found: dict[str, str] = json.loads(response.body)
    return found


# ---- header fields ---------------------------------------------------------------------------


def test_headers_of_a_proxy_on_this_machine_are_believed(modes: Modes) -> None:
    """By default, as with uvicorn: client and scheme; the host is the Host field's."""
    with modes["default"].connect() as client:
        told = seen(
            client.get(
                "/a?b",
                X_Forwarded_For="198.51.100.7, 203.0.113.9",
                X_Forwarded_Proto="https",
                X_Forwarded_Host="evil.example",
                X_Forwarded_Port="81",
                Host="app.example",
            )
        )
    assert told["REMOTE_ADDR"] == "203.0.113.9"
    assert told["REMOTE_PORT"] == "0"
    assert told["url"] == "https://app.example/a?b"
    assert told["SERVER_NAME"] == "127.0.0.1"
    assert told["HTTP_X_FORWARDED_FOR"] == "198.51.100.7, 203.0.113.9"


def test_each_request_of_a_connection_has_its_own_origin(serve: Serve) -> None:
    """Proxies use one connection for many clients: nothing of one request stays for the next."""
    with serve(APP, "--workers=1").connect() as client:
        for _ in range(2):
            told = seen(client.get("/", X_Forwarded_For="203.0.113.9", X_Forwarded_Proto="https"))
            assert (told["REMOTE_ADDR"], told["wsgi.url_scheme"]) == ("203.0.113.9", "https")
            told = seen(client.get("/", X_Forwarded_For="203.0.113.10"))
            assert (told["REMOTE_ADDR"], told["wsgi.url_scheme"]) == ("203.0.113.10", "http")
            told = seen(client.get("/"))
            assert (told["REMOTE_ADDR"], told["wsgi.url_scheme"]) == ("127.0.0.1", "http")
            assert told["REMOTE_PORT"] == str(client.sock.getsockname()[1])
            told = seen(client.get("/", Forwarded='for="[2001:db8::1]:9";proto=https;host=a.b'))
            assert (told["REMOTE_ADDR"], told["REMOTE_PORT"]) == ("2001:db8::1", "9")
            assert told["url"] == "https://a.b/"
            told = seen(client.get("/", Forwarded="for=_hidden"))
            assert told["REMOTE_ADDR"] == ""
            assert "REMOTE_PORT" not in told


def test_pipelined_requests_have_their_own_origins(serve: Serve) -> None:
    """The same where they arrive in one piece."""
    requests = [
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.%d\r\n\r\n" % number
        for number in range(40)
    ]
    with serve(APP, "--workers=1").connect() as client:
        client.send(b"".join(requests))
        for number in range(40):
            assert seen(client.receive())["REMOTE_ADDR"] == f"203.0.113.{number}"


@pytest.mark.parametrize(
    "arguments", [["--no-proxy-headers"], ["--forwarded-allow-ips=10.0.0.0/8,unix"]]
)
def test_headers_of_strangers_are_not(serve: Serve, arguments: list[str]) -> None:
    """Whoever is not named has his own address, and malformed fields are no business of ours."""
    with serve(APP, *arguments).connect() as client:
        told = seen(client.get("/", X_Forwarded_For="not an address", X_Forwarded_Proto="https"))
    assert (told["REMOTE_ADDR"], told["wsgi.url_scheme"]) == ("127.0.0.1", "http")


@pytest.mark.parametrize(("networks", "client"), [("unix", "203.0.113.9"), ("127.0.0.1", "")])
def test_unix_socket(serve: Serve, tmp_path: Path, networks: str, client: str) -> None:
    """Those who may open a unix socket are trusted by name: unix."""
    arguments = ["--uds", str(tmp_path / "s"), "--forwarded-allow-ips", networks]
    with serve(APP, *arguments).connect() as connection:
        assert seen(connection.get("/", X_Forwarded_For="203.0.113.9"))["REMOTE_ADDR"] == client


def test_host_where_it_is_asked_for(serve: Serve) -> None:
    """With --forwarded-fields the host and the port of links are the proxy's."""
    fields = "x-forwarded-for,x-forwarded-proto,x-forwarded-host,x-forwarded-port"
    with serve(APP, "--forwarded-fields", fields).connect() as client:
        for _ in range(2):
            headers = {"X-Forwarded-Host": "shop.example", "X-Forwarded-Port": "8443"}
            told = seen(client.request("GET", "/a", headers | {"X-Forwarded-Proto": "https"}))
            assert told["url"] == "https://shop.example:8443/a"
            assert (told["SERVER_NAME"], told["SERVER_PORT"]) == ("shop.example", "8443")
        told = seen(client.get("/a", Host="app.example"))
        assert told["url"] == "http://app.example/a"
        assert told["SERVER_NAME"] == "127.0.0.1"


def test_nonsense_of_a_trusted_proxy_is_refused(serve: Serve, tmp_path: Path) -> None:
    """400 and the end of the connection; the log names the request, and the peer as its client."""
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
        assert b"X-Forwarded-For" in refusal.body
        client.wait_closed()
    with server.connect() as client:
        assert seen(client.get("/ok", X_Forwarded_For="203.0.113.9"))
        client.send(b"nonsense\r\n\r\n")
        assert client.receive().status == 400
        client.wait_closed()
    server.stop()
    lines = log.read_text().splitlines()
    assert lines == [
        "203.0.113.9 GET /ok HTTP/1.1 200",
        "127.0.0.1 GET /bad HTTP/1.1 400",
        "203.0.113.9 GET /ok HTTP/1.1 200",
        "127.0.0.1 - 400",
    ]


def test_request_with_a_body_and_a_refusal(modes: Modes) -> None:
    """A body does not change any of it."""
    with modes["default"].connect() as client:
        told = seen(client.request("POST", "/", {"X-Forwarded-For": "203.0.113.9"}, b"x" * 100000))
        assert told["REMOTE_ADDR"] == "203.0.113.9"
        refusal = client.request("POST", "/", {"X-Forwarded-For": "x"}, b"x" * 100)
        assert refusal.status == 400
        client.wait_closed()


FORWARDED = [case for case in load("forwarded") if "trust" not in case]


@pytest.mark.parametrize("app", ["wsgi", "asgi"])
def test_corpus_of_fields(serve: Serve, app: str) -> None:
    """Each case of the corpus over a socket: the client it names, or its refusal and the end."""
    server = serve(f"tests.apps.origin:{app}", "--forwarded-fields", ",".join(FIELDS))
    for case in FORWARDED:
        lines = [f"{name}: {value}" for name, value in case["headers"] if name != "host"]
        head = "\r\n".join(["GET / HTTP/1.1", "Host: app.example", *lines, "", ""])
        with server.connect() as client:
            client.send(head.encode("latin-1"))
            response = client.receive()
            if "status" in case:
                assert response.status == case["status"], case["name"]
                client.wait_closed()
                continue
            told: Any = seen(response)
            address = case["client"][0] if "client" in case else ""
            if "client" not in case and not case.get("told"):
                address = "127.0.0.1"
            found = told["REMOTE_ADDR"] if app == "wsgi" else (told["client"] or [""])[0]
            assert found == address, case["name"]


@pytest.mark.parametrize("app", ["wsgi", "asgi"])
def test_corpus_of_headers(serve: Serve, app: str) -> None:
    """The same for the PROXY protocol, with a request behind each header."""
    servers = {
        mode: serve(f"tests.apps.origin:{app}", f"--proxy-protocol={mode}")
        for mode in ("required", "optional")
    }
    for case in load("proxy_protocol"):
        if "HTTP" in case.get("rest", ""):
            continue  # a request of its own
        mode = "optional" if case.get("optional") else "required"
        data = sent(case).removesuffix(case.get("rest", "").encode())
        with servers[mode].connect() as client:
            client.send(data + (b"" if case["name"] == "v1-endless" else GET))
            response = client.receive()
            if "status" in case:
                assert response.status == case["status"], case["name"]
                client.wait_closed()
                continue
            told: Any = seen(response)
            address = "" if "unix" in case else case.get("client", ["127.0.0.1"])[0]
            found = told["REMOTE_ADDR"] if app == "wsgi" else (told["client"] or [""])[0]
            assert found == address, case["name"]


# ---- PROXY protocol --------------------------------------------------------------------------


@pytest.mark.parametrize("beginning", [LINE, HEADER])
@pytest.mark.parametrize("mode", ["optional", "required"])
def test_proxy_protocol(modes: Modes, beginning: bytes, mode: str) -> None:
    """The addresses of the header are those of every request on the connection."""
    with modes[mode].connect() as client:
        client.send(beginning + GET)
        for _ in range(2):
            told = seen(client.receive())
            assert (told["REMOTE_ADDR"], told["REMOTE_PORT"]) == ("203.0.113.9", "51234")
            assert (told["SERVER_NAME"], told["SERVER_PORT"]) == ("192.0.2.1", "443")
            client.send(GET)
        assert seen(client.receive())["wsgi.url_scheme"] == "http"


@pytest.mark.parametrize("beginning", [LINE, HEADER])
def test_proxy_protocol_byte_by_byte(modes: Modes, beginning: bytes) -> None:
    """However it is cut."""
    with modes["required"].connect() as client:
        for byte in beginning + GET:
            client.send(bytes([byte]))
        assert seen(client.receive())["REMOTE_ADDR"] == "203.0.113.9"


def test_proxy_protocol_with_tls(modes: Modes) -> None:
    """The sender says that the client spoke TLS: the scheme is https."""
    content = BLOCK + struct.pack("!BHBI", 0x20, 5, 1, 0)
    header = SIGNATURE + struct.pack("!BBH", 0x21, 0x11, len(content)) + content
    with modes["required"].connect() as client:
        client.send(header + GET)
        assert seen(client.receive())["url"] == "https://app.example/a"


def test_announced_client_is_not_believed_like_the_load_balancer(serve: Serve) -> None:
    """The load balancer passes on what the client wrote: its header fields are a stranger's."""
    request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n"
    server = serve(APP, "--proxy-protocol=required", "--forwarded-allow-ips=127.0.0.1,10.9.9.9")
    with server.connect() as client:
        client.send(LINE + request)
        assert seen(client.receive())["REMOTE_ADDR"] == "203.0.113.9"
    with server.connect() as client:
        client.send(LINE.replace(b"203.0.113.9", b"10.9.9.9") + request)
        assert seen(client.receive())["REMOTE_ADDR"] == "10.0.0.1"


@pytest.mark.parametrize(
    "beginning", [b"PROXY UNKNOWN\r\n", SIGNATURE + struct.pack("!BBH", 0x20, 0, 0)]
)
def test_health_checks_of_a_load_balancer(modes: Modes, beginning: bytes) -> None:
    """They come from the load balancer itself."""
    with modes["required"].connect() as client:
        client.send(beginning + GET)
        assert seen(client.receive())["REMOTE_ADDR"] == "127.0.0.1"


def test_health_check_that_says_nothing(modes: Modes) -> None:
    """A connection that is opened and closed leaves nothing behind, and no complaint."""
    server = modes["required"]
    server.connect().close()
    with server.connect() as client:
        client.send(LINE + GET)
        assert seen(client.receive())


def test_header_is_missed_or_not(modes: Modes) -> None:
    """optional takes both; required refuses a connection without a header."""
    with modes["optional"].connect() as client:
        client.send(GET)
        assert seen(client.receive())["REMOTE_ADDR"] == "127.0.0.1"
    with modes["required"].connect() as client:
        client.send(GET)
        refusal = client.receive()
        assert (refusal.status, refusal.get("Connection")) == (400, "close")
        assert b"PROXY" in refusal.body
        client.wait_closed()


@pytest.mark.parametrize("mode", ["off", "optional", "required"])
def test_header_of_a_stranger(serve: Serve, mode: str) -> None:
    """Who may not send one is refused with it, and where one is required, without it too."""
    arguments = [f"--proxy-protocol={mode}", "--proxy-protocol-from=10.0.0.0/8"]
    server = serve(APP, *arguments)
    with server.connect() as client:
        client.send(LINE + GET)
        assert client.receive().status == (403 if mode == "required" else 400)
        client.wait_closed()
    with server.connect() as client:
        client.send(GET)
        assert client.receive().status == (403 if mode == "required" else 200)


@pytest.mark.parametrize(
    "beginning",
    [
        LINE.replace(b"TCP4", b"TCP6"),
        b"PROXY UNKNOWN" + b" x" * 60 + b"\r\n",
        HEADER.replace(b"\x21\x11", b"\x21\x41"),
        SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 4) + b"1234",
        SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 65535),
    ],
)
def test_malformed_header(modes: Modes, beginning: bytes) -> None:
    """400, nothing behind it is run."""
    with modes["optional"].connect() as client:
        client.send(beginning + GET)
        assert client.receive().status == 400
        client.wait_closed()


def test_slow_header(serve: Serve) -> None:
    """The time for a request head covers the header before it."""
    with serve(APP, "--proxy-protocol=required", "--header-timeout=0.2").connect() as client:
        client.send(LINE[:10])
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


def test_dual_stack_peers(serve: Serve) -> None:
    """An IPv4 peer is 127.0.0.1 on a socket for both versions too."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("this system has no IPv6")
    server = serve(APP, "--bind=:0")
    with Client(("127.0.0.1", server.port)) as client:
        assert seen(client.get("/", X_Forwarded_For="203.0.113.9"))["REMOTE_ADDR"] == "203.0.113.9"


def test_root_path(serve: Serve) -> None:
    """A proxy may leave the prefix or take it off; links are right in both cases."""
    with serve(APP, "--root-path=/shop").connect() as client:
        for path in ("/shop/a", "/a"):
            told: dict[str, Any] = seen(client.get(path, Host="app.example"))
            assert (told["SCRIPT_NAME"], told["PATH_INFO"]) == ("/shop", "/a")
            assert told["url"] == "http://app.example/shop/a"
