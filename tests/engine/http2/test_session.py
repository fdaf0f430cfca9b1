"""A session on a core whose driver is the test: what happens between two steps of a thread."""

import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hpack
import pytest

from nogilserve.engine.http2 import begin
from nogilserve.engine.http2.session import Session
from nogilserve.messages import Exchange
from tests.engine.rig import Peer, Rig, reply
from tests.engine.threads import SECONDS, Running
from tests.support.http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GET,
    HEADERS,
    POST,
    PREFACE,
    RST_STREAM,
    Frame,
    frame,
    goaways,
    headers,
    parse,
    resets,
    settings,
    window_update,
)
from tests.support.waiting import Deadline

CANCEL = (8).to_bytes(4)


def get(number: int, path: str = "/") -> bytes:
    """A request."""
    return headers(number, [*GET[:2], (":path", path), GET[3]])


class Hooked:
    """A socket that does something just before, and just after, it sends."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.before: Callable[[], None] | None = None
        self.after: Callable[[], None] | None = None

    def send(self, data: Any, flags: int = 0) -> int:
        """As of the socket."""
        before, self.before = self.before, None
        if before is not None:
            before()
        sent = self._sock.send(data, flags)
        after, self.after = self.after, None
        if after is not None:
            after()
        return sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class Noticed:
    """A lock, and something that is done as soon as it was released."""

    def __init__(self, lock: Any, then: Callable[[], None]) -> None:
        self._lock = lock
        self._then: Callable[[], None] | None = then

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        then, self._then = self._then, None
        if then is not None:
            then()


@contextmanager
def connected(
    rig: Rig, *pairs: tuple[int, int], receive_buffer: int = 0
) -> Iterator[tuple[Peer, Session, Hooked]]:
    """A client that has exchanged SETTINGS, its session, and the socket of that."""
    rig.core.begin_http2 = begin
    peer = rig.connect(receive_buffer=receive_buffer)
    hooked = Hooked(peer.connection.sock)
    peer.connection.sock = hooked  # type: ignore[assignment]
    peer.send(PREFACE + settings(*pairs))
    assert rig.drive()
    session = rig.core.table[peer.connection.fd]
    assert isinstance(session, Session)
    peer.taken()
    yield peer, session, hooked
    peer.sock.close()
    deadline = Deadline(SECONDS)
    while peer.connection.fd in rig.core.table:
        deadline.require("the session has not ended")
        assert rig.drive()


def got(peer: Peer) -> list[Frame]:
    """The frames that have arrived."""
    return parse(peer.taken())


def bodies(frames: list[Frame]) -> dict[int, bytes]:
    """What came on each stream."""
    found: dict[int, bytes] = {}
    for one in frames:
        if one.kind == DATA:
            found[one.stream] = found.get(one.stream, b"") + one.payload
    return found


def test_requests_of_one_read_are_answered_in_one_write() -> None:
    """What came together leaves together."""
    with Rig() as rig, connected(rig) as (peer, _, hooked):
        rig.core.spares.parked = lambda: 1  # type: ignore[method-assign]
        sends: list[int] = []
        hooked.after = lambda: sends.append(1)
        peer.send(get(1) + get(3) + get(5))
        assert rig.drive()
        assert bodies(got(peer)) == {1: b"hello", 3: b"hello", 5: b"hello"}
        assert sends == [1]
        hooked.after = None


def test_request_that_blocks_lets_the_next_ones_run() -> None:
    """The thread that takes the core over finds what waits behind the one that blocks."""

    def block(exchange: Exchange) -> None:
        rig.steal()
        assert rig.core.drive(home=False, until=rig.core.now + 10)
        seen.append(bodies(got(peer)))
        reply(exchange, b"slow")

    seen: list[dict[int, bytes]] = []
    with Rig({"/block": block}) as rig, connected(rig) as (peer, session, _):
        peer.send(get(1, "/block") + get(3) + get(5))
        assert not rig.drive()  # the thread that was blocked has lost the core
        assert seen == [{3: b"hello", 5: b"hello"}]
        assert bodies(got(peer)) == {1: b"slow"}
        assert rig.drive()
        assert not session.exchanges
        assert rig.core.counters.requests == rig.core.calls == 3


def test_bytes_queued_while_another_thread_sends() -> None:
    """A thread that finds another one sending leaves its frames to that one, which looks again."""

    def other() -> None:
        with session.mutex:
            session.protocol.put(frame(6, 1, 0, b"from me "))
        left.append(Running(session.flush).result())

    left: list[bool] = []
    with Rig() as rig, connected(rig) as (peer, session, hooked):
        hooked.after = other
        peer.send(get(1))
        assert rig.drive()
        assert left == [False]  # it did not send itself
        frames = got(peer)
        assert bodies(frames) == {1: b"hello"}
        assert frames[-1].payload == b"from me "


def test_connection_that_ends_while_a_thread_sends() -> None:
    """Its descriptor is closed only when that thread is done: the number may be another's then."""

    def close() -> None:
        session.close(rig.core)
        still_open.append(peer.connection.sock.fileno() >= 0)

    still_open: list[bool] = []
    with Rig() as rig, connected(rig) as (peer, session, hooked):
        hooked.before = close
        with session.mutex:
            session.protocol.put(frame(6, 1, 0, bytes(8)))
        assert Running(session.flush).result()  # the driver has to look
        assert still_open == [True]
        session.settle(rig.core)
        assert rig.core.connections == 0


def test_stream_reset_while_its_request_runs() -> None:
    """The application is told when it sends; nothing of it is sent, and it is counted once."""

    def run(exchange: Exchange) -> None:
        rig.steal()
        peer.send(frame(RST_STREAM, 0, 1, CANCEL))
        assert rig.core.drive(home=False, until=rig.core.now + 10)
        reply(exchange)

    with Rig({"/": run}) as rig, connected(rig) as (peer, session, _):
        peer.send(get(1))
        assert not rig.drive()
        assert rig.drive()
        assert len(rig.disconnected) == 1
        assert got(peer) == []
        assert not session.exchanges
        assert rig.core.counters.requests == rig.core.calls == 1


def test_stream_reset_before_its_request_runs() -> None:
    """What was taken back in time is not run."""
    with Rig() as rig, connected(rig) as (peer, session, _):
        peer.send(get(1) + frame(RST_STREAM, 0, 1, CANCEL) + get(3))
        assert rig.drive()
        assert rig.ran == ["/"]
        assert bodies(got(peer)) == {3: b"hello"}
        assert not session.exchanges


def test_client_that_leaves_while_a_request_runs() -> None:
    """The session ends without the request, which finds out, and leaves nothing behind."""

    def run(exchange: Exchange) -> None:
        rig.steal()
        peer.sock.close()
        peer.connection.sock.shutdown(socket.SHUT_RDWR)
        session.close(rig.core)
        assert rig.core.connections == 0
        reply(exchange)

    with Rig({"/": run}, record=True) as rig, connected(rig) as (peer, session, _):
        peer.send(get(1))
        assert not rig.drive()
        assert rig.drive()
        assert len(rig.disconnected) == 1
        assert not session.exchanges
        assert [record.complete for record in rig.records] == [False]


def test_mistake_while_a_request_runs() -> None:
    """GOAWAY leaves at once; the request's answer has nobody to go to."""

    def run(exchange: Exchange) -> None:
        rig.steal()
        peer.send(frame(6, 0, 0, b"short"))
        assert rig.core.drive(home=False, until=rig.core.now + 10)
        assert goaways(got(peer)) == [6]
        reply(exchange)

    with Rig({"/": run}) as rig, connected(rig) as (peer, session, _):
        peer.send(get(1))
        assert not rig.drive()
        assert rig.drive()
        assert len(rig.disconnected) == 1
        assert not session.exchanges


@pytest.mark.parametrize("end", ["settle", "close"])
def test_request_that_would_send_just_as_the_connection_ends(end: str) -> None:
    """Once that is decided nobody begins to send: the descriptor may soon be another's."""

    def late() -> None:
        with session.mutex:
            session.protocol.put(frame(6, 1, 0, b"too late"))
        left.append(session.flush())

    left: list[bool] = []
    with Rig() as rig, connected(rig) as (peer, session, _):
        with session.mutex:
            session.protocol.fail(1, "a mistake")
        session.flush()
        assert goaways(got(peer)) == [1]
        session.mutex = Noticed(session.mutex, late)  # type: ignore[assignment]
        getattr(session, end)(rig.core)
        assert left == [False]
        assert got(peer) == []


def test_response_that_nobody_takes_goes_to_a_file() -> None:
    """Where the core's memory is used up; the client gets it when it gives a window."""
    with Rig({"/": lambda exchange: reply(exchange, b"r" * 50000)}) as rig:
        with connected(rig, (4, 0)) as (peer, session, _):
            rig.core.held = 1 << 24
            peer.send(get(1))
            assert rig.drive()
            assert rig.core.held == 1 << 24
            (exchange,) = session.exchanges
            assert len(exchange.files) == 1
            file = exchange.files[0]
            peer.send(window_update(1, 20000))
            assert rig.drive()
            peer.send(window_update(1, 1 << 20))
            assert rig.drive()
            assert bodies(got(peer)) == {1: b"r" * 50000}
            assert not session.exchanges
            with pytest.raises(OSError, match="Bad file"):
                file.read(0, 1)
            rig.core.held = 0


def test_response_in_memory_is_counted() -> None:
    """What waits for its client counts among the core's memory until it is sent, or given up."""
    with Rig({"/": lambda exchange: reply(exchange, b"r" * 50000)}) as rig:
        with connected(rig, (4, 0)) as (peer, _, _):
            peer.send(get(1) + get(3))
            assert rig.drive()
            assert rig.core.held == 100_000
            peer.send(frame(RST_STREAM, 0, 1, CANCEL))
            assert rig.drive()
            assert rig.core.held == 50_000
            rig.look_after(100.0)  # the write timeout
            assert rig.core.held == 0
            assert resets(got(peer)) == [(3, 8)]
            assert rig.refused == {"response not read": 1}


def test_file_that_becomes_shorter() -> None:
    """A frame that was announced cannot be filled: the connection ends."""

    def send(exchange: Exchange) -> None:
        with tempfile.TemporaryFile() as file:
            file.write(b"f" * 1000)
            file.flush()
            exchange.prepare("200 OK", [])
            exchange.send_head(2000)
            exchange.send_file(file, 0, 2000)
            exchange.send_end()

    with Rig({"/": send}) as rig, connected(rig) as (peer, _, _):
        peer.send(get(1))
        rig.drive()
        rig.drive()
        assert rig.core.connections == 0


def test_file_that_becomes_shorter_beside_another_stream() -> None:
    """What another stream sends is not taken for what the file should have had."""

    def send(exchange: Exchange) -> None:
        with tempfile.TemporaryFile() as file:
            exchange.prepare("200 OK", [])
            exchange.send_head(2000)
            exchange.send_file(file, 0, 2000)
            exchange.send_end()

    site = {"/": send, "/secret": lambda exchange: reply(exchange, b"secret" * 2000)}
    with Rig(site) as rig, connected(rig, (4, 0)) as (peer, _, _):
        peer.send(get(1) + get(3, "/secret"))
        rig.drive()
        rig.drive()
        peer.taken()
        peer.send(window_update(1, 60000) + window_update(3, 60000))
        rig.drive()
        rig.drive()
        assert rig.core.connections == 0
        assert b"secret" not in peer.taken()


def test_system_that_takes_nothing_for_now() -> None:
    """The rest waits for the socket, in order, and the application is not called in vain."""
    with Rig({"/": lambda exchange: reply(exchange, b"r" * 300_000)}) as rig:
        with connected(rig, (4, 1 << 24), receive_buffer=4096) as (peer, session, _):
            peer.send(window_update(0, 1 << 24) + get(1) + get(3))
            data = b""
            while data.count(b"r") < 600_000:
                assert rig.drive()
                data += peer.taken()
            frames = parse(data)
            assert bodies(frames) == {1: b"r" * 300_000, 3: b"r" * 300_000}
            assert rig.drive()
            assert not session.exchanges


def test_body_in_pieces_and_a_record() -> None:
    """A request with a body is run when that is complete; the access log gets its figures."""
    with Rig(record=True) as rig, connected(rig) as (peer, _, _):
        peer.send(headers(1, POST, END_HEADERS) + frame(DATA, 0, 1, b"abc"))
        assert rig.drive()
        assert rig.ran == []
        peer.send(frame(DATA, END_STREAM, 1, b"def"))
        assert rig.drive()
        (record,) = rig.records
        assert (record.minor, record.method, record.status) == (2, "POST", 200)
        assert (record.received, record.sent, record.complete) == (6, 5, True)


def test_requests_above_a_turn_leave_others_theirs() -> None:
    """Sixteen of a connection are run before the core looks after others."""
    with Rig() as rig, connected(rig) as (first, _, _), connected(rig) as (second, _, _):
        first.send(b"".join(get(number, "/first") for number in range(1, 101, 2)))
        second.send(get(1, "/second"))
        assert rig.drive()
        assert rig.ran.index("/second") <= 16
        assert len(rig.ran) == 51


def test_connection_that_does_nothing() -> None:
    """After its keep-alive time it is told to leave, and does when it says that it has heard."""
    with Rig() as rig, connected(rig) as (peer, _, _):
        rig.look_after(100.0)
        frames = got(peer)
        assert goaways(frames) == [0]
        ping = [one for one in frames if one.kind == 6]
        peer.send(frame(6, 1, 0, ping[0].payload))
        assert rig.drive()
        assert goaways(got(peer)) == [0]
        assert rig.core.table[peer.connection.fd] is peer.connection  # it lingers


def test_engine_that_stops() -> None:
    """GOAWAY, what is under way, then the end."""

    def run(exchange: Exchange) -> None:
        rig.steal()
        rig.core.stopping = True
        session.stop(rig.core)
        assert goaways(got(peer)) == [0]
        reply(exchange)

    with Rig({"/": run}) as rig, connected(rig) as (peer, session, _):
        peer.send(get(1))
        assert not rig.drive()
        assert rig.drive()
        assert bodies(got(peer)) == {1: b"hello"}
        rig.look_after(2.0)  # the client does not answer the PING
        assert goaways(got(peer)) == [0]


def test_streams_that_end_in_several_threads_while_frames_arrive() -> None:
    """Eight threads answer on one connection at once, and frames are received meanwhile: every
    answer is whole, in order, and the windows add up."""
    with Rig() as rig, connected(rig, (4, 1 << 20)) as (peer, session, _):
        peer.send(window_update(0, 1 << 24))
        assert rig.drive()
        taken: list[Any] = []
        rig.core.gateway = lambda exchange: taken.append(exchange)
        numbers = range(1, 161, 2)
        peer.send(b"".join(get(number) for number in numbers))
        while len(taken) < 80:
            assert rig.drive()

        def answer(share: int) -> None:
            for exchange in taken[share::8]:
                size = exchange.stream.id * 331
                exchange.prepare("200 OK", [])
                exchange.send_head(size)
                for at in range(0, size, 9973):
                    exchange.send_data(bytes((share,)) * min(9973, size - at))
                exchange.send_end()

        threads = [Running(lambda share=share: answer(share)) for share in range(8)]  # type: ignore[misc]
        data = b""
        while any(thread.alive() for thread in threads):
            peer.send(frame(6, 0, 0, b"are you?") + window_update(0, 1))
            rig.drive()
            data += peer.taken()
        for thread in threads:
            thread.result()
        more = b"-"
        while more:
            assert rig.drive()
            more = peer.taken()
            data += more
        frames = parse(data)
        for share in range(8):
            for exchange in taken[share::8]:
                size = exchange.stream.id * 331
                assert bodies(frames)[exchange.stream.id] == bytes((share,)) * size
        for exchange in taken:
            session.finish_sending(rig.core, exchange)
        assert not session.exchanges
        heads = [one.stream for one in frames if one.kind == HEADERS]
        assert sorted(heads) == list(numbers)
        decoder = hpack.Decoder()
        for one in frames:
            if one.kind == HEADERS:
                assert decoder.decode(one.payload)[0] == (":status", "200")  # type: ignore[index]
