"""Byte ranges (RFC 9110 §14)."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nogilserve.gateways.static.ranges import MOST, Span, content_range, parse_ranges


@pytest.mark.parametrize(
    ("value", "spans"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=0-", [(0, 1000)]),
        ("bytes=0-4999", [(0, 1000)]),
        ("bytes=999-", [(999, 1000)]),
        ("bytes=-1", [(999, 1000)]),
        ("bytes=-5000", [(0, 1000)]),
        ("Bytes = 5-6", [(5, 7)]),
        ("bytes=5-6, ,  100-200 ,", [(5, 7), (100, 201)]),
        # The client's order stays where nothing is joined.
        ("bytes=900-,0-9", [(900, 1000), (0, 10)]),
        ("bytes=0-9,5-20", [(0, 21)]),
        ("bytes=0-9,10-20", [(0, 21)]),
        ("bytes=0-9,50-60", [(0, 61)]),
        ("bytes=500-600,0-700,900-", [(0, 701), (900, 1000)]),
        ("bytes=5000-,0-1", [(0, 2)]),
    ],
)
def test_ranges_are_read(value: str, spans: list[Span]) -> None:
    """Of 1000 bytes; ranges that nearly touch are joined."""
    assert parse_ranges(value, 1000) == spans


@pytest.mark.parametrize("value", ["bytes=1000-", "bytes=-0", "bytes=1000-2000,5000-"])
def test_none_that_is_there(value: str) -> None:
    """Nothing of it can be sent: 416."""
    assert parse_ranges(value, 1000) == []


@pytest.mark.parametrize(
    "value",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "lines=0-1",
        "bytes=a-b",
        "bytes=-",
        "bytes=--1",
        "bytes=9-0",
        "bytes=0-1,9-0",
        "bytes=0x0-1",
        "bytes=+1-2",
        "bytes=1_0-20",
        "bytes=\u0660-\u0661",
        "bytes=²-³",
        "bytes=0 -1",
        "bytes=1",
        "bytes=0-1-2",
        f"bytes={'9' * 19}-",
        "bytes=" + ",".join(["0-0"] * (MOST + 1)),
        "bytes=" + "0-0," * 1000,
        "bytes=0-0" + "," * 600,
    ],
)
def test_ignored(value: str) -> None:
    """What is malformed or too much is as if it were not there."""
    assert parse_ranges(value, 1000) is None


def test_nothing_has_no_ranges() -> None:
    """An empty file has no first byte; its end is sent as the whole of it."""
    assert parse_ranges("bytes=0-", 0) == []
    assert parse_ranges("bytes=-5", 0) is None
    assert parse_ranges("bytes=-0", 0) == []


@given(st.text(alphabet="0123456789-, =bytes٣", max_size=60), st.integers(0, 300))
def test_whatever_comes_is_bounded(text: str, size: int) -> None:
    """No text raises; spans lie in the file, do not overlap, and are few."""
    for value in (text, "bytes=" + text):
        spans = parse_ranges(value, size)
        assert spans is None or len(spans) <= MOST
        for start, stop in spans or []:
            assert 0 <= start < stop <= size
        ordered = sorted(spans or [])
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(ordered))


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=1, max_size=MOST),
    st.integers(1, 300),
)
def test_every_byte_asked_for_is_sent(pairs: list[tuple[int, int]], size: int) -> None:
    """And of the others only those between ranges that lie close together."""
    pairs = [(min(pair), max(pair)) for pair in pairs]
    spans = parse_ranges("bytes=" + ",".join(f"{a}-{b}" for a, b in pairs), size)
    assert spans is not None
    sent = {byte for start, stop in spans for byte in range(start, stop)}
    wanted = {byte for first, last in pairs for byte in range(first, min(last + 1, size))}
    assert wanted <= sent
    assert len(sent - wanted) <= 80 * len(pairs)


def test_content_range() -> None:
    """First and last byte, both included."""
    assert content_range((0, 1), 10) == "bytes 0-0/10"
    assert content_range(None, 10) == "bytes */10"
