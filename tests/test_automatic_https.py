"""Automatic HTTPS end to end: real servers, a real authority, clients that verify certificates."""

import http.client
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("acme", reason="the ACME client, or cryptography below it, is not installed")

from tests.support.https_site import ASGI, WSGI, Site, fetch, keeper_of, obtained
from tests.support.pebble import Pebble, needs_pebble
from tests.support.server import ROOT
from tests.support.waiting import wait_until

pytestmark = needs_pebble
ADMIN = r"Status page at http://127\.0\.0\.1:(\d+)/"


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
        obtained(server, "a.example")
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
            obtained(server, "a.example")
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
            obtained(server, "a.example")
            assert site.get("a.example", pebble.trusting()) == b"hello\n"


def test_certificates_are_renewed(tmp_path: Path) -> None:
    """After two thirds of their life, without touching a connection; when the authority is away
    the old one is served beyond its end and after another start, and that is said."""
    with Pebble(tmp_path, validity=6) as pebble:
        site = Site(pebble, tmp_path / "kept")
        with site.server("--domain", "a.example", "--keep-alive", "60") as server:
            obtained(server, "a.example")
            trusting = pebble.trusting()
            first = site.shown("a.example")
            with site.connect("a.example", trusting) as kept:
                assert fetch(kept, "a.example") == b"hello\n"
                wait_until(lambda: site.shown("a.example") not in ("", first), 40)
                assert fetch(kept, "a.example") == b"hello\n"
            assert site.get("a.example", trusting) == b"hello\n"
            assert "it is time to renew it" in server.log
            pebble.stop()
            server.wait_log(r"No new certificate for a\.example \(the old one is served on", 40)
            server.wait_log(r"No new certificate for a\.example \(the old one has expired\)", 40)
            assert site.shown("a.example")
        with site.server("--domain", "a.example") as server:
            server.wait_log(r"No new certificate for a\.example", 40)
            assert site.shown("a.example")


def test_names_on_demand(site: Site, tmp_path: Path) -> None:
    """The first handshake for an allowed name brings its certificate, while others go on; a name
    that is not allowed is refused."""
    tenants = tmp_path / "tenants"
    (tenants / "alice").mkdir(parents=True)
    template = f"{tenants}/{{host.labels.2}}"
    with site.server("--domain", "a.example", "--on-demand-dir", template) as server:
        obtained(server, "a.example")
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
        obtained(server, "a.example")
        trusting = site.pebble.trusting()
        os.kill(keeper_of(server), signal.SIGKILL)
        assert site.get("a.example", trusting) == b"hello\n"
        server.wait_log(r"keeper of certificates has ended \(signal 9\); starting it again in 1 s")
        assert site.get("b.example.com", trusting) == b"hello\n"


def test_server_without_a_master(site: Site) -> None:
    """The one process starts the keeper itself, and leaves none behind; the end of the
    certificate is among the metrics."""
    pytest.importorskip("prometheus_client", reason="prometheus_client is not installed")
    with site.server("--domain", "a.example", "--no-master", "--admin", "0") as server:
        obtained(server, "a.example")
        keeper = keeper_of(server)
        assert keeper
        port = int(server.wait_log(ADMIN)[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/metrics")
        metrics = connection.getresponse().read().decode()
        connection.close()
        assert re.search(r'certificate_expiry_\w+\{name="a.example"\} [1-9]', metrics)
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
        obtained(server, "a.example")
        first = site.shown("a.example")
        out = certs("renew", "a.example", *site.pebble.options)
        assert "there is a new certificate" in out
        wait_until(lambda: site.shown("a.example") not in ("", first), 40)
        second = site.shown("a.example")
        assert "a.example: valid for 1826 days" in certs("list")
        certs("export", "a.example", str(tmp_path))
        assert (tmp_path / "a.example.crt").read_text().startswith(second)


def test_reload_follows_the_configuration(site: Site, tmp_path: Path) -> None:
    """A name that has been added to the file has its certificate after a reload."""
    file = tmp_path / "nogilserve.toml"
    file.write_text('domain = ["a.example"]\n')
    with site.server("--config", str(file)) as server:
        obtained(server, "a.example")
        keeper = keeper_of(server)
        file.write_text('domain = ["a.example", "b.example"]\n')
        server.signal(signal.SIGHUP)
        obtained(server, "b.example")
        assert keeper_of(server) == keeper  # what it is at goes on
        trusting = site.pebble.trusting()
        wait_until(lambda: site.shown("b.example"), 40)
        for name in ("a.example", "b.example"):
            assert site.get(name, trusting) == b"hello\n"


def test_tenants_have_certificates(site: Site, tmp_path: Path) -> None:
    """Each tenant with a directory is served by HTTPS, its certificate obtained when somebody
    first comes; who has none is refused. A reload tells the keeper of new names."""
    for name in ("alice", "bob"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "main.py").write_text(
            "def app(environ, start_response):\n"
            f"    start_response('200 OK', [('Content-Length', '{len(name)}')])\n"
            f"    return [b'{name}']\n"
        )
    template = f"{tmp_path}/{{host.labels.2}}"
    file = tmp_path / "nogilserve.toml"
    file.write_text(f'on-demand-dir = "{template}"\n')
    options = ("--working-dir", template, "--config", str(file))
    with site.server(*options, app="main:app") as server:
        trusting = site.pebble.trusting()
        for name in ("alice", "bob"):
            assert site.get(f"{name}.example.com", trusting, "/") == name.encode()
        with pytest.raises(OSError, match=r"(?i)unrecognized.name"):
            site.connect("carol.example.com", trusting)
        assert "Obtaining a certificate for carol" not in server.log
        file.write_text(f'on-demand-dir = "{template}"\ndomain = ["alice.example.org"]\n')
        server.signal(signal.SIGHUP)
        obtained(server, "alice.example.org")
