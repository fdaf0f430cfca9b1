"""Whatever is put into an outbox arrives, all of it, in order, however the client reads."""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nogilserve.engine.outbox import Outbox, send_range
from tests.support.leaks import descriptors

CONTENT = bytes(range(256)) * 512


@pytest.fixture(scope="module")
def content() -> Iterator[BinaryIO]:
    """A real file of 128 KiB whose bytes tell where they are from."""
    with tempfile.TemporaryFile() as file:
        file.write(CONTENT)
        file.flush()
        yield file


def small_pair() -> tuple[socket.socket, socket.socket]:
    """Connected sockets with the smallest buffers the system gives."""
    left, right = socket.socketpair()
    left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    left.setblocking(False)
    right.setblocking(False)
    return left, right


def take(sock: socket.socket, limit: int) -> bytes:
    """At most `limit` bytes of what is there."""
    taken = b""
    try:
        while len(taken) < limit and (piece := sock.recv(limit - len(taken))):
            taken += piece
    except BlockingIOError:
        pass
    return taken


sizes = st.one_of(st.sampled_from([0, 1, 4096, 70_000]), st.integers(0, 20_000))
steps = st.one_of(
    st.tuples(st.sampled_from(["put", "put_spooled", "put_file"]), sizes),
    st.tuples(st.just("spool_memory"), st.just(0)),
    st.tuples(st.just("flush"), st.sampled_from([0, 1, 5000, 1 << 20])),
)


@given(st.lists(steps, max_size=14))
def test_delivers_every_byte_in_order(content: BinaryIO, script: list[tuple[str, int]]) -> None:
    """Any mix of memory, spool and files, moved to the spool and flushed in parts at any time."""
    left, right = small_pair()
    outbox = Outbox()
    expected, got, position, flushed = bytearray(), bytearray(), 0, 0
    with left, right, closing(outbox):
        for step, amount in script:
            piece = CONTENT[position % 1000 : position % 1000 + amount]
            if step == "put":
                outbox.put(piece)
            elif step == "put_spooled":
                outbox.put_spooled(piece)
            elif step == "put_file":
                outbox.put_file(content.fileno(), position % 1000, amount)
            elif step == "spool_memory":
                outbox.spool_memory()
                assert outbox.memory == 0
            else:
                flushed += outbox.flush(left)
                got += take(right, amount)
            if step.startswith("put"):
                expected += piece
                position += 7 + amount
            assert outbox.waiting == len(expected) - flushed
            assert 0 <= outbox.memory <= outbox.waiting
        for _ in range(1000):
            flushed += outbox.flush(left)
            got += take(right, 1 << 20)
            if not outbox.waiting:
                break
        assert bytes(got) == bytes(expected)
        assert flushed == len(expected)


def test_spooling_what_stands_before_the_spool() -> None:
    """Memory moved to the spool in front of spooled bytes keeps its place, and so does the rest."""
    left, right = small_pair()
    with left, right, closing(Outbox()) as outbox:
        outbox.put(b"one,")
        outbox.put_spooled(b"two,")
        outbox.put(b"three,")
        outbox.spool_memory()
        outbox.put_spooled(b"four")
        outbox.flush(left)
        assert take(right, 100) == b"one,two,three,four"


def test_empty_pieces(content: BinaryIO) -> None:
    """Nothing, by whatever way it is added, is sent as nothing, not taken for a broken file."""
    left, right = small_pair()
    with left, right, closing(Outbox()) as outbox:
        outbox.put(b"")
        outbox.spool_memory()
        outbox.put_spooled(b"")
        outbox.put_file(content.fileno(), 0, 0)
        assert outbox.flush(left) == 0
        assert outbox.waiting == 0


def test_position_of_the_spool_does_not_matter() -> None:
    """Bytes spooled while earlier ones are being read from the spool end up behind them."""
    left, right = small_pair()
    outbox = Outbox()
    with left, right:
        outbox.put_spooled(b"a" * 100_000)
        outbox.flush(left)
        got = take(right, 1 << 20)
        outbox.put_spooled(b"b" * 100_000)
        while outbox.waiting:
            outbox.flush(left)
            got += take(right, 1 << 20)
        got += take(right, 1 << 20)
    assert got == b"a" * 100_000 + b"b" * 100_000


def test_descriptor_of_a_file_is_its_own(content: BinaryIO) -> None:
    """The caller may close its file at once; the outbox closes its duplicate when it is sent."""
    left, right = small_pair()
    with left, right:
        fd = os.dup(content.fileno())
        before = descriptors()
        outbox = Outbox()
        outbox.put_file(fd, 10, 100)
        outbox.put(b"tail")
        os.close(fd)
        assert outbox.flush(left) == 104
        assert take(right, 1000) == CONTENT[10:110] + b"tail"
        assert len(descriptors()) == len(before) - 1


def test_spool_is_freed_once_everything_is_sent() -> None:
    """The temporary file does not outlive what is in it; another one is made when needed."""
    left, right = small_pair()
    with left, right:
        before = descriptors()
        outbox = Outbox()
        for piece in (b"first", b"second"):
            outbox.put_spooled(piece)
            assert outbox.spooled == len(piece)
            assert len(descriptors()) == len(before) + 1
            assert outbox.flush(left) == len(piece)
            assert outbox.spooled == 0
            assert descriptors() == before
        assert take(right, 100) == b"firstsecond"


def test_close_frees_everything(content: BinaryIO) -> None:
    """What was not sent is dropped: no descriptor stays, nothing waits; twice does not hurt."""
    before = descriptors()
    outbox = Outbox()
    outbox.put(b"memory")
    outbox.put_file(content.fileno(), 0, 50)
    outbox.put_spooled(b"spool")
    outbox.put_file(content.fileno(), 0, 50)
    outbox.close()
    outbox.close()
    assert descriptors() == before
    assert (outbox.waiting, outbox.memory, outbox.spooled) == (0, 0, 0)


def test_shrinking_file_is_an_error() -> None:
    """A file that ends before its range cannot be sent, and is not waited for."""
    left, right = small_pair()
    with left, right, tempfile.TemporaryFile() as file:
        file.write(b"x" * 100)
        file.flush()
        outbox = Outbox()
        outbox.put_file(file.fileno(), 0, 100)
        os.ftruncate(file.fileno(), 60)
        with pytest.raises(OSError, match="shorter"):
            outbox.flush(left)
        assert take(right, 1000) == b"x" * 60
        outbox.close()


def test_broken_connection_is_an_error() -> None:
    """A client that is gone ends the attempt with the system's error."""
    left, right = small_pair()
    outbox = Outbox()
    with left:
        right.close()
        outbox.put(b"x")
        with pytest.raises(OSError, match=r"[Pp]ipe|reset"):
            outbox.flush(left)
        outbox.close()


def test_full_socket_takes_nothing() -> None:
    """While the client does not read, flush sends nothing and loses nothing."""
    left, right = small_pair()
    with left, right:
        outbox = Outbox()
        outbox.put(b"y" * 500_000)
        first = outbox.flush(left)
        assert 0 < first < 500_000
        assert outbox.flush(left) == 0
        assert outbox.memory == outbox.waiting == 500_000 - first
        outbox.close()


@pytest.mark.parametrize("offset", [0, 100])
def test_send_range(content: BinaryIO, offset: int) -> None:
    """A range starts at its offset, whatever the file's own position; at the end it is 0."""
    left, right = small_pair()
    with left, right:
        content.seek(77)
        assert send_range(left, content.fileno(), offset, 50) == 50
        assert take(right, 1000) == CONTENT[offset : offset + 50]
        assert send_range(left, content.fileno(), len(CONTENT), 50) == 0
        assert content.tell() == 77


def refused(what: Callable[[], object]) -> bool:
    """Whether the call fails with an OSError."""
    try:
        what()
    except OSError:
        return True
    return False


def test_full_disk_is_an_error() -> None:
    """What cannot be spooled is reported, and nothing else of the outbox is freed twice."""
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    before, limit = descriptors(), resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    outbox = Outbox()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
        assert refused(lambda: outbox.put_spooled(b"z" * 100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    outbox.close()
    assert descriptors() == before
