"""Cores lost in the middle of a call, and calls run apart because they would lose it."""

import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import SHUT_WR, SO_LINGER, SOL_SOCKET
from time import monotonic

import pytest

from nogilserve.engine.poller import POLLERS
from nogilserve.engine.scheduler import TICK
from nogilserve.messages import Exchange
from tests.engine.rig import Peer, Rig, get, reply
from tests.engine.threads import SECONDS, Running
from tests.support.waiting import Deadline, wait_until


@pytest.fixture(params=list(POLLERS))
def poller(request: pytest.FixtureRequest) -> str:
    """The name of each poller."""
    name: str = request.param
    return name


# ---- losing the core in the middle of a call


def losing(rig: Callable[[], Rig], then: Callable[[], None] = lambda: None) -> Callable[..., None]:
    """An application during whose call another thread takes the core, and does `then`."""

    def route(exchange: Exchange) -> None:
        rig().steal()
        then()
        reply(exchange, b"late")

    return route


def test_lost_core_comes_back_through_the_inbox(poller: str) -> None:
    """The response is complete although the core is gone; the new driver takes the rest over."""
    with Rig(poller=poller) as rig:
        rig.routes["/long"] = losing(lambda: rig)
        peer = rig.connect().send(get("/long"))
        assert not rig.drive()
        assert peer.bodies() == [b"late"]
        assert peer.busy()
        assert rig.core.counters.requests == 0
        assert rig.drive()  # as the thief, who holds the lock now
        assert not peer.busy()
        assert rig.core.counters.requests == 1
        peer.send(get())
        assert rig.drive()
        assert peer.bodies() == [b"hello"]
        assert rig.core.connections == 1


def test_other_connections_are_served_meanwhile(poller: str) -> None:
    """The thief answers the others while the first call is still running."""
    others: list[Peer] = []
    seen: list[list[bytes]] = []

    def meanwhile() -> None:
        assert rig.drive()
        seen.extend(other.bodies() for other in others)

    with Rig(poller=poller) as rig:
        rig.routes["/long"] = losing(lambda: rig, meanwhile)
        peer = rig.connect().send(get("/long"))
        others += [rig.connect().send(get(f"/{number}")) for number in range(3)]
        assert not rig.drive()
        assert rig.drive()
        assert seen == [[b"/0"], [b"/1"], [b"/2"]]
        assert peer.bodies() == [b"late"]


def test_events_of_a_busy_connection_are_muted(poller: str) -> None:
    """What arrives for a running request is reported once, then waits until it is released."""
    quiet: list[bool] = []

    def meanwhile() -> None:
        peer.send(get("/next"))
        assert rig.core.has_work()
        assert rig.drive()
        quiet.append(not rig.core.has_work())

    with Rig(poller=poller) as rig:
        rig.routes["/long"] = losing(lambda: rig, meanwhile)
        peer = rig.connect().send(get("/long"))
        assert not rig.drive()
        assert quiet == [True]
        assert rig.ran == ["/long"]
        assert rig.drive()
        assert rig.ran == ["/long", "/next"]
        assert peer.bodies() == [b"late", b"/next"]
        peer.send(get("/more"))
        assert rig.drive()
        assert peer.bodies() == [b"/more"]


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
@pytest.mark.parametrize("how", ["closes", "resets"])
def test_client_gone_during_the_call_makes_no_noise(poller: str, tcp: bool, how: str) -> None:
    """A client that leaves during a long call does not keep the new driver spinning: hang-ups
    cannot be masked in epoll and poll, so the descriptor has to be forgotten meanwhile."""
    quiet: list[bool] = []

    def meanwhile() -> None:
        if how == "resets" and tcp:
            peer.sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        peer.sock.close()
        wait_until(rig.core.has_work, SECONDS)
        assert rig.core.drive(home=False, until=monotonic() + 0.05)
        quiet.append(not rig.core.has_work())

    with Rig(poller=poller) as rig:
        rig.routes["/long"] = losing(lambda: rig, meanwhile)
        peer = rig.connect(tcp=tcp).send(get("/long"))
        assert not rig.drive()
        assert rig.drive()
        assert quiet == [True]
        assert rig.core.connections == 0
        assert rig.core.counters.closed == 1


def test_client_gone_during_the_call_is_noticed_afterwards() -> None:
    """Its end was muted during the call; after it the connection is closed and counted."""
    with Rig() as rig:
        rig.routes["/long"] = losing(lambda: rig, lambda: peer.sock.close())
        peer = rig.connect().send(get("/long"))
        assert not rig.drive()
        assert rig.core.connections == 1
        assert rig.drive()
        assert rig.core.connections == 0


def test_half_closed_client_gets_its_response() -> None:
    """A client that only ends its sending side still reads the answer, then the end."""
    with Rig() as rig:

        def meanwhile() -> None:
            peer.sock.shutdown(SHUT_WR)
            assert rig.drive()

        rig.routes["/long"] = losing(lambda: rig, meanwhile)
        peer = rig.connect().send(get("/long"))
        assert not rig.drive()
        assert rig.drive()
        assert peer.bodies() == [b"late"]
        assert peer.closed
        assert rig.core.connections == 0


def test_pipelined_request_behind_a_long_one_is_run() -> None:
    """What was received together with the long request is not forgotten, and stays in order."""
    with Rig() as rig:
        rig.routes["/long"] = losing(lambda: rig)
        peer = rig.connect().send(get("/a") + get("/long") + get("/b") + get("/c"))
        assert not rig.drive()
        assert rig.ran == ["/a", "/long"]
        assert rig.drive()
        assert rig.ran == ["/a", "/long", "/b", "/c"]
        assert peer.bodies() == [b"/a", b"late", b"/b", b"/c"]


def test_core_lost_again_and_again() -> None:
    """Several long requests behind each other lose the core each time, and all are answered."""
    with Rig() as rig:
        rig.routes["/long"] = losing(lambda: rig)
        peer = rig.connect().send(get("/long") * 3)
        assert [rig.drive() for _ in range(4)] == [False, False, False, True]
        assert peer.bodies() == [b"late"] * 3


def test_gateway_that_raises_loses_one_connection() -> None:
    """An internal error ends its connection, not the core."""

    def broken(exchange: Exchange) -> None:
        raise RuntimeError("a gateway must not raise")

    with Rig({"/broken": broken}) as rig:
        peer, other = rig.connect().send(get("/broken")), rig.connect().send(get())
        with pytest.raises(RuntimeError):
            rig.drive()
        assert rig.drive()
        assert peer.ended()
        assert other.bodies() == [b"hello"]


def test_lost_with_a_real_thief() -> None:
    """The same with threads: the thief drives while the first thread is inside the application."""
    entered, go_on = threading.Event(), threading.Event()

    def long(exchange: Exchange) -> None:
        entered.set()
        assert go_on.wait(SECONDS)
        reply(exchange, b"late")

    with Rig({"/long": long}) as rig:
        peer, other = rig.connect().send(get("/long")), rig.connect().send(get())
        with Running(rig.drive) as first:
            assert entered.wait(SECONDS)
            rig.steal()
            assert rig.drive()
            assert other.bodies() == [b"hello"]
            assert peer.taken() == b""
            go_on.set()
            assert not first.result()
        assert rig.drive()
        assert peer.bodies() == [b"late"]


# ---- learning


SLOW = ("GET", "slow")


def learn(rig: Rig) -> None:
    """The core has seen long calls of the kind GET /slow."""
    while not rig.core.slow.is_slow(SLOW):
        rig.core.slow.was_long(SLOW)


@contextmanager
def spare_thread(rig: Rig) -> Iterator[None]:
    """A parked thread that does what it is offered, as those of the runtime do."""

    def work() -> None:
        while (task := rig.spares.park()) is not None:
            task()

    with Running(work):
        wait_until(rig.spares.parked, SECONDS)
        yield
        rig.spares.stop()


@pytest.mark.parametrize("lost", [False, True])
def test_blocked_calls_are_learnt(lost: bool) -> None:
    """Calls found blocked by the monitor teach the core their kind, whoever finishes them."""

    def slow(exchange: Exchange) -> None:
        rig.core.blocked.add(rig.core.calls)
        if lost:
            rig.steal()
        until = monotonic() + 2 * TICK
        while monotonic() < until:
            pass
        reply(exchange)

    with Rig({"/slow": slow}) as rig:
        peer = rig.connect()
        for _ in range(2):
            assert not rig.core.slow.is_slow(SLOW)
            peer.send(get("/slow"))
            assert rig.drive() is not lost
            assert rig.drive()
            assert peer.bodies() == [b"hello"]
        assert rig.core.slow.is_slow(SLOW)


def test_calls_that_compute_are_not_learnt() -> None:
    """A long call that nobody found blocked says nothing: its thread may have had to wait."""

    def busy(exchange: Exchange) -> None:
        until = monotonic() + 2 * TICK
        while monotonic() < until:
            pass
        reply(exchange)

    with Rig({"/slow": busy}) as rig:
        peer = rig.connect()
        for _ in range(3):
            peer.send(get("/slow"))
            assert rig.drive()
        assert rig.core.slow.scores == {}


def test_slow_kind_runs_apart_from_the_driver() -> None:
    """After one long call the next of its kind runs in a spare thread; the driver drives on."""
    threads: list[int] = []
    go_on = threading.Event()

    def slow(exchange: Exchange) -> None:
        threads.append(threading.get_ident())
        assert go_on.wait(SECONDS)
        reply(exchange, b"apart")

    with Rig() as rig, spare_thread(rig):
        peer, other = rig.connect(), rig.connect()
        learn(rig)
        rig.routes["/slow/1"] = slow
        peer.send(get("/slow/1") + get("/next"))
        other.send(get())
        assert rig.drive()
        assert other.bodies() == [b"hello"]
        assert peer.taken() == b""
        assert peer.busy()
        go_on.set()
        wait_until(rig.core.has_work, SECONDS)
        assert rig.drive()
        assert peer.bodies() == [b"apart", b"/next"]
        assert threading.get_ident() not in threads
        assert not peer.busy()


def test_slow_kind_without_a_spare_thread_runs_here() -> None:
    """Nobody parked: the driver runs it like any other request."""
    with Rig() as rig:
        peer = rig.connect()
        learn(rig)
        rig.routes["/slow"] = reply
        peer.send(get("/slow"))
        assert rig.drive()
        assert peer.bodies() == [b"hello"]


def test_ordinary_kinds_run_with_the_driver() -> None:
    """Having learnt one slow kind costs the others no hand-off."""
    threads: list[int] = []

    def other(exchange: Exchange) -> None:
        threads.append(threading.get_ident())
        reply(exchange)

    with Rig({"/other": other}) as rig, spare_thread(rig):
        peer = rig.connect()
        learn(rig)
        peer.send(get("/other"))
        assert rig.drive()
        assert threads == [threading.get_ident()]
        assert peer.bodies() == [b"hello"]


def test_kind_that_became_quick_is_forgotten() -> None:
    """Enough short calls, and the kind is run like any other again."""
    with Rig() as rig, spare_thread(rig):
        peer = rig.connect()
        learn(rig)
        rig.routes["/slow"] = reply
        deadline = Deadline(SECONDS)
        while rig.core.slow.scores:
            deadline.require("it is never forgotten")
            wait_until(rig.spares.parked, SECONDS)
            peer.send(get("/slow"))
            assert rig.drive()
            wait_until(lambda: not peer.busy() or rig.core.has_work(), SECONDS)
            assert rig.drive()
            assert peer.bodies() == [b"hello"]
