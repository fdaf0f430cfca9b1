"""Whatever comes, the protocol neither raises nor hangs, and what it sends is well-formed."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocols.http2.peer import Peer
from tests.support.http2 import (
    GET,
    POST,
    PREFACE,
    block,
    frame,
    goaways,
    headers,
    window_update,
)
from tests.support.http2 import settings as settings_frame

NUMBERS = st.sampled_from([0, 1, 1, 1, 3, 3, 5, 7, 2, 101, 0x7FFFFFFF])
FLAGS = st.sampled_from([0, 1, 4, 5, 8, 0x20, 0x2D, 0xFF])
PAYLOADS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"", bytes(4), bytes(5), bytes(6), bytes(8), block(GET), block(POST)]),
    st.integers(0, 0xFFFFFFFF).map(lambda number: number.to_bytes(4)),
)
FRAMES = st.one_of(
    st.builds(frame, st.integers(0, 17), FLAGS, NUMBERS, PAYLOADS),
    st.builds(headers, NUMBERS, st.sampled_from([GET, POST]), st.sampled_from([4, 5])),
    st.builds(frame, st.just(0), st.sampled_from([0, 1]), NUMBERS, st.binary(max_size=300)),
    st.builds(window_update, NUMBERS, st.integers(0, 0x7FFFFFFF)),
    st.builds(
        lambda key, value: settings_frame((key, value)), st.integers(0, 10), st.integers(0, 1 << 31)
    ),
    st.builds(lambda data: frame(1, 5, 1, data), st.binary(max_size=60)),
)


def check(peer: Peer, pieces: list[bytes]) -> None:
    """Send the pieces; at most one GOAWAY with an error comes back, and no frame after it."""
    frames = []
    for piece in pieces:
        peer.now += 0.01
        frames += peer.send(piece)  # parses what comes back
    codes = goaways(frames)
    assert len(codes) <= 1
    if codes:
        assert goaways(frames[-1:]) == codes
        assert peer.protocol.failure is not None
    assert len(peer.protocol.streams) <= 100
    assert all(stream.send_window <= 0x7FFFFFFF for stream in peer.protocol.streams.values())


@settings(max_examples=250)
@given(st.lists(FRAMES, max_size=25), st.booleans())
def test_frames(frames: list[bytes], hold: bool) -> None:
    """Any frames in any order."""
    check(Peer(hold=hold), frames)


@settings(max_examples=150)
@given(st.lists(st.binary(max_size=80), max_size=10), st.booleans())
def test_bytes(pieces: list[bytes], greet: bool) -> None:
    """Any bytes, behind the preface and in place of it."""
    check(Peer(greet=greet), [b"" if greet else PREFACE, *pieces])


@settings(max_examples=150)
@given(st.lists(FRAMES, max_size=12), st.randoms(use_true_random=False))
def test_cuts_do_not_matter(frames: list[bytes], random) -> None:  # type: ignore[no-untyped-def]
    """The same bytes mean the same however they arrive."""
    whole = b"".join(frames)
    first, second = Peer(hold=True), Peer(hold=True)
    expected = first.send(whole)
    got = []
    at = 0
    while at < len(whole):
        size = random.randint(1, 40)
        got += second.send(whole[at : at + size])
        at += size
    assert [f.code for f in got if f.kind == 7] == [f.code for f in expected if f.kind == 7]
    assert [(s.id, s.ended) for s in first.requests] == [(s.id, s.ended) for s in second.requests]
