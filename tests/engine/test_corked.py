"""Responses that leave together: what holds them back, and all that must not."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from time import monotonic

import pytest

from nogilserve.engine import corked
from nogilserve.engine.corked import Corked, pays
from nogilserve.engine.scheduler import Monitor, Spares
from nogilserve.messages import Exchange
from tests.engine.fakes import FakeCore
from tests.engine.rig import Peer, Rig, get, reply
from tests.engine.threads import SECONDS, Running
from tests.support.waiting import wait_until

MORE = getattr(socket, "MSG_MORE", 0)
pytestmark = pytest.mark.skipif(not MORE, reason="this system knows no MSG_MORE")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a connection by TCP; reads of the second one never wait."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname(), 10)
        ours = listener.accept()[0]
    theirs.setblocking(False)
    with closing(ours), closing(theirs):
        yield ours, theirs


def waiting(sock: socket.socket) -> bytes:
    """What has come."""
    try:
        return sock.recv(65536)
    except BlockingIOError:
        return b""


AT_ONCE = 0.15
"""Seconds. What nobody lets go leaves after 0.2, by the system's own clock."""


def comes(peer: Peer) -> None:
    """A whole response is there."""
    found = bytearray()

    def whole() -> bool:
        found.extend(peer.taken())
        return found.endswith(b"hello")

    wait_until(whole, AT_ONCE)


def four(rig: Rig, *targets: str) -> list[Peer]:
    """Clients whose requests wait in one batch, in this order; responses may wait, too."""
    peers = [rig.connect(tcp=True) for _ in targets]
    for peer, target in zip(peers, targets, strict=True):
        peer.send(get(target))
    rig.core.more = MORE
    return peers


def looking(rig: Rig, peers: list[Peer], found: list[bytes]) -> Callable[[Exchange], None]:
    """A route that notes what the first two clients have got until then."""

    def look(exchange: Exchange) -> None:
        found.extend(peer.taken() for peer in peers[:2])
        reply(exchange)

    return look


def test_they_leave_at_the_end_of_the_batch() -> None:
    """Those with others behind them; in one go, and none is lost."""
    found: list[bytes] = []
    with Rig() as rig:
        peers = four(rig, "/", "/", "/look", "/")
        rig.routes["/look"] = looking(rig, peers, found)
        assert rig.drive()
        assert found == [b"", b""]
        for peer in peers:
            comes(peer)
        assert not rig.core.corked


def test_without_others_behind_it_a_response_leaves_at_once() -> None:
    """A client is not to wait for one that has come by chance at the same time."""
    found: list[bytes] = []
    with Rig() as rig:
        peers = four(rig, "/", "/look")
        rig.routes["/look"] = looking(rig, peers[:1], found)
        assert rig.drive()
        assert found[0].endswith(b"hello")
        comes(peers[1])


def test_what_ends_its_connection_arrives() -> None:
    """The system sends what it has before it says that nothing follows."""
    with Rig() as rig:
        peers = [rig.connect(tcp=True).send(get("/", "Connection: close")) for _ in range(4)]
        rig.core.more = MORE
        assert rig.drive()
        for peer in peers:
            comes(peer)
            wait_until(peer.ended, SECONDS)


def test_monitor_has_them_leave_while_a_call_lasts() -> None:
    """A request that takes long does not hold up the responses of those before it."""

    def lasting(exchange: Exchange) -> None:
        assert peers[0].taken() == b""
        assert Monitor([rig.core], rig.spares).look()
        comes(peers[0])
        comes(peers[1])
        reply(exchange)

    with Rig({"/lasting": lasting}) as rig:
        peers = four(rig, "/", "/", "/lasting", "/")
        assert rig.drive()
        comes(peers[2])


def test_monitor_has_a_response_leave_whose_application_goes_on() -> None:
    """In what is called when the response is complete (PEP 3333, `close`)."""

    def going_on(exchange: Exchange) -> None:
        reply(exchange)
        assert Monitor([rig.core], rig.spares).look()
        comes(peers[0])

    with Rig({"/going-on": going_on}) as rig:
        peers = four(rig, "/going-on", "/", "/", "/")
        assert rig.drive()
        for peer in peers[1:]:
            comes(peer)


@pytest.mark.parametrize("state", [{"held": False}, {"held": True}])
def test_monitor_hurries_cores_that_are_inside_a_call(state: dict[str, bool]) -> None:
    """Each look; not those that are driven, whose drivers see to it themselves."""
    core = FakeCore(**state)
    monitor = Monitor([core], Spares())
    monitor.look()
    monitor.look()
    assert core.hurried == (0 if state["held"] else 2)


def test_before_a_call_that_will_be_long_they_leave() -> None:
    """The core is left for it: nobody might drive it for a while."""

    def slow(exchange: Exchange) -> None:
        comes(peers[0])
        comes(peers[1])
        reply(exchange)

    with Rig({"/slow": slow}) as rig:
        rig.core.slow.scores["GET", "slow"] = 16
        peers = four(rig, "/", "/", "/slow", "/", "/")
        assert rig.drive()
        comes(peers[2])


def test_whoever_has_lost_the_core_sends_at_once() -> None:
    """Its own response; the one before it leaves when the new driver is through with the batch."""

    def stolen(exchange: Exchange) -> None:
        reply(exchange)
        rig.steal()

    with Rig({"/stolen": stolen}) as rig:
        peers = four(rig, "/", "/stolen", "/", "/")
        assert not rig.drive()
        comes(peers[1])
        assert peers[0].taken() == b""
        assert rig.drive()
        for peer in (peers[0], *peers[2:]):
            comes(peer)


def test_another_thread_has_driven_meanwhile() -> None:
    """It has had leave what it found, and the response comes after that."""

    def long(exchange: Exchange) -> None:
        rig.steal()
        rig.core.corked.push()
        rig.core.lock.release()  # it is inside a call itself
        reply(exchange)

    with Rig({"/long": long}) as rig:
        peers = four(rig, "/", "/long", "/", "/")
        assert rig.drive()
        for peer in peers:
            comes(peer)


def test_one_connection_breaks() -> None:
    """The others go on."""

    def breaking(exchange: Exchange) -> None:
        peers[0].connection.close(rig.core)
        reply(exchange)

    with Rig({"/breaking": breaking}) as rig:
        peers = four(rig, "/", "/breaking", "/", "/")
        assert rig.drive()
        for peer in peers[1:]:
            comes(peer)


def test_no_connection_of_the_machine_itself_is_told() -> None:
    """A socket without a network address sends at once whatever it is told."""
    with Rig() as rig:
        peers = [rig.connect(tcp=True) for _ in range(4)]
        for peer in peers:
            connection = peer.connection
            connection.own = (None, *connection.own[1:])
            peer.send(get("/look"))
        rig.core.more = MORE
        found: list[bytes] = []
        rig.routes["/look"] = looking(rig, peers, found)
        assert rig.drive()
        assert found[2].endswith(b"hello")


@pytest.mark.parametrize(("short", "long", "more"), [(0.0, 60.0, MORE), (60.0, 61.0, 0)])
def test_how_long_requests_take_decides(
    short: float, long: float, more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On average over the last batch that says something about it."""
    monkeypatch.setattr(corked, "_SHORT", short)
    monkeypatch.setattr(corked, "_LONG", long)
    with Rig() as rig:
        peers = four(rig, "/", "/", "/", "/")
        rig.core.more = MORE - more
        assert rig.drive()
        assert rig.core.more == more
        for peer in peers:
            comes(peer)


def test_after_a_long_call_nothing_waits_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be more of its kind, and the next ones would be waited for."""
    monkeypatch.setattr(corked, "_SHORT", 0.0)
    monkeypatch.setattr(corked, "_LONG", 60.0)

    def long(exchange: Exchange) -> None:
        ended = monotonic() + 0.006
        while monotonic() < ended:
            pass
        reply(exchange)

    with Rig({"/long": long}) as rig:
        four(rig, "/", "/long", "/", "/")
        assert rig.drive()
        assert rig.core.more == 0
        assert rig.core.corked.again > 0
        rig.core.corked.again = 0.0
        four(rig, "/", "/", "/", "/")
        assert rig.drive()
        assert rig.core.more == MORE


def test_between_which_times_it_pays() -> None:
    """From tens to hundreds of microseconds."""
    assert [pays(us / 1e6) for us in (5, 20, 50, 200, 500)] == [0, 0, MORE, MORE, 0]


@pytest.mark.parametrize("steps", [[0.0] * 16, [5.0, 5.0021]], ids=["many", "late"])
def test_bounds(pair: tuple[socket.socket, socket.socket], steps: list[float]) -> None:
    """Sixteen, or two milliseconds after the first."""
    ours, theirs = pair
    held = Corked()
    for now in steps[:-1]:
        held.add(ours, now)
        ours.send(b"x", MORE)
        held.look(ours, now)
        assert held
        assert waiting(theirs) == b""
    held.add(ours, steps[-1])
    held.look(ours, steps[-1])
    assert not held
    wait_until(lambda: waiting(theirs) == b"x" * (len(steps) - 1), AT_ONCE)


def test_two_threads_push(pair: tuple[socket.socket, socket.socket]) -> None:
    """The driver adds and pushes while another thread hurries: everything arrives."""
    ours, theirs = pair
    held = Corked()
    over = threading.Event()
    turns = [0]

    def hurry() -> int:
        while not over.is_set():
            held.hurry()
            turns[0] += 1
        return turns[0]

    count, got = 2000, 0
    with Running(hurry) as other:
        wait_until(lambda: turns[0] > 0, SECONDS)
        try:
            for number in range(count):
                held.add(ours, 0.0)
                ours.send(b"x", MORE)
                if number % 5 == 0:
                    held.push()
                got += len(waiting(theirs))
        finally:
            over.set()
        assert other.result() > 0
    held.push()

    def all_there() -> bool:
        nonlocal got
        got += len(waiting(theirs))
        return got == count

    wait_until(all_there, SECONDS)
