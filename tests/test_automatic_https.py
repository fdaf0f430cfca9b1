"""Automatic HTTPS end to end: real servers, a real authority, clients that verify certificates."""

import contextlib
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("acme", reason="the ACME client, or cryptography below it, is not installed")

from tests.support.acmeproxy import AcmeProxy
from tests.support.balancer import Balancer
from tests.support.pebble import Pebble, free_port, needs_pebble
from tests.support.restartable_redis import RestartableRedis
from tests.support.server import ROOT, Server, children_of
from tests.support.waiting import wait_until

pytestmark = needs_pebble

WSGI = "tests.apps.torture:app"
ASGI = "tests.apps.asgi_torture:app"


class Site:
    """Where a server is reached: by the authority, and by clients that trust it."""

    def __init__(self, pebble: Pebble, storage: Path | str) -> None:
        self.pebble = pebble
        self.storage = storage

    def server(self, *options: str, app: str = WSGI, env: dict[str, str] | None = None) -> Server:
        """A server that listens where the authority looks."""
        return Server(
            app,
            *("--bind", f"127.0.0.1:{self.pebble.tls_port}"),
            *("--redirect-http", f"127.0.0.1:{self.pebble.http_port}"),
            *("--storage", str(self.storage), *self.pebble.options, *options),
            env=env,
        )

    def connect(self, name: str, context: ssl.SSLContext) -> ssl.SSLSocket:
        """A connection to a name. Raises OSError."""
        sock = socket.create_connection(("127.0.0.1", self.pebble.tls_port), 20)
        try:
            return context.wrap_socket(sock, server_hostname=name)
        except BaseException:
            sock.close()
            raise

    def get(self, name: str, context: ssl.SSLContext, path: str = "/hello") -> bytes:
        """The body of a page, from a server whose certificate was verified."""
        with self.connect(name, context) as sock:
            return fetch(sock, name, path)

    def shown(self, name: str) -> str:
        """The certificate that is shown for a name, PEM, valid or not; "" for none."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            with self.connect(name, context) as sock:
                return ssl.DER_cert_to_PEM_cert(sock.getpeercert(True) or b"")
        except OSError:
            return ""

    def plain(self, name: str, path: str) -> http.client.HTTPResponse:
        """An answer of the plain port, read."""
        connection = http.client.HTTPConnection("127.0.0.1", self.pebble.http_port, timeout=10)
        try:
            connection.request("GET", path, headers={"Host": name})
            response = connection.getresponse()
            response.read()
            return response
        finally:
            connection.close()


def fetch(sock: ssl.SSLSocket, name: str, path: str = "/hello") -> bytes:
    """Ask for a page on an open connection."""
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    response = http.client.HTTPResponse(sock)
    response.begin()
    assert response.status == 200
    return response.read()


def keeper_of(server: Server) -> int:
    """The process id of the keeper."""
    for pid in children_of(server.pid):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().endswith(b"keeper\0"):
                return pid
    return 0


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    """An authority for all tests that do not stop it."""
    with Pebble(tmp_path_factory.mktemp("pebble")) as running:
        yield running


@pytest.fixture
def site(pebble: Pebble, tmp_path: Path) -> Site:
    """With a storage of its own."""
    return Site(pebble, tmp_path / "kept")


@pytest.mark.parametrize("kind", ["tls-alpn-01", "http-01"])
@pytest.mark.parametrize("app", [WSGI, ASGI], ids=["wsgi", "asgi"])
def test_domain_is_served_by_https(site: Site, kind: str, app: str) -> None:
    """With either kind of challenge: a verified page, and a plain port that leads there, but for
    challenges."""
    with site.server("--domain", "a.example", "--acme-challenge", kind, app=app) as server:
        server.wait_log("Obtained a certificate for a.example")
        trusting = site.pebble.trusting()
        assert site.get("a.example", trusting) == b"hello\n"
        response = site.plain("a.example", "/x?y=1")
        assert response.status in (301, 308)
        assert response.getheader("Location", "").startswith("https://a.example")
        assert response.getheader("Location", "").endswith("/x?y=1")
        response = site.plain("a.example", "/.well-known/acme-challenge/unknown")
        assert response.status in (301, 308, 404)
        with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
            site.connect("other.example", trusting)


def test_restart_needs_no_network(tmp_path: Path) -> None:
    """With the authority gone a new start serves at once, and leaves it alone."""
    with Pebble(tmp_path) as pebble:
        site = Site(pebble, tmp_path / "kept")
        with site.server("--domain", "a.example") as server:
            server.wait_log("Obtained a certificate for a.example")
            trusting = pebble.trusting()
            before = site.shown("a.example")
        pebble.stop()
        with site.server("--domain", "a.example") as server:
            assert site.get("a.example", trusting) == b"hello\n"
            assert site.shown("a.example") == before
            assert "No new certificate" not in server.log


def test_authority_that_is_away_at_the_start(tmp_path: Path) -> None:
    """It is said, tried again, and the certificate appears without a restart; until then a client
    waits or is refused, and the plain port goes on."""
    with Pebble(tmp_path) as pebble:
        site = Site(pebble, tmp_path / "kept")
        pebble.stop()
        with site.server("--domain", "a.example") as server:
            server.wait_log(r"No new certificate for a\.example \(there is none to serve\), .*\n")
            assert "cannot be reached" in server.log
            assert site.shown("a.example") == ""
            assert site.plain("a.example", "/").status in (301, 308)
            pebble.start()
            server.wait_log("Obtained a certificate for a.example", timeout=30)
            assert site.get("a.example", pebble.trusting()) == b"hello\n"


def test_certificates_are_renewed(tmp_path: Path) -> None:
    """After two thirds of their life, without touching a connection; when the authority is away
    the old one is served beyond its end, tried again, and said so."""
    with Pebble(tmp_path, validity=6) as pebble:
        site = Site(pebble, tmp_path / "kept")
        with site.server("--domain", "a.example", "--keep-alive", "60") as server:
            server.wait_log("Obtained a certificate for a.example")
            trusting = pebble.trusting()
            first = site.shown("a.example")
            with site.connect("a.example", trusting) as kept:
                assert fetch(kept, "a.example") == b"hello\n"
                wait_until(lambda: site.shown("a.example") not in ("", first), 20)
                assert fetch(kept, "a.example") == b"hello\n"
            assert site.get("a.example", trusting) == b"hello\n"
            assert "it is time to renew it" in server.log
            pebble.stop()
            server.wait_log(r"No new certificate for a\.example \(the old one is served on", 20)
            server.wait_log(r"No new certificate for a\.example \(the old one has expired\)", 30)
            assert site.shown("a.example")


def test_names_on_demand(site: Site, tmp_path: Path) -> None:
    """The first handshake for an allowed name brings its certificate, while others go on; a name
    that is not allowed is refused."""
    tenants = tmp_path / "tenants"
    (tenants / "alice").mkdir(parents=True)
    template = f"{tenants}/{{host.labels.2}}"
    with site.server("--domain", "a.example", "--on-demand-dir", template) as server:
        server.wait_log("Obtained a certificate for a.example")
        trusting = site.pebble.trusting()
        bodies: list[bytes] = []
        waiting = [
            threading.Thread(target=lambda: bodies.append(site.get("alice.example.com", trusting)))
            for _ in range(5)
        ]
        for thread in waiting:
            thread.start()
        assert site.get("a.example", trusting) == b"hello\n"
        for thread in waiting:
            thread.join(30)
        assert bodies == [b"hello\n"] * 5
        assert server.log.count("Obtaining a certificate for alice.example.com") == 1
        with pytest.raises(OSError, match=r"(?i)unrecognized.name"):
            site.connect("bob.example.com", trusting)
        server.wait_log(f"No certificate for bob.example.com: there is no directory {tenants}/bob")
        (tenants / "alice").rmdir()
        assert site.get("alice.example.com", trusting) == b"hello\n"


def test_keeper_that_dies_is_started_again(site: Site) -> None:
    """Nobody notices but the log; the next one goes on, also with the same clients' questions."""
    with site.server("--domain", "a.example", "--on-demand-allow", "*.example.com") as server:
        server.wait_log("Obtained a certificate for a.example")
        trusting = site.pebble.trusting()
        os.kill(keeper_of(server), signal.SIGKILL)
        assert site.get("a.example", trusting) == b"hello\n"
        server.wait_log(r"keeper of certificates has ended \(signal 9\); starting it again in 1 s")
        assert site.get("b.example.com", trusting) == b"hello\n"


def test_server_without_a_master(site: Site) -> None:
    """The one process starts the keeper itself, and leaves none behind."""
    with site.server("--domain", "a.example", "--no-master") as server:
        server.wait_log("Obtained a certificate for a.example")
        keeper = keeper_of(server)
        assert keeper
        assert site.get("a.example", site.pebble.trusting()) == b"hello\n"
    with pytest.raises(ProcessLookupError):
        os.kill(keeper, 0)


def test_certificates_by_hand(site: Site, tmp_path: Path) -> None:
    """`certs renew` gets another one that a running server shows; so does `certs import`."""

    def certs(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "nogilserve", "certs", *words, "--storage", str(site.storage)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    with site.server("--domain", "a.example") as server:
        server.wait_log("Obtained a certificate for a.example")
        first = site.shown("a.example")
        out = certs("renew", "a.example", *site.pebble.options)
        assert "there is a new certificate" in out
        wait_until(lambda: site.shown("a.example") not in ("", first), 15)
        second = site.shown("a.example")
        assert "a.example: valid for 1826 days" in certs("list")
        certs("export", "a.example", str(tmp_path))
        assert (tmp_path / "a.example.crt").read_text().startswith(second)


# ---- more than one machine


class Replicas:
    """Servers on two loopback addresses behind a balancer, where the authority looks."""

    def __init__(self, pebble: Pebble, redis: RestartableRedis, folder: Path) -> None:
        self.site = Site(pebble, redis.url)
        self.redis = redis
        self.folder = folder
        self.options = pebble.options
        self.ports = {address: (free_port(), free_port()) for address in ("127.0.0.2", "127.0.0.3")}
        self.balancer = Balancer({pebble.tls_port: (), pebble.http_port: ()})
        self.send_to(*self.ports)

    def send_to(self, *addresses: str) -> None:
        """Have the balancer pass connections to these alone, in turn."""
        pebble = self.site.pebble
        for index, port in enumerate((pebble.tls_port, pebble.http_port)):
            self.balancer.backends[port] = [(item, self.ports[item][index]) for item in addresses]

    def server(self, address: str, *options: str) -> Server:
        """A machine with a data folder of its own."""
        tls, plain = self.ports[address]
        return Server(
            WSGI,
            *("--bind", f"{address}:{tls}", "--redirect-http", f"{address}:{plain}"),
            *("--storage", str(self.site.storage), *self.options, *options),
            env={"XDG_DATA_HOME": str(self.folder / address)},
        )

    def shown_by(self, address: str, name: str) -> str:
        """The certificate that one of them shows."""
        self.send_to(address)
        return self.site.shown(name)


@pytest.fixture
def replicas(pebble: Pebble, tmp_path: Path) -> Iterator[Replicas]:
    """With a Redis and a balancer that run."""
    pytest.importorskip("redis")
    with RestartableRedis(tmp_path) as redis:
        made = Replicas(pebble, redis, tmp_path)
        with made.balancer:
            yield made


@pytest.mark.parametrize("kind", ["tls-alpn-01", "http-01"])
def test_any_replica_answers_any_challenge(replicas: Replicas, kind: str) -> None:
    """The authority's connections all go to the one that does not obtain the certificate."""
    one, two = replicas.ports
    replicas.send_to(two)
    kinds = ("--acme-challenge", kind)
    with (
        replicas.server(two, "--domain", "b.example", *kinds) as second,
        replicas.server(one, "--domain", "a.example", *kinds) as first,
    ):
        first.wait_log("Obtained a certificate for a.example")
        second.wait_log("Obtained a certificate for b.example")
        assert "a.example" not in second.log
        assert replicas.shown_by(one, "a.example")


def test_replicas_share_one_certificate(replicas: Replicas) -> None:
    """It is obtained once, and both show it. Without Redis they go on, and one that is started then
    has the certificate as well; a Redis that comes back empty gets it again."""
    one, two = replicas.ports
    trusting = replicas.site.pebble.trusting()
    with replicas.server(one, "--domain", "a.example") as first:
        with replicas.server(two, "--domain", "a.example") as second:
            for address in replicas.ports:
                wait_until(partial(replicas.shown_by, address, "a.example"), 20)
            assert replicas.shown_by(one, "a.example") == replicas.shown_by(two, "a.example")
            obtained = [server.log.count("Obtained a cert") for server in (first, second)]
            assert sorted(obtained) == [0, 1]
        replicas.redis.stop()
        away = r"cannot read .* in unix:.*; serving what is there"
        first.wait_log(away, timeout=20)
        with replicas.server(two, "--domain", "a.example") as second:
            second.wait_log(away, timeout=20)
            for address in replicas.ports:
                replicas.send_to(address)
                assert replicas.site.get("a.example", trusting) == b"hello\n"
            replicas.redis.start()
            for server in (first, second):
                server.wait_log(r"unix:.* is back", timeout=20)
            assert "certificates/a.example is not in unix:" in first.log + second.log
            assert second.log.count("Obtaining") == 0


def test_replica_that_dies_with_the_lock_stops_nobody(replicas: Replicas) -> None:
    """One is killed, with all its processes, in the middle of an order: the other obtains the
    certificate when the lock has ended."""
    reached, go = threading.Event(), threading.Event()

    def hold(method: str, path: str) -> None:
        if path.startswith("/finalize-order") and not reached.is_set():
            reached.set()
            go.wait(60)

    one, two = replicas.ports
    with AcmeProxy(replicas.site.pebble) as proxy:
        proxy.instead = hold
        replicas.options = proxy.options
        first = replicas.server(one, "--domain", "a.example")
        try:
            assert reached.wait(20)
            with replicas.server(two, "--domain", "a.example") as second:
                for pid in (keeper_of(first), *children_of(first.pid), first.pid):
                    os.kill(pid, signal.SIGKILL)
                go.set()
                second.wait_log("Obtained a certificate for a.example", timeout=40)
                trusting = replicas.site.pebble.trusting()
                replicas.send_to(one, two)
                assert replicas.site.get("a.example", trusting) == b"hello\n"
        finally:
            go.set()
            first.kill()
