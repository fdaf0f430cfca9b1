"""Responses: whole, streamed, from files, to clients that are gone."""

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

import pytest

from nogilserve.errors import ResponseError
from nogilserve.messages import Exchange
from tests.engine.rig import Rig, get, read_all, reply
from tests.engine.threads import SECONDS
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
