"""The front: whose connection it is, who waits, who is turned away; nothing accepted is lost."""

import array
import contextlib
import logging
import os
import queue
import socket
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from nogilserve.config.templates import Naming
from nogilserve.engine.settings import ProxyRules
from nogilserve.messages import Limits
from nogilserve.runtimes.intake import Intake, Sender, feed_pair
from nogilserve.sites.tenants.naming import Names
from nogilserve.sockets import Listener
from nogilserve.supervise.tenants import front
from nogilserve.supervise.tenants.front import Front
from nogilserve.supervise.tenants.plan import Manners
from tests.support.waiting import wait_until
from tests.support.wire import Client

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sockets are passed as on POSIX")

SHOP, BLOG = ("shop",), ("blog",)
Told = tuple[str, int, Any]


class Scene:
    """A front, its listening socket, and what it says. Owner: the test."""

    def __init__(self, **manners: Any) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.setblocking(False)
        self.address = self.listening.getsockname()
        self.told: queue.SimpleQueue[Told] = queue.SimpleQueue()
        names = Names(Naming(("host.labels.2",)))
        given: dict[str, Any] = {"patience": 5.0, "most": 100, "tls": False}
        given |= {"proxies": ProxyRules()} | manners
        listener = Listener(self.listening, "http://test", ("127.0.0.1", "80"))
        self.front = Front([listener], Manners(names, Limits(), **given), self.told)
        self.front.start()

    def client(self, name: str = "shop", path: str = "/") -> Client:
        """A client that has sent a head."""
        client = Client(self.address)
        client.send(f"GET {path} HTTP/1.1\r\nHost: {name}.example.com\r\n\r\n".encode())
        return client

    def heard(self, what: str, tenant: tuple[str, ...] | None) -> None:
        """Wait until the front says this; other words are skipped."""
        while self.told.get(timeout=10) != (what, 0, tenant):
            pass

    def close(self) -> None:
        """End it."""
        self.front.close()
        self.listening.close()


class Way:
    """What a tenant has: the end at which connections come. Owner: the test."""

    def __init__(self) -> None:
        self.sending, self.receiving = feed_pair()
        self.senders = [Sender(self.sending)]
        self.intake = Intake(
            self.receiving, socket.AF_INET, ("127.0.0.1", "80"), None, returning=True
        )

    def take(self) -> tuple[socket.socket, bytes]:
        """The next connection and its head."""
        found: list[tuple[socket.socket, Any]] = []
        wait_until(lambda: self.try_to_take(found), timeout=10)
        sock, address = found[0]
        assert address[0] == "127.0.0.1"
        sock.settimeout(10)
        unread = address[2] if len(address) == 3 else b""
        return sock, unread or sock.recv(65536)

    def try_to_take(self, found: list[tuple[socket.socket, Any]]) -> bool:
        """Whether one was there."""
        with contextlib.suppress(BlockingIOError):
            found.append(self.intake.accept())
        return bool(found)

    def close(self) -> None:
        """Close both ends, and what is on its way."""
        left: list[tuple[socket.socket, Any]] = []
        while self.try_to_take(left):
            left.pop()[0].close()
        self.sending.close()
        self.receiving.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    """A front with ordinary manners."""
    made = Scene()
    yield made
    made.close()


@pytest.fixture
def way() -> Iterator[Way]:
    """A way to a tenant."""
    made = Way()
    yield made
    made.close()


def test_parked_until_the_tenant_is_there(scene: Scene, way: Way) -> None:
    """Nothing is taken from the connection; the address of the client comes with it."""
    with scene.client(path="/one") as client:
        scene.heard("wanted", SHOP)
        scene.front.open(SHOP, way.senders)
        sock, head = way.take()
        with sock:
            assert head == b"GET /one HTTP/1.1\r\nHost: shop.example.com\r\n\r\n"
            assert sock.getpeername() == client.sock.getsockname()


def test_refused_while_they_wait(scene: Scene) -> None:
    """With the reason, and when to come back; the next one is asked for anew."""
    for _ in range(2):
        with scene.client() as client:
            scene.heard("wanted", SHOP)
            scene.front.refuse(SHOP, 503, "it cannot start", 5)
            response = client.receive()
            assert response.status == 503
            assert response.get("Retry-After") == "5"
            client.wait_closed()


def test_it_is_said_when_nobody_is_left(scene: Scene, way: Way) -> None:
    """Neither one who waits for a tenant, nor one who has said nothing yet."""
    with scene.client() as waiting, Client(scene.address) as silent:
        scene.heard("wanted", SHOP)
        scene.front.stop()
        scene.front.empty()
        for _ in range(2):  # turns of the front
            scene.front.park(BLOG)
            assert scene.told.get(timeout=10) == ("closed", 0, BLOG)
        scene.front.open(SHOP, way.senders)
        for client in (waiting, silent):
            if client is silent:
                client.send(b"GET / HTTP/1.1\r\nHost: shop.example.com\r\n\r\n")
            way.take()[0].close()
        scene.heard("left", None)


def test_nothing_is_lost_when_a_tenant_is_parked(scene: Scene, way: Way) -> None:
    """Connections that come at that very moment are on the way already, or wait for the next time:
    the word "closed" is said between the two."""
    scene.front.open(SHOP, way.senders)
    clients: list[Client] = []
    stop, ready = threading.Event(), threading.Event()

    def connect() -> None:
        while not stop.is_set() and len(clients) < 200:
            clients.append(scene.client(path=f"/{len(clients)}"))
            ready.set()

    thread = threading.Thread(target=connect)
    thread.start()
    assert ready.wait(10)
    scene.front.park(SHOP)
    scene.heard("closed", SHOP)
    before: list[tuple[socket.socket, Any]] = []
    while True:
        found: list[tuple[socket.socket, Any]] = []
        if not way.try_to_take(found):
            break
        before += found
    stop.set()
    thread.join()
    assert not way.try_to_take([]), "one came after the front had said that none would"
    if len(before) < len(clients):
        scene.heard("wanted", SHOP)
    scene.front.open(SHOP, way.senders)
    seen = []
    for sock, _ in before:
        seen.append(sock.recv(65536).split()[1])
        sock.close()
    while len(seen) < len(clients):
        sock, head = way.take()
        sock.close()
        seen.append(head.split()[1])
    assert sorted(seen) == sorted(f"/{number}".encode() for number in range(len(clients)))
    for client in clients:
        client.close()


def test_a_full_way_holds_them_back(scene: Scene, way: Way) -> None:
    """A tenant that takes nothing for a while gets all of them later."""
    way.sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    scene.front.open(SHOP, way.senders)
    clients = [scene.client(path=f"/{number}") for number in range(60)]
    taken = []
    for _ in clients:
        sock, head = way.take()
        taken.append(int(head.split()[1].removeprefix(b"/")))
        sock.close()
    for client in clients:
        client.close()
    assert sorted(taken) == list(range(60))


def test_slow_and_silent_ones() -> None:
    """Who does not finish its head in time is told so; who says nothing is only closed."""
    scene = Scene(patience=0.2)
    try:
        with Client(scene.address) as silent, Client(scene.address) as slow:
            slow.send(b"GET / HTTP/1.1\r\nHost: shop.exam")
            assert slow.receive().status == 408
            silent.wait_closed()
    finally:
        scene.close()


def test_probes() -> None:
    """Whatever the name is: load balancers ask by address."""
    scene = Scene(health="/healthz", readiness="/readyz")
    try:

        def probe(path: str) -> tuple[int, bytes]:
            with scene.client("x", path) as client:
                response = client.receive()
                client.wait_closed()
                return response.status, response.body

        assert probe("/healthz") == (200, b"alive\n")
        assert probe("/readyz") == (200, b"ready\n")
        scene.front.drain(drained=True)
        assert probe("/healthz") == (200, b"alive\n")
        assert probe("/readyz") == (503, b"not ready for new clients\n")
        scene.front.drain(drained=False)
        assert probe("/readyz") == (200, b"ready\n")
    finally:
        scene.close()


def test_too_many_at_once() -> None:
    """The one that has taken its time for longest gives way."""
    scene = Scene(most=2)
    try:
        silent = [Client(scene.address) for _ in range(2)]
        with scene.client():
            scene.heard("wanted", SHOP)
        silent[0].wait_closed()
        for client in silent:
            client.close()
    finally:
        scene.close()


def test_what_is_not_understood(scene: Scene) -> None:
    """TLS where none is spoken, names that are none, heads that are wrong."""
    with Client(scene.address) as client:
        client.send(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
        assert client.receive().status == 400
    with scene.client("no..name") as client:
        assert client.receive().status in (400, 404)
    with Client(scene.address) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
        assert client.receive().status == 400


def test_connections_come_back(scene: Scene, way: Way) -> None:
    """With what was read of them: to another tenant; not to the one that has given them back."""
    back = feed_pair()
    giving = Sender(back[0])
    scene.front.watch(back[1], SHOP)
    scene.front.open(SHOP, way.senders)
    for name in ("blog", "shop"):
        with scene.client() as client:
            sock, _ = way.take()
            head = f"POST / HTTP/1.1\r\nHost: {name}.example.com\r\nContent-Length: 3\r\n\r\nab"
            assert giving.send(sock, ("0", 0, head.encode()))
            sock.close()
            if name == "shop":
                assert client.receive().status == 421
                continue
            scene.heard("wanted", BLOG)
            scene.front.open(BLOG, way.senders)
            client.send(b"c")
            sock, unread = way.take()
            assert unread == head.encode()
            assert sock.recv(10) == b"c"
            sock.close()
    forgotten = threading.Event()
    scene.front.forget(back[1], forgotten.set)
    assert forgotten.wait(10)
    for end in back:
        end.close()


def _wait_for(event: threading.Event) -> None:
    assert event.wait(10)


def test_a_tenant_that_goes_by_the_table_before(scene: Scene, way: Way) -> None:
    """After a reload: what it gives back is offered to it again until it goes by the new one."""
    back = feed_pair()
    giving = Sender(back[0])
    scene.front.watch(back[1], SHOP)
    scene.front.open(SHOP, way.senders)
    names = Names(Naming(("host.labels.2",)))
    scene.front.follow(
        Manners(names, Limits(), patience=5.0, most=100, tls=False, proxies=ProxyRules())
    )
    with scene.client() as client:
        for _ in range(3):
            sock, head = way.take()
            with sock:
                assert head.startswith(b"GET / ")
                assert giving.send(sock, ("0", 0, head))
        sock, head = way.take()
        busy = threading.Event()
        scene.front.forget(way.receiving, partial(_wait_for, busy))
        scene.front.settled()
        with sock:  # before: its last word comes while the front has no time for it
            assert giving.send(sock, ("0", 0, head))
        busy.set()
        sock, head = way.take()
        settled = threading.Event()
        scene.front.forget(way.receiving, settled.set)
        assert settled.wait(10)
        with sock:
            assert giving.send(sock, ("0", 0, head))
        assert client.receive().status == 421
    for end in back:
        end.close()


def test_more_than_may_wait(
    scene: Scene, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503, and the log says so once."""
    monkeypatch.setattr(front, "_PARKED", 2)
    monkeypatch.setattr(logging.getLogger("nogilserve"), "propagate", True)
    clients = [scene.client() for _ in range(2)]
    scene.heard("wanted", SHOP)
    wait_until(lambda: scene.front.counts["accepted"] == 2, timeout=10)
    for _ in range(3):
        with scene.client() as client:
            response = client.receive()
            assert (response.status, response.get("Retry-After")) == (503, "1")
    assert [record.getMessage() for record in caplog.records] == [
        "shop: 2 connections wait for it to start, further ones are answered 503"
    ]
    for client in clients:
        client.close()


def test_a_hostile_way_back(scene: Scene) -> None:
    """Whatever a tenant sends back, or that it shuts the way: the front goes on."""
    back, receiving = feed_pair()
    scene.front.watch(receiving, BLOG)
    shop = Way()
    scene.front.open(SHOP, shop.senders)
    with back, receiving, socket.socket() as other:
        rights = array.array("i", [other.fileno()])
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
        for text in (b"-5 0\0GET", b"99 0\0", b"x", b"\xff \xff\0", b"1 1", b"\0"):
            back.sendmsg([text], beside)
            back.send(text)
        back.shutdown(socket.SHUT_WR)
        wait_until(lambda: not scene.front._backs, timeout=5)
        with scene.client() as client:
            sock, head = shop.take()
            sock.close()
            assert head.startswith(b"GET / ")
            client.close()
    shop.close()


def test_a_way_back_that_is_shut_as_it_is_forgotten(
    scene: Scene, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for that is told, and no error of ours is in the log."""
    monkeypatch.setattr(logging.getLogger("nogilserve"), "propagate", True)
    back, receiving = feed_pair()
    forgotten = threading.Event()

    def at_once() -> None:
        back.shutdown(socket.SHUT_WR)
        scene.front._forget_back(receiving, forgotten.set)

    with back, receiving:
        scene.front.watch(receiving, BLOG)
        scene.front._order(at_once)
        assert forgotten.wait(10)
        assert not caplog.records


def test_an_order_that_fails_holds_up_no_other(scene: Scene) -> None:
    """They come together, with one word to wake up."""
    done = threading.Event()

    def both() -> None:
        scene.front._orders.put(fail)
        scene.front._orders.put(done.set)

    def fail() -> None:
        raise RuntimeError("on purpose")

    scene.front._order(both)
    assert done.wait(10)


def test_more_than_may_wait_for_a_tenant_that_takes_none(
    scene: Scene, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its way is full and nobody reads from it: who comes is parked, but not without end."""
    monkeypatch.setattr(front, "_PARKED", 2)
    way.sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    scene.front.open(SHOP, way.senders)
    clients = [scene.client() for _ in range(60)]
    counts = scene.front.counts
    wait_until(lambda: counts["passed"] + counts["turned away"] == len(clients) - 2, timeout=10)
    assert counts["turned away"]
    for client in clients:
        client.close()
