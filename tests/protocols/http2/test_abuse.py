"""Peers that mean harm: each kind of flood ends, with the code that says why, and honest clients
that do a little of the same are served."""

import pytest

from nogilserve.messages import Limits
from nogilserve.protocols.http2 import Http2Connection, codes
from tests.protocols.http2.peer import BODY_SENT, Peer
from tests.support.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GET,
    HEADERS,
    PING,
    POST,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    block,
    frame,
    goaways,
    headers,
    resets,
    settings,
    window_update,
)

CANCEL = codes.CANCEL.to_bytes(4)
CALM = codes.ENHANCE_YOUR_CALM


def rapid_reset(number: int) -> bytes:
    """CVE-2023-44487: a request that is taken back at once."""
    return headers(number) + frame(RST_STREAM, 0, number, CANCEL)


def made_you_reset(number: int) -> bytes:
    """CVE-2025-8671: a request that the server has to take back."""
    return headers(number) + window_update(number, 0)


# Name, what is sent over and over (it gets an odd number that rises).
FLOODS = [
    ("rapid reset", rapid_reset),
    ("made you reset", made_you_reset),
    ("made you reset by DATA", lambda n: headers(n) + frame(DATA, 0, n, b"x")),
    ("made you reset by PRIORITY", lambda n: headers(n) + frame(PRIORITY, 0, n, bytes(4))),
    ("malformed requests", lambda n: headers(n, [*GET, ("X", "y")])),
    ("PING", lambda n: frame(PING, 0, 0, bytes(8))),
    ("PING acknowledgements", lambda n: frame(PING, ACK, 0, bytes(8)) + frame(SETTINGS, ACK, 0)),
    ("SETTINGS", lambda n: settings((4, 65535))),
    ("empty SETTINGS", lambda n: settings()),
    ("PRIORITY", lambda n: frame(PRIORITY, 0, n + 1000, bytes(5))),
    ("PRIORITY_UPDATE", lambda n: frame(16, 0, 0, n.to_bytes(4) + b"u=1")),
    ("WINDOW_UPDATE", lambda n: window_update(0, 1)),
    ("unknown frames", lambda n: frame(0x77, 0, 0, b"x")),
    ("late RST_STREAM", lambda n: frame(RST_STREAM, 0, 1, CANCEL)),
]


@pytest.mark.parametrize("make", [row[1] for row in FLOODS], ids=[row[0] for row in FLOODS])
def test_flood(make) -> None:  # type: ignore[no-untyped-def]
    """The connection ends with ENHANCE_YOUR_CALM before the peer has done it 2500 times in a
    second, and there are never many streams."""
    peer = Peer(hold=True)
    peer.send(headers(1) + frame(RST_STREAM, 0, 1, CANCEL))
    most = 0
    frames = []
    for number in range(3, 5003, 2):
        peer.now += 1 / 2500
        frames += peer.send(make(number))
        most = max(most, len(peer.protocol.streams))
        if goaways(frames):
            break
    assert goaways(frames) == [CALM]
    assert most <= 100


def test_flood_of_empty_data() -> None:
    """CVE-2019-9518: DATA that neither says anything nor ends the stream."""
    peer = Peer()
    peer.send(headers(1, POST, END_HEADERS))
    assert goaways(peer.send(frame(DATA, 0, 1) * 2000)) == [CALM]


def test_flood_of_resets_that_are_made_slowly() -> None:
    """A user who changes his mind now and then is no attack."""
    peer = Peer(hold=True)
    for number in range(1, 2001, 2):
        peer.now += 0.1
        assert not goaways(peer.send(rapid_reset(number)))


def test_resets_beside_answered_requests() -> None:
    """A proxy that cancels some of many requests is served, however fast it is."""
    peer = Peer()
    for number in range(1, 4001, 4):
        assert not goaways(peer.send(headers(number)))
        peer.hold = True
        assert not goaways(peer.send(rapid_reset(number + 2)))
        peer.hold = False


def test_reset_streams_leave_nothing() -> None:
    """What was taken back is known to the engine, and forgotten."""
    peer = Peer(hold=True)
    for number in range(1, 101, 2):
        peer.send(rapid_reset(number))
    assert peer.protocol.streams == {}
    assert all(stream.gone for stream in peer.requests)


def test_flood_of_continuation() -> None:
    """CVE-2024-27316: a field section without end."""
    peer = Peer()
    frames = peer.send(frame(HEADERS, END_STREAM, 1, block(GET)))
    for _ in range(100):
        frames += peer.send(frame(CONTINUATION, 0, 1, block([("x", "y" * 16000)])))
    assert goaways(frames) == [CALM]


def test_flood_of_empty_continuation() -> None:
    """The same without a byte of content."""
    peer = Peer()
    frames = peer.send(frame(HEADERS, END_STREAM, 1, block(GET)))
    assert goaways(frames + peer.send(frame(CONTINUATION, 0, 1) * 100)) == [CALM]


def test_bomb_of_header_compression() -> None:
    """A large entry of the table, referred to again and again."""
    peer = Peer()
    bomb = b"\x40\x01a" + b"\x7f\xa1\x1e" + b"x" * 4000 + b"\xbe" * 1000
    assert goaways(peer.send(frame(HEADERS, 5, 1, block(GET) + bomb))) == [CALM]


def test_head_above_the_limits() -> None:
    """Too much for us, but no attack: 431 on the stream, and the connection serves on."""
    peer = Peer(limits=Limits(fields=10, field_size=1000))
    many = [*GET, *[(f"x-{number}", "y") for number in range(20)]]
    assert peer.fields(peer.send(headers(1, many)), 1)[":status"] == "431"
    assert peer.fields(peer.send(headers(3, [*GET, ("x", "y" * 2000)])), 3)[":status"] == "431"
    long = [*GET[:2], (":path", "/" + "x" * 9000), GET[3]]
    assert peer.fields(peer.send(headers(5, long)), 5)[":status"] == "414"
    assert peer.fields(peer.send(headers(7)), 7)[":status"] == "200"


def test_body_above_the_limit() -> None:
    """413, then RST_STREAM with NO_ERROR: the rest is not wanted (§8.1)."""
    peer = Peer(limits=Limits(body=10))
    frames = peer.send(headers(1, [*POST, ("content-length", "11")], END_HEADERS))
    assert peer.fields(frames, 1)[":status"] == "413"
    assert resets(frames) == [(1, codes.NO_ERROR)]
    frames = peer.send(headers(3, POST, END_HEADERS) + frame(DATA, 0, 3, bytes(11)))
    assert peer.fields(frames, 3)[":status"] == "413"
    assert resets(frames) == [(3, codes.NO_ERROR)]
    assert not goaways(peer.send(frame(DATA, END_STREAM, 3, bytes(5))))
    assert peer.alive()


def test_body_that_is_taken_slowly() -> None:
    """However long it is: what was sent and not taken stays within the window of a stream."""
    protocol = Http2Connection(Limits())
    opening = PREFACE + settings() + headers(1, POST, END_HEADERS)
    stream = protocol.receive(opening, 0.0)[0][1]
    untaken = most = 0
    for _ in range(50):
        while stream.receive_window:
            size = min(stream.receive_window, 16384)
            protocol.receive(frame(DATA, 0, 1, bytes(size)), 0.0)
            untaken += size
        most = max(most, untaken)
        protocol.credit(stream, 40000)
        untaken -= 40000
    assert most == 1 << 18


def test_trailers_of_a_body_that_is_not_wanted() -> None:
    """A response that waits for a window is not lost because nobody counted the body."""
    peer = Peer(hold=True)
    fields = [*POST, ("content-length", "5")]
    peer.send(settings((4, 0)) + headers(1, fields, END_HEADERS))
    peer.answer(peer.requests[0])
    peer.protocol.stop_receiving(peer.requests[0])
    frames = peer.send(frame(DATA, 0, 1, b"12345") + headers(1, [("x-sum", "1")]))
    assert resets(frames) == []
    frames = peer.send(window_update(1, 100))
    assert [(f.kind, f.flags, f.payload) for f in frames] == [(DATA, END_STREAM, BODY_SENT)]


def test_websocket_is_no_body() -> None:
    """The limit of request bodies is not one of all that a WebSocket carries."""
    peer = Peer(limits=Limits(body=10), websockets=True, hold=True)
    fields = [(":method", "CONNECT"), (":protocol", "websocket"), *GET[1:]]
    peer.send(headers(1, fields, END_HEADERS))
    for _ in range(3):
        assert resets(peer.send(frame(DATA, 0, 1, bytes(8)))) == []
    assert peer.bodies[1] == bytes(24)


def test_window_of_no_bytes_holds_no_frames() -> None:
    """A peer that gives no window makes nothing be put into frames, and nothing be lost."""
    peer = Peer()
    peer.send(settings((4, 0)) + b"".join(headers(number) for number in range(1, 21, 2)))
    assert peer.protocol.out_size == 0
    assert not peer.protocol.sendable
    frames = peer.send(settings((4, 100)))
    assert len([f for f in frames if f.kind == DATA and f.flags == END_STREAM]) == 10


def test_response_behind_a_reset_is_dropped() -> None:
    """An application that answers a request that was taken back sends nothing."""
    peer = Peer(hold=True)
    peer.send(rapid_reset(1))
    peer.answer(peer.requests[0])
    assert peer.read() == []


def test_many_window_updates_of_a_client_that_reads() -> None:
    """A client that is sent much has to widen its windows often, and is no flood."""
    peer = Peer()
    for number in range(1, 8001, 2):
        frames = peer.send(headers(number) + window_update(0, 12) + window_update(number, 12))
        assert not goaways(frames)
