"""Request bodies: where they are kept, and how an application may read them."""

import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nogilserve.engine.body import MEMORY, BodyStore, LazyBody, NoBody
from nogilserve.errors import TruncatedBody
from tests.support.leaks import descriptors


def stored(*pieces: bytes) -> BodyStore:
    """A store that has received these pieces."""
    store = BodyStore()
    for piece in pieces:
        store.write(piece)
    return store


def lazy(*pieces: bytes, error: TruncatedBody | None = None) -> io.BufferedReader:
    """A body that arrives in these pieces, and then ends or breaks."""
    waiting = list(pieces)

    def fetch() -> bytes:
        if waiting:
            return waiting.pop(0)
        if error is not None:
            raise error
        return b""

    return io.BufferedReader(LazyBody(fetch), 64)


def test_small_body_stays_in_memory() -> None:
    """Up to the border no file is made."""
    before = descriptors()
    store = stored(b"x" * (MEMORY - 1), b"x")
    assert descriptors() == before
    assert store.size == MEMORY
    assert store.open().read() == b"x" * MEMORY
    store.close()


def test_large_body_goes_to_a_file() -> None:
    """One byte more than the border, and all of it is in a file that close() frees."""
    before = descriptors()
    store = stored(b"a" * MEMORY, b"b", b"c" * 10)
    assert len(descriptors()) == len(before) + 1
    assert store.size == MEMORY + 11
    assert store.open().read() == b"a" * MEMORY + b"b" + b"c" * 10
    store.close()
    assert descriptors() == before


def test_single_large_piece_goes_to_a_file() -> None:
    """The border counts although nothing was in memory before."""
    before = descriptors()
    store = stored(b"a" * (MEMORY + 1))
    assert len(descriptors()) == len(before) + 1
    store.close()


def test_opened_from_the_beginning() -> None:
    """Opening again starts over."""
    store = stored(b"one", b"two")
    assert store.open().read(2) == b"on"
    assert store.open().read() == b"onetwo"
    store.close()


@pytest.mark.parametrize("padding", [0, MEMORY])
def test_stored_body_reads_like_a_file(padding: int) -> None:
    """Bounded reads, lines and iteration, from memory and from a file; then the end."""
    store = stored(b"p" * padding + b"first\nsec", b"ond\nlast")
    body = store.open()
    assert body.read(padding) == b"p" * padding
    assert body.read(2) == b"fi"
    assert body.readline() == b"rst\n"
    assert body.readline(3) == b"sec"
    assert list(body) == [b"ond\n", b"last"]
    assert body.read(10) == b""
    assert body.readline() == b""
    store.close()


pieces = st.lists(st.binary(min_size=1, max_size=100), max_size=8)
reads = st.lists(
    st.tuples(st.sampled_from(["read", "readline", "read1"]), st.integers(0, 90)), max_size=12
)


@given(pieces, reads)
def test_lazy_body_equals_the_stored_one(
    arriving: list[bytes], script: list[tuple[str, int]]
) -> None:
    """However it arrives and is read, the application sees the same bytes."""
    whole = io.BytesIO(b"".join(arriving))
    body = lazy(*arriving)
    for how, size in script:
        if how == "read1":  # may return less than it could, never something else
            part = body.read1(size)
            assert part == whole.read(len(part))
            assert part or not size or not whole.read(1)
        else:
            assert getattr(body, how)(size) == getattr(whole, how)(size)
    assert body.read() == whole.read()
    assert body.read(1) == b""


def test_lazy_body_by_lines() -> None:
    """Lines may be cut anywhere by the network."""
    assert list(lazy(b"one\ntw", b"o", b"\n", b"three")) == [b"one\n", b"two\n", b"three"]


def test_lazy_body_is_asked_for_only_when_read() -> None:
    """Making the body fetches nothing, and its end is asked for once."""
    asked: list[int] = []

    def fetch() -> bytes:
        asked.append(1)
        return b""

    body = io.BufferedReader(LazyBody(fetch))
    assert not asked
    assert body.read() == b""
    assert body.read() == b""
    assert len(asked) == 1


readings: list[Callable[[io.BufferedReader], object]] = [
    lambda body: body.read(),
    lambda body: body.read(10),
    lambda body: body.readline(),
    list,
    lambda body: body.readinto(bytearray(10)),
]


@pytest.mark.parametrize("reading", readings)
def test_truncated_lazy_body_raises(reading: Callable[[io.BufferedReader], object]) -> None:
    """A body that breaks off raises, however it is read: short data never passes for all."""
    body = lazy(b"abc", error=TruncatedBody("gone"))
    with pytest.raises(TruncatedBody):
        reading(body)


def test_what_came_before_the_truncation_can_be_read() -> None:
    """Reads that the received bytes satisfy succeed; the one beyond them raises an OSError."""
    body = lazy(b"abc", b"def", error=TruncatedBody("gone"))
    assert body.read(3) == b"abc"
    assert body.read(3) == b"def"
    with pytest.raises(OSError, match="gone"):
        body.read(1)


def test_no_body() -> None:
    """Every way of reading nothing; it stays open for the next request."""
    body = NoBody()
    assert body.read() == body.read(5) == body.readline() == body.readline(5) == b""
    assert body.readall() == b""
    assert body.readlines() == []
    assert list(body) == []
    assert body.readinto(bytearray(4)) == 0
    assert body.readable()
    body.close()
    assert not body.closed
    assert body.read(1) == b""
