"""Deadlines of connections, and what becomes of each connection when the engine stops.

No test waits: `look_after` has the core look at its deadlines as it would some time from now.
"""

from collections.abc import Iterator

import pytest

from nogilserve.messages import Exchange
from tests.engine.rig import Peer, Rig, echo, get, post, reply


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A core whose application echoes bodies at /echo."""
    with Rig({"/echo": echo}) as made:
        yield made


def test_head_that_is_too_slow_gets_408(rig: Rig) -> None:
    """Its time runs from its first byte; later bytes do not push it back."""
    peer = rig.connect().send(get()[:5])
    assert rig.drive()
    deadline = peer.connection.deadline
    peer.send(get()[5:10])
    assert rig.drive()
    assert peer.connection.deadline == deadline
    rig.look_after(9.0)
    assert peer.taken() == b""
    rig.look_after(11.0)
    assert peer.answer().status == 408
    assert peer.closed
    assert rig.ran == []
    assert list(rig.refused) == ["408 the request head took too long"]


def test_head_after_keep_alive_has_its_own_time(rig: Rig) -> None:
    """A second request that begins late in the keep-alive time gets the whole head time."""
    peer = rig.connect().send(get())
    assert rig.drive()
    assert peer.bodies() == [b"hello"]
    rig.look_after(3.0)
    peer.send(get("/two")[:8])
    assert rig.drive()
    rig.look_after(8.0)
    peer.send(get("/two")[8:])
    assert rig.drive()
    assert peer.bodies() == [b"/two"]


def test_idle_connection_ends_silently(rig: Rig) -> None:
    """After the keep-alive time there is nobody to answer, so nothing is sent or counted."""
    peer = rig.connect().send(get())
    assert rig.drive()
    assert peer.bodies() == [b"hello"]
    rig.look_after(4.0)
    assert not peer.ended()
    rig.look_after(6.5)
    assert peer.ended()
    assert rig.refused == {}


def test_connection_without_a_request_ends_silently(rig: Rig) -> None:
    """A client that connects and says nothing has the head's time, and is not answered."""
    peer = rig.connect()
    rig.look_after(9.0)
    assert not peer.ended()
    rig.look_after(11.5)
    assert peer.ended()


def test_each_request_renews_the_keep_alive_time(rig: Rig) -> None:
    """The idle time begins again with each response, also when that came late."""
    peer = rig.connect()
    before = 0.0
    for _ in range(3):
        peer.send(get())
        assert rig.drive()
        assert peer.bodies() == [b"hello"]
        assert peer.connection.deadline > before
        before = peer.connection.deadline


def test_stalled_body_gets_408(rig: Rig) -> None:
    """Each piece of the body pushes the deadline back; without one it is 408."""
    request = post(b"0123456789")
    peer = rig.connect().send(request[:-6])
    assert rig.drive()
    before = peer.connection.deadline
    peer.send(request[-6:-3])
    assert rig.drive()
    assert peer.connection.deadline > before
    rig.look_after(29.0)
    assert peer.taken() == b""
    rig.look_after(31.5)
    assert peer.answer().status == 408
    assert rig.ran == []
    assert list(rig.refused) == ["408 the request body stalled"]


def test_running_request_has_no_deadline(rig: Rig) -> None:
    """However long the application takes, the core does not cut it off."""

    def long(exchange: Exchange) -> None:
        rig.steal()
        rig.look_after(1000.0)
        reply(exchange, b"at last")

    rig.routes["/long"] = long
    peer = rig.connect().send(get("/long"))
    assert not rig.drive()
    assert rig.drive()
    assert peer.bodies() == [b"at last"]
    rig.look_after(3.0)
    assert not peer.ended()


def test_linger_throws_away_what_comes_late(rig: Rig) -> None:
    """After the last response the client may go on sending for a while; then it is over."""
    peer = rig.connect().send(b"bad\r\n\r\n")
    assert rig.drive()
    assert peer.answer().status == 400
    peer.send(b"x" * 1000)
    assert rig.drive()
    assert rig.core.connections == 1
    assert rig.core.counters.received == 1007
    rig.look_after(4.0)
    assert rig.core.connections == 0


def test_linger_ends_with_the_client(rig: Rig) -> None:
    """A client that closes after reading the answer ends the lingering at once."""
    peer = rig.connect().send(b"bad\r\n\r\n")
    assert rig.drive()
    peer.sock.close()
    assert rig.drive()
    assert rig.core.connections == 0


def test_linger_is_bounded(rig: Rig) -> None:
    """A client that never stops sending is cut off after a megabyte or so."""
    peer = rig.connect().send(b"bad\r\n\r\n")
    assert rig.drive()
    for _ in range(100):
        try:
            peer.sock.send(b"x" * 65536)
        except OSError:
            pass
        assert rig.drive()
    assert rig.core.connections == 0
    assert rig.core.counters.received < 1 << 22


# ---- the engine stops


def test_idle_connections_end_at_the_stop(rig: Rig) -> None:
    """An idle keep-alive connection is closed, and the core is finished."""
    peer = rig.connect().send(get())
    assert rig.drive()
    assert peer.bodies() == [b"hello"]
    rig.stop()
    assert peer.ended()
    assert rig.core.finished()


def test_request_that_is_in_the_socket_is_answered_at_the_stop(rig: Rig) -> None:
    """What was sent before the stop is run, and the response says that it is the last."""
    peer = rig.connect().send(get())
    assert rig.drive()
    assert peer.bodies() == [b"hello"]
    peer.send(get("/late"))
    rig.stop()
    answer = peer.answer()
    assert (answer.body, answer.headers["connection"]) == (b"/late", "close")


def test_fresh_connection_may_still_ask(rig: Rig) -> None:
    """A connection accepted just before the stop has a moment for its first request."""
    peer = rig.connect()
    rig.stop()
    assert not peer.ended()
    assert not rig.core.finished()
    peer.send(get("/first"))
    assert rig.drive()
    assert peer.answer().headers["connection"] == "close"
    assert rig.core.connections == 0 or lingering(rig, peer)


def test_fresh_connection_that_says_nothing_ends(rig: Rig) -> None:
    """The moment is short."""
    peer = rig.connect()
    rig.stop()
    rig.look_after(3.0)
    assert peer.ended()
    assert rig.core.finished()


def test_head_that_has_begun_is_awaited(rig: Rig) -> None:
    """A request of which a part has arrived is completed and answered."""
    peer = rig.connect().send(get("/half")[:9])
    assert rig.drive()
    rig.stop()
    assert not peer.ended()
    peer.send(get("/half")[9:])
    assert rig.drive()
    answer = peer.answer()
    assert (answer.body, answer.headers["connection"]) == (b"/half", "close")


def test_body_that_has_begun_is_awaited(rig: Rig) -> None:
    """So is a request whose body is on its way."""
    request = post(b"0123456789")
    peer = rig.connect().send(request[:-4])
    assert rig.drive()
    rig.stop()
    peer.send(request[-4:])
    assert rig.drive()
    answer = peer.answer()
    assert (answer.body, answer.headers["connection"]) == (b"0123456789", "close")


@pytest.mark.parametrize("behind", [b"", get("/behind")], ids=["alone", "pipelined"])
def test_busy_connection_ends_after_its_response(rig: Rig, behind: bytes) -> None:
    """A request that runs during the stop is answered; then its connection ends, without the
    keep-alive time, and the core is finished."""

    def long(exchange: Exchange) -> None:
        rig.steal()
        rig.stop()
        assert not rig.core.finished()
        reply(exchange, b"done")

    rig.routes["/long"] = long
    peer = rig.connect().send(get("/long") + behind)
    assert not rig.drive()
    assert rig.drive()
    bodies = peer.bodies()
    assert bodies[0] == b"done"
    assert bodies[1:] in ([], [b"/behind"])
    assert peer.closed
    peer.sock.close()
    assert rig.drive()
    assert rig.core.finished()


def test_slow_reader_is_awaited_at_the_stop() -> None:
    """A response that is being sent is sent to its end, then the connection ends."""
    big = b"b" * 3_000_000

    with Rig({"/big": lambda exchange: reply(exchange, big)}) as rig:
        peer = rig.connect(receive_buffer=4096).send(get("/big"))
        assert rig.drive()
        rig.stop()
        assert not rig.core.finished()
        data = bytearray()
        for _ in range(10_000):
            data += peer.taken(1 << 16)
            assert rig.drive()
            if peer.closed:
                break
        assert data.endswith(big)
        assert peer.closed
        peer.sock.close()
        assert rig.drive()
        assert rig.core.finished()


def lingering(rig: Rig, peer: Peer) -> bool:
    """Whether the connection only waits for the client to close as well."""
    peer.sock.close()
    assert rig.drive()
    return rig.core.connections == 0
