"""Responses: whole, streamed, from files, to slow readers, to clients that are gone."""

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

import pytest

from nogilserve.engine.exchange import MEMORY_HIGH
from nogilserve.errors import ResponseError
from nogilserve.messages import Exchange
from tests.engine.rig import Peer, Rig, get, reply
from tests.engine.threads import SECONDS, Running
from tests.support.leaks import descriptors
from tests.support.waiting import Deadline

PATTERN = bytes(range(251)) * 4200
"""A megabyte that shows where each byte is from."""


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A core without routes of its own."""
    with Rig() as made:
        yield made


@pytest.fixture
def file() -> Iterator[BinaryIO]:
    """A real file of a megabyte."""
    with tempfile.TemporaryFile() as made:
        made.write(PATTERN)
        made.flush()
        yield cast(BinaryIO, made)


def read_all(rig: Rig, peer: Peer, until: Callable[[bytes], bool]) -> bytes:
    """Read as a slow client does, the core writing on in between."""
    data = b""
    deadline = Deadline(SECONDS)
    while not until(data) and not peer.closed:
        deadline.require(f"{len(data)} bytes and no end")
        data += peer.taken(1 << 16)
        assert rig.drive()
    return data


def stream(*pieces: bytes, length: int | None = None) -> Callable[[Exchange], None]:
    """A response in pieces."""

    def route(exchange: Exchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(length)
        for piece in pieces:
            exchange.send_data(piece)
        exchange.send_end()

    return route


# ---- ordinary responses


@pytest.mark.parametrize("length", [9, None], ids=["counted", "chunked"])
def test_streamed_response(rig: Rig, length: int | None) -> None:
    """Pieces arrive as one body, and the connection goes on."""
    rig.routes["/stream"] = stream(b"one", b"", b"two", b"six", length=length)
    peer = rig.connect().send(get("/stream") + get("/next"))
    assert rig.drive()
    assert peer.bodies() == [b"onetwosix", b"/next"]


def test_first_piece_leaves_before_the_second_is_made(rig: Rig) -> None:
    """Streaming is not collecting: head and first piece are with the client at once."""
    seen: list[bytes] = []

    def route(exchange: Exchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(None)
        assert peer.taken() == b""  # the head waits for the first piece
        exchange.send_data(b"first")
        seen.append(peer.taken())
        exchange.send_data(b"second")
        exchange.send_end()

    rig.routes["/stream"] = route
    peer = rig.connect().send(get("/stream"))
    assert rig.drive()
    assert seen[0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"first" in seen[0]


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 200_000])
def test_whole_response_of_any_size(rig: Rig, size: int) -> None:
    """Small ones are copied behind their head, large ones are not; both arrive."""
    rig.routes["/size"] = lambda exchange: reply(exchange, PATTERN[:size])
    peer = rig.connect().send(get("/size"))
    data = b""
    while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < size:
        assert rig.drive()
        data += peer.taken()
    assert data.partition(b"\r\n\r\n")[2] == PATTERN[:size]
    peer.send(get("/next"))
    assert rig.drive()
    assert peer.bodies() == [b"/next"]


@pytest.mark.parametrize("size", [5, 100_000])
def test_head_has_no_body(rig: Rig, size: int) -> None:
    """HEAD tells the length and sends nothing else, whatever the application produces."""
    rig.routes["/whole"] = lambda exchange: reply(exchange, b"x" * size)
    rig.routes["/stream"] = stream(b"x" * size, length=size)
    peer = rig.connect()
    for target in ("/whole", "/stream"):
        peer.send(get(target, method="HEAD"))
        assert rig.drive()
        answer = peer.answer("HEAD")
        assert (answer.headers["content-length"], answer.body) == (str(size), b"")


def test_early_hints_come_before_the_response(rig: Rig) -> None:
    """103 leaves at once, the final response follows (RFC 8297)."""

    def hint(exchange: Exchange) -> None:
        exchange.send_early_hints([("Link", "</style.css>; rel=preload")])
        assert peer.taken().startswith(b"HTTP/1.1 103 ")
        reply(exchange)

    rig.routes["/hints"] = hint
    peer = rig.connect().send(get("/hints"))
    assert rig.drive()
    assert peer.bodies() == [b"hello"]


def test_aborted_response_ends_the_connection(rig: Rig) -> None:
    """The client can tell that something is missing; what it had pipelined is not run."""

    def abort(exchange: Exchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(None)
        exchange.send_data(b"part")
        exchange.abort()

    rig.routes["/abort"] = abort
    peer = rig.connect().send(get("/abort") + get("/next"))
    assert rig.drive()
    data = peer.taken()
    assert data.endswith(b"part\r\n")
    assert peer.closed
    assert rig.ran == ["/abort"]


@pytest.mark.parametrize("size", [20, 100_000])
def test_too_much_before_anything_was_sent_can_be_answered(rig: Rig, size: int) -> None:
    """The application's mistake is found before its head left: an error fits there."""

    def lie(exchange: Exchange) -> None:
        exchange.prepare("200 OK", [("Content-Length", "5")])
        exchange.send_head(None)
        with pytest.raises(ResponseError):
            exchange.send_data(b"x" * size)
        assert not exchange.head_sent
        exchange.prepare("500 Internal Server Error", [])
        exchange.send_whole(b"sorry")

    rig.routes["/lie"] = lie
    peer = rig.connect().send(get("/lie"))
    assert rig.drive()
    answer = peer.answer()
    assert (answer.status, answer.body) == (500, b"sorry")


# ---- files


@pytest.mark.parametrize(("offset", "count"), [(0, 1000), (0, len(PATTERN)), (777, 5000), (3, 0)])
def test_range_of_a_file(rig: Rig, file: BinaryIO, offset: int, count: int) -> None:
    """Exactly the range arrives; the application may close its file at once."""
    before = len(descriptors())

    def send(exchange: Exchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(count)
        with os.fdopen(os.dup(file.fileno()), "rb") as own:
            exchange.send_file(cast(BinaryIO, own), offset, count)
        exchange.send_end()

    rig.routes["/file"] = send
    peer = rig.connect(receive_buffer=8192).send(get("/file"))
    opened = len(descriptors()) - before
    assert rig.drive()
    end = PATTERN[offset : offset + count]
    body = read_all(rig, peer, lambda data: b"\r\n\r\n" in data and data.endswith(end))
    assert body.partition(b"\r\n\r\n")[2] == end
    assert len(descriptors()) - before == opened
    peer.send(get("/next"))
    assert rig.drive()
    assert peer.bodies() == [b"/next"]


def test_file_between_pieces(rig: Rig, file: BinaryIO) -> None:
    """Bytes, a file and bytes again keep their order for a client that reads slowly."""

    def send(exchange: Exchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(10 + 500_000 + 5)
        exchange.send_data(b"0123456789")
        exchange.send_file(file, 100, 500_000)
        exchange.send_data(b"there")
        exchange.send_end()

    rig.routes["/file"] = send
    peer = rig.connect(receive_buffer=8192).send(get("/file"))
    assert rig.drive()
    body = read_all(rig, peer, lambda data: data.endswith(b"there"))
    assert body.partition(b"\r\n\r\n")[2] == b"0123456789" + PATTERN[100:500_100] + b"there"


def test_head_of_a_file(rig: Rig, file: BinaryIO) -> None:
    """HEAD for a file tells its size and sends none of it."""

    def send(exchange: Exchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(len(PATTERN))
        exchange.send_file(file, 0, len(PATTERN))
        exchange.send_end()

    rig.routes["/file"] = send
    peer = rig.connect().send(get("/file", method="HEAD"))
    assert rig.drive()
    assert peer.answer("HEAD").headers["content-length"] == str(len(PATTERN))


def test_file_that_becomes_shorter(rig: Rig, file: BinaryIO) -> None:
    """The client is told the end by the connection's end, never by wrong bytes."""

    def send(exchange: Exchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(len(PATTERN) + 100)
        exchange.send_file(file, 0, len(PATTERN) + 100)
        exchange.send_end()

    rig.routes["/file"] = send
    peer = rig.connect(receive_buffer=8192).send(get("/file"))
    assert rig.drive()
    data = read_all(rig, peer, lambda data: False)
    assert data.endswith(PATTERN[-100:])
    assert rig.core.connections == 0


# ---- slow readers


def test_thread_is_not_held_for_a_finished_response(rig: Rig) -> None:
    """The application is done although the client has read nothing; the core sends the rest."""
    rig.routes["/big"] = lambda exchange: reply(exchange, PATTERN * 3)
    peer, other = rig.connect(receive_buffer=8192).send(get("/big")), rig.connect().send(get())
    assert rig.drive()
    assert not peer.busy()
    assert rig.core.counters.requests == 2
    assert other.bodies() == [b"hello"]
    data = read_all(rig, peer, lambda data: len(data) > len(PATTERN) * 3)
    assert data.partition(b"\r\n\r\n")[2] == PATTERN * 3
    peer.send(get("/next"))
    assert rig.drive()
    assert peer.bodies() == [b"/next"]


def test_requests_behind_a_slow_response_wait(rig: Rig) -> None:
    """Pipelined requests are run when the client has taken what came before."""
    rig.routes["/big"] = lambda exchange: reply(exchange, PATTERN)
    peer = rig.connect(receive_buffer=8192).send(get("/big") + get("/after"))
    assert rig.drive()
    assert rig.ran == ["/big"]
    data = read_all(rig, peer, lambda data: data.endswith(b"\r\n\r\n/after"))
    assert rig.ran == ["/big", "/after"]
    assert PATTERN in data


def test_memory_of_a_streamed_response_is_bounded(rig: Rig) -> None:
    """What a client does not read goes to disk; the order of the bytes stays."""
    held: list[int] = []

    def big(exchange: Exchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(len(PATTERN) * 4)
        for _ in range(4):
            for start in range(0, len(PATTERN), 40_000):
                exchange.send_data(PATTERN[start : start + 40_000])
                outbox = peer.connection._outbox
                held.append(outbox.memory if outbox is not None else 0)
        exchange.send_end()

    rig.routes["/big"] = big
    peer = rig.connect(receive_buffer=8192).send(get("/big"))
    before = len(descriptors())
    assert rig.drive()
    assert max(held) <= MEMORY_HIGH + 50_000
    assert len(descriptors()) == before + 1  # the spool
    data = read_all(rig, peer, lambda data: len(data) > len(PATTERN) * 4)
    assert data.partition(b"\r\n\r\n")[2] == PATTERN * 4
    assert len(descriptors()) == before


def test_memory_of_a_core_is_bounded(rig: Rig) -> None:
    """Many slow readers together get no more memory than the core allows; the rest is on disk."""
    size = 6_000_000
    rig.routes["/big"] = lambda exchange: reply(exchange, b"x" * size)
    peers = [rig.connect(receive_buffer=8192).send(get("/big")) for _ in range(6)]
    assert rig.drive()
    assert 0 < rig.core.held <= 1 << 24
    assert sum(peer.connection._outbox is not None for peer in peers) == 6
    for peer in peers:
        peer.sock.close()
    assert rig.drive()
    assert rig.core.held == 0


def test_client_that_reads_on_is_sent_on(rig: Rig) -> None:
    """Each byte that the client takes pushes the stall back; without one it is cut off."""
    rig.routes["/big"] = lambda exchange: reply(exchange, PATTERN * 3)
    peer = rig.connect(receive_buffer=8192).send(get("/big"))
    assert rig.drive()
    first = peer.connection.deadline
    for _ in range(3):
        assert peer.taken(1 << 16)
        assert rig.drive()
    assert peer.connection.deadline > first
    rig.look_after(58.0)
    assert rig.core.connections == 1
    rig.look_after(61.5)
    assert rig.core.connections == 0
    assert rig.refused == {"response not read": 1}
    assert rig.core.held == 0


def test_slow_reader_that_leaves(rig: Rig) -> None:
    """A client that closes in the middle of its response frees everything at once."""
    rig.routes["/big"] = lambda exchange: reply(exchange, PATTERN * 3)
    before = len(descriptors())
    peer = rig.connect(receive_buffer=8192).send(get("/big"))
    assert rig.drive()
    peer.sock.close()
    assert rig.drive()
    assert rig.core.connections == 0
    assert len(descriptors()) == before


def test_slow_reader_whose_core_was_lost(rig: Rig) -> None:
    """The rest of a response finished by a thread without a core is sent by the new driver."""

    def big(exchange: Exchange) -> None:
        rig.steal()
        reply(exchange, PATTERN)

    rig.routes["/big"] = big
    peer = rig.connect(receive_buffer=8192).send(get("/big") + get("/after"))
    assert not rig.drive()
    data = read_all(rig, peer, lambda data: data.endswith(b"\r\n\r\n/after"))
    assert PATTERN in data


def test_stalled_reader_is_told_to_the_application() -> None:
    """With memory and spool full the application's thread waits, but not longer than the stall
    timeout: then it is told that the client is gone."""
    piece = b"z" * (1 << 24)

    def endless(exchange: Exchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(None)
        deadline = Deadline(60)
        while deadline.require("it is never told"):
            exchange.send_data(piece)

    with Rig({"/endless": endless}, write_timeout=0.05) as rig:
        peer = rig.connect().send(get("/endless"))
        assert Running(rig.drive).result(60)
        assert len(rig.disconnected) == 1
        assert peer.taken()
        assert peer.closed
        assert rig.core.connections == 0


# ---- clients that are gone


@pytest.mark.parametrize("size", [100, 100_000])
def test_application_is_told_that_the_client_left(rig: Rig, size: int) -> None:
    """Streaming to a closed connection raises ClientDisconnected instead of going on for ever."""

    def endless(exchange: Exchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(None)
        exchange.send_data(b"first")
        peer.sock.close()
        deadline = Deadline(SECONDS)
        while deadline.require("it is never told"):
            exchange.send_data(b"x" * size)

    rig.routes["/endless"] = endless
    peer = rig.connect().send(get("/endless"))
    assert rig.drive()
    assert len(rig.disconnected) == 1
    assert rig.core.connections == 0


@pytest.mark.parametrize("size", [5, 100_000])
def test_whole_response_to_a_client_that_left(rig: Rig, size: int) -> None:
    """It is told the application too, and the connection is closed once."""

    def leave(exchange: Exchange) -> None:
        peer.sock.close()
        reply(exchange, b"x" * size)

    rig.routes["/leave"] = leave
    peer = rig.connect().send(get("/leave"))
    assert rig.drive()
    assert len(rig.disconnected) == 1
    assert rig.core.counters.closed == 1


def test_file_to_a_client_that_left(rig: Rig, file: BinaryIO) -> None:
    """sendfile to a closed connection is the same."""

    def leave(exchange: Exchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(1000)
        peer.sock.close()
        exchange.send_file(file, 0, 1000)

    rig.routes["/leave"] = leave
    peer = rig.connect().send(get("/leave"))
    assert rig.drive()
    assert len(rig.disconnected) == 1
    assert rig.core.connections == 0
