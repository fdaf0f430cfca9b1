"""Automatic HTTPS on more than one machine: two loopback addresses, a balancer, a real Redis."""

import os
import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("acme", reason="the ACME client, or cryptography below it, is not installed")
pytest.importorskip("redis", reason="the client for Redis is not installed")

from tests.support.acmeproxy import AcmeProxy
from tests.support.balancer import Balancer
from tests.support.https_site import WSGI, Site, keeper_of, obtained
from tests.support.pebble import Pebble, free_port, needs_pebble
from tests.support.restartable_redis import RestartableRedis
from tests.support.server import Server, children_of
from tests.support.waiting import wait_until

pytestmark = needs_pebble


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    """An authority for all tests here."""
    with Pebble(tmp_path_factory.mktemp("pebble")) as running:
        yield running


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
        obtained(first, "a.example")
        obtained(second, "b.example")
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
                wait_until(partial(replicas.shown_by, address, "a.example"), 40)
            assert replicas.shown_by(one, "a.example") == replicas.shown_by(two, "a.example")
            obtained = [server.log.count("Obtained a cert") for server in (first, second)]
            assert sorted(obtained) == [0, 1]
        replicas.redis.stop()
        away = r"cannot read .* in unix:.*; serving what is there"
        first.wait_log(away, timeout=40)
        with replicas.server(two, "--domain", "a.example") as second:
            second.wait_log(away, timeout=40)
            for address in replicas.ports:
                replicas.send_to(address)
                assert replicas.site.get("a.example", trusting) == b"hello\n"
            replicas.redis.start()
            for server in (first, second):
                server.wait_log(r"unix:.* is back", timeout=40)
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
                obtained(second, "a.example")
                trusting = replicas.site.pebble.trusting()
                replicas.send_to(one, two)
                assert replicas.site.get("a.example", trusting) == b"hello\n"
        finally:
            go.set()
            first.kill()
