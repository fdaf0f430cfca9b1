"""TLS on both engines, with clients that do everything themselves."""

import asyncio
import contextlib
import json
import select
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apps.asgi_served import LOOPS
from tests.support.certificates import (
    NEEDS_OPENSSL,
    Authority,
    TlsClient,
    client_hello,
    trusting,
)
from tests.support.server import Server
from tests.support.wire import Client

pytestmark = NEEDS_OPENSSL

APP = "tests.apps.tls_apps"
ENGINES = ["wsgi", *LOOPS]


class Secured:
    """A running server and whom its clients believe."""

    def __init__(
        self, engine: str, authority: Authority, *arguments: str, first: bool = True
    ) -> None:
        self.authority = authority
        self.engine = engine
        certificate, key = authority.issue("localhost", "127.0.0.1")
        app = [f"{APP}:wsgi"] if engine == "wsgi" else [f"{APP}:asgi", "--loop", engine]
        given = ["--certfile", str(certificate), "--keyfile", str(key)] if first else []
        self.server = Server(*app, "--threads", "4", *given, *arguments)
        self.trust = trusting(authority)

    def connect(self, name: str = "localhost", **options: bytes | float | None) -> TlsClient:
        """A client that speaks TLS."""
        return TlsClient(self.server.addresses[0], self.trust, name, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One for all tests here."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module", params=ENGINES)
def secured(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Secured]:
    """A server of each engine, for most tests here."""
    arguments = ["--ssl-handshake-timeout", "1", "--hsts", "--http", "1", "--body-timeout", "5"]
    running = Secured(request.param, authority, *arguments)
    with running.server:
        yield running
    assert "internal error" not in running.server.log


def test_requests(secured: Secured) -> None:
    """Ordinary requests on a connection that stays."""
    with secured.connect() as client:
        for _ in range(3):
            response = client.get("/")
            assert (response.status, response.body) == (200, b"hello")
        assert client.tls.version() == "TLSv1.3"


def test_announced_with_https(secured: Secured) -> None:
    """The address in the log can be opened as it is."""
    assert secured.server.url.startswith("https://127.0.0.1:")


def test_what_applications_know(secured: Secured) -> None:
    """The scheme, the version, the cipher suite."""
    with secured.connect() as client:
        found = json.loads(client.get("/env").body)
        if secured.engine == "wsgi":
            assert found["wsgi.url_scheme"] == "https"
            assert found["HTTPS"] == "on"
            assert found["SSL_PROTOCOL"] == "TLSv1.3"
            assert found["SSL_CIPHER"].startswith("TLS_")
            assert found["SSL_CLIENT_VERIFY"] == "NONE"
        else:
            tls = found["tls"]
            assert found["scheme"] == "https"
            assert tls["tls_version"] == 0x0304
            assert 0x1301 <= tls["cipher_suite"] <= 0x1303
            assert tls["server_cert"].startswith("-----BEGIN CERTIFICATE-----")
            assert (tls["client_cert_chain"], tls["client_cert_name"]) == ([], None)


def test_older_version(secured: Secured) -> None:
    """TLS 1.2 is spoken with forward secrecy, 1.1 is not."""
    context = trusting(secured.authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with TlsClient(secured.server.addresses[0], context) as client:
        assert client.get("/").body == b"hello"
        suite = client.tls.cipher()
        assert suite is not None
        assert suite[0].startswith("ECDHE-")


def test_many_requests_in_one_record(secured: Secured) -> None:
    """What is decrypted together is answered together, and nothing is forgotten."""
    with secured.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 40)
        assert [client.receive().body for _ in range(40)] == [b"hello"] * 40


def test_request_in_many_records(secured: Secured) -> None:
    """A head that comes byte by byte, each in a record of its own."""
    with secured.connect() as client:
        for byte in b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n":
            client.send(bytes([byte]))
        assert client.receive().body == b"hello"


def test_large_bodies(secured: Secured, tmp_path: Path) -> None:
    """Megabytes in both directions, out of memory and out of files."""
    with secured.connect() as client:
        assert client.request("POST", "/size", body=b"u" * 3_000_000).body == b"3000000"
        assert client.get("/big").body == b"0123456789" * 500_000
        file = tmp_path / "file"
        file.write_bytes(b"abcdefg" * 300_000)
        assert client.get(f"/file?{file}").body == b"abcdefg" * 300_000


def test_slow_reader(secured: Secured) -> None:
    """A response that the client takes slowly arrives whole; others are served meanwhile."""
    with secured.connect() as slow, secured.connect() as other:
        slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        slow.send(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = slow.receive_head()
        assert b"200 OK" in head
        received = slow.receive_exactly(10_000)
        assert other.get("/").body == b"hello"
        received += slow.receive_exactly(4_990_000)
        assert received == b"0123456789" * 500_000
        assert slow.get("/").body == b"hello"


def test_farewell(secured: Secured) -> None:
    """A connection that ends in order ends with close_notify: nothing can have been cut off."""
    with secured.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert client.receive().body == b"hello"
        assert client.receive_rest() == b""  # an end without it raises ssl.SSLEOFError


def test_no_farewell_for_half_a_response(secured: Secured) -> None:
    """A response that breaks off ends without close_notify, so that the client can tell."""
    with secured.connect() as client:
        client.send(b"GET /cut HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.receive_head()
        with pytest.raises((ssl.SSLError, ConnectionError)):
            client.receive_rest()


def test_client_says_goodbye_early(secured: Secured) -> None:
    """Who ends his side in TLS right behind the request gets the answer, and then the end."""
    with secured.connect() as client:
        client.tls.settimeout(5)
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        began = time.monotonic()
        with contextlib.suppress(ssl.SSLError):  # the answer comes behind close_notify
            client.tls.unwrap()  # sends that, and waits for the server's
        assert time.monotonic() - began < 3


def test_plain_http(secured: Secured) -> None:
    """Plain HTTP is told that this port speaks TLS."""
    with Client(secured.server.addresses[0]) as client:
        response = client.get("/")
        assert response.status == 400
        assert b"this port speaks TLS" in response.body
        assert client.receive_rest() == b""


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xff" * 506,
    ],
)
def test_garbage(secured: Secured, garbage: bytes) -> None:
    """What only looks like TLS is answered with an alert (RFC 8446 §6), and the server goes on."""
    with Client(secured.server.addresses[0]) as client:
        client.send(garbage)
        answer = client.receive_rest()
        assert answer[:1] == b"\x15", answer
    with secured.connect() as other:
        assert other.get("/").body == b"hello"


def test_slow_handshake(secured: Secured) -> None:
    """Handshakes that do not go on are given up, and hold nobody up meanwhile."""
    said = (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01")
    clients = [Client(secured.server.addresses[0], 4.0) for _ in range(30)]
    try:
        for number, client in enumerate(clients):
            client.send(said[number % 3])
        with secured.connect() as other:
            assert other.get("/").body == b"hello"
        assert [client.receive_rest() for client in clients] == [b""] * 30
    finally:
        for client in clients:
            client.close()


def test_client_leaves_in_the_middle(secured: Secured) -> None:
    """Clients that go away in their handshake cost nothing."""
    for end in ("close", "reset"):
        client = Client(secured.server.addresses[0])
        client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
        getattr(client, end)()
    with secured.connect() as other:
        assert other.get("/").body == b"hello"


def test_foreign_protocol(secured: Secured) -> None:
    """Who speaks nothing that is spoken here is told so (RFC 7301 §3.2)."""
    context = trusting(secured.authority)
    context.set_alpn_protocols(["spdy/3"])
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        TlsClient(secured.server.addresses[0], context)


def test_protocol_is_agreed_on(secured: Secured) -> None:
    """ALPN names what is spoken."""
    context = trusting(secured.authority)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with TlsClient(secured.server.addresses[0], context) as client:
        assert client.tls.selected_alpn_protocol() == "http/1.1"
        assert client.get("/").body == b"hello"


def test_sessions_are_resumed(secured: Secured) -> None:
    """A ticket of one connection spares the next one the full handshake."""
    with secured.connect() as client:
        client.get("/")
        session = client.tls.session
    with TlsClient(secured.server.addresses[0], secured.trust, session=session) as again:
        # A session belongs to the context that made it.
        assert again.tls.session_reused
        assert again.get("/").body == b"hello"


def test_strict_transport(secured: Secured) -> None:
    """--hsts is in every response, unless the application says something else."""
    with secured.connect() as client:
        assert client.get("/").get("Strict-Transport-Security") == "max-age=31536000"
        assert client.get("/strict").get("Strict-Transport-Security") == "max-age=1"


def test_websocket(secured: Secured) -> None:
    """WebSockets over TLS, with a client that is used everywhere."""
    if secured.engine == "wsgi":
        pytest.skip("WebSockets are for ASGI")
    # Its other client uses one ssl.SSLSocket in two threads, which now and then blocks both on a
    # free-threaded build.
    client = pytest.importorskip("websockets.asyncio.client")
    url = secured.server.url.replace("https", "wss")

    async def talk() -> None:
        async with asyncio.timeout(10), client.connect(url, ssl=secured.trust) as websocket:
            assert await websocket.recv() == "wss True"
            for size in (5, 200_000):
                await websocket.send("w" * size)
                assert await websocket.recv() == "w" * size

    asyncio.run(talk())


@pytest.mark.parametrize("engine", ["wsgi", "asyncio"])
def test_handshakes_keep_nobody_waiting(engine: str, authority: Authority) -> None:
    """While a core has a second of handshakes to calculate, its other connections are served."""
    certificate, key = authority.issue("localhost", key="rsa4096", label="large")
    options = ["--http", "1", "--workers", "1", "--certfile", str(certificate)]
    running = Secured(engine, authority, *options, "--keyfile", str(key), first=False)
    said = client_hello("localhost")
    with running.server, running.connect() as client:
        others = [Client(running.server.addresses[0]) for _ in range(150)]
        try:
            for other in others:
                other.send(said)
            assert client.get("/").body == b"hello"
            answered, _, _ = select.select([other.sock for other in others], [], [], 0)
            assert len(answered) < 150
            assert client.get("/").body == b"hello"
        finally:
            for other in others:
                other.close()


def test_several_processes(authority: Authority) -> None:
    """Members of other runtimes speak TLS as well, and redirect."""
    options = ["--runtime", "processes", "--workers", "2", "--redirect-http", "0"]
    certificate, key = authority.issue("localhost")
    options += ["--certfile", str(certificate), "--keyfile", str(key)]
    with Server(f"{APP}:wsgi", *options, addresses=2) as server:
        for _ in range(4):
            with TlsClient(server.addresses[0], trusting(authority)) as client:
                assert json.loads(client.get("/env").body)["HTTPS"] == "on"
        with Client(server.addresses[1]) as plain:
            where = plain.get("/x", Host="localhost").get("Location")
        assert where == f"https://localhost:{server.port}/x"


@pytest.mark.parametrize("engine", ENGINES)
def test_end_of_the_server(engine: str, authority: Authority) -> None:
    """A request that runs is answered, and every connection ends with a farewell."""
    running = Secured(engine, authority, "--http", "1", "--keep-alive", "30")
    with running.server as server:
        with (
            running.connect() as busy,
            running.connect() as idle,
            Client(server.addresses[0]) as half,
        ):
            assert idle.get("/").body == b"hello"
            half.send(b"\x16\x03\x01\x02\x00\x01")
            busy.send(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
            server.stop()
            assert busy.receive().body == b"hello"
            assert busy.receive_rest() == b""
            assert idle.receive_rest() == b""
            assert half.receive_rest() == b""
