"""What RFC 9113 and RFC 7541 say of each mistake: which ends the stream, which the connection, and
with what code. One row for each rule."""

import pytest

from nogilserve.protocols.http2 import codes
from tests.protocols.http2.peer import Peer
from tests.support.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GET,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    POST,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    block,
    frame,
    goaways,
    headers,
    resets,
    settings,
    window_update,
)

OPEN = END_HEADERS  # HEADERS that leave the stream open
BOTH = END_HEADERS | END_STREAM
U32 = (0).to_bytes(4)
CANCEL = codes.CANCEL.to_bytes(4)


def fields(*more: tuple[str, str], without: str = "", method: str = "GET") -> list[tuple[str, str]]:
    """Those of a GET, changed."""
    kept = [(name, value) for name, value in GET if name != without]
    return [(n, method if n == ":method" else v) for n, v in kept] + list(more)


def get(*more: tuple[str, str], without: str = "") -> bytes:
    """A request on stream 1 that is complete."""
    return headers(1, fields(*more, without=without))


def post(*more: tuple[str, str], stream: int = 1) -> bytes:
    """A request whose body follows."""
    return headers(stream, [*POST, *more], OPEN)


def raw(payload: bytes) -> bytes:
    """A GET with more bytes of header compression behind its fields."""
    return frame(HEADERS, BOTH, 1, block(GET) + payload)


# Name, what is sent, GOAWAY code. The connection is new.
FATAL = [
    ("4.2 HEADERS above the frame size", frame(HEADERS, BOTH, 1, bytes(16385)), "FRAME_SIZE_ERROR"),
    ("4.2 SETTINGS above the frame size", frame(SETTINGS, 0, 0, bytes(16386)), "FRAME_SIZE_ERROR"),
    ("4.2 DATA above the frame size", post() + frame(DATA, 0, 1, bytes(16385)), "FRAME_SIZE_ERROR"),
    ("4.2 unknown above the frame size", frame(0x77, 0, 0, bytes(16385)), "FRAME_SIZE_ERROR"),
    ("4.3 block that cannot be decoded", frame(HEADERS, BOTH, 1, b"\x40"), "COMPRESSION_ERROR"),
    (
        "4.3 PRIORITY inside a field section",
        frame(HEADERS, END_STREAM, 1, block(GET)) + frame(PRIORITY, 0, 1, bytes(5)),
        "PROTOCOL_ERROR",
    ),
    (
        "4.3 HEADERS of another stream inside a field section",
        frame(HEADERS, END_STREAM, 1, block(GET)) + headers(3),
        "PROTOCOL_ERROR",
    ),
    (
        "4.3 DATA inside a field section",
        frame(HEADERS, 0, 1, block(GET)) + frame(DATA, 1, 1, b"x"),
        "PROTOCOL_ERROR",
    ),
    (
        "4.3 PING inside a field section",
        frame(HEADERS, 0, 1, block(GET)) + frame(PING, 0, 0, bytes(8)),
        "PROTOCOL_ERROR",
    ),
    (
        "5.5 unknown frame inside a field section",
        frame(HEADERS, 0, 1, block(GET)) + frame(0x77, 0, 0, b"x"),
        "PROTOCOL_ERROR",
    ),
    ("5.1 DATA on an idle stream", frame(DATA, END_STREAM, 1, b"x"), "PROTOCOL_ERROR"),
    ("5.1 RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, CANCEL), "PROTOCOL_ERROR"),
    ("5.1 WINDOW_UPDATE on an idle stream", window_update(1, 100), "PROTOCOL_ERROR"),
    (
        "5.1 CONTINUATION on an idle stream",
        frame(CONTINUATION, END_HEADERS, 1, block(GET)),
        "PROTOCOL_ERROR",
    ),
    (
        "5.1 CONTINUATION on a closed stream",
        get() + frame(CONTINUATION, END_HEADERS, 1, b""),
        "PROTOCOL_ERROR",
    ),
    ("5.1.1 even stream number", headers(2), "PROTOCOL_ERROR"),
    ("5.1.1 lower stream number", headers(5) + headers(3), "PROTOCOL_ERROR"),
    ("6.1 DATA on stream 0", frame(DATA, 1, 0, b"x"), "PROTOCOL_ERROR"),
    (
        "6.1 padding as long as DATA",
        post() + frame(DATA, PADDED | 1, 1, b"\x06hello"),
        "PROTOCOL_ERROR",
    ),
    (
        "6.1 padded DATA without the length of padding",
        post() + frame(DATA, PADDED | 1, 1),
        "FRAME_SIZE_ERROR",
    ),
    ("6.2 HEADERS on stream 0", headers(0), "PROTOCOL_ERROR"),
    (
        "6.2 padding as long as HEADERS",
        frame(HEADERS, BOTH | PADDED, 1, b"\xff" + block(GET)),
        "PROTOCOL_ERROR",
    ),
    (
        "6.2 padded HEADERS without the length of padding",
        frame(HEADERS, BOTH | PADDED, 1),
        "FRAME_SIZE_ERROR",
    ),
    (
        "6.2 HEADERS too short for its priority",
        frame(HEADERS, BOTH | WITH_PRIORITY, 1, bytes(4)),
        "FRAME_SIZE_ERROR",
    ),
    (
        "6.2 padding that reaches into the priority",
        frame(HEADERS, BOTH | WITH_PRIORITY | PADDED, 1, b"\x02" + bytes(6)),
        "PROTOCOL_ERROR",
    ),
    ("6.3 PRIORITY on stream 0", frame(PRIORITY, 0, 0, bytes(5)), "PROTOCOL_ERROR"),
    ("6.4 RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, CANCEL), "PROTOCOL_ERROR"),
    ("6.4 RST_STREAM too short", post() + frame(RST_STREAM, 0, 1, b"abc"), "FRAME_SIZE_ERROR"),
    ("6.4 RST_STREAM too long", post() + frame(RST_STREAM, 0, 1, b"abcde"), "FRAME_SIZE_ERROR"),
    ("6.5 SETTINGS on a stream", frame(SETTINGS, 0, 1), "PROTOCOL_ERROR"),
    ("6.5 acknowledgement with settings", frame(SETTINGS, ACK, 0, bytes(6)), "FRAME_SIZE_ERROR"),
    ("6.5 SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, bytes(5)), "FRAME_SIZE_ERROR"),
    ("6.5.2 ENABLE_PUSH 2", settings((2, 2)), "PROTOCOL_ERROR"),
    ("6.5.2 INITIAL_WINDOW_SIZE 2^31", settings((4, 1 << 31)), "FLOW_CONTROL_ERROR"),
    ("6.5.2 MAX_FRAME_SIZE 16383", settings((5, 16383)), "PROTOCOL_ERROR"),
    ("6.5.2 MAX_FRAME_SIZE 2^24", settings((5, 1 << 24)), "PROTOCOL_ERROR"),
    ("RFC 8441 ENABLE_CONNECT_PROTOCOL 2", settings((8, 2)), "PROTOCOL_ERROR"),
    ("RFC 9218 NO_RFC7540_PRIORITIES 2", settings((9, 2)), "PROTOCOL_ERROR"),
    ("6.6 PUSH_PROMISE", post() + frame(PUSH_PROMISE, 4, 1, U32 + block(GET)), "PROTOCOL_ERROR"),
    ("6.7 PING on a stream", frame(PING, 0, 1, bytes(8)), "PROTOCOL_ERROR"),
    ("6.7 PING of 6 bytes", frame(PING, 0, 0, bytes(6)), "FRAME_SIZE_ERROR"),
    ("6.7 PING of 9 bytes", frame(PING, 0, 0, bytes(9)), "FRAME_SIZE_ERROR"),
    ("6.8 GOAWAY on a stream", frame(GOAWAY, 0, 1, bytes(8)), "PROTOCOL_ERROR"),
    ("6.8 GOAWAY of 7 bytes", frame(GOAWAY, 0, 0, bytes(7)), "FRAME_SIZE_ERROR"),
    ("6.9 WINDOW_UPDATE of 0, connection", window_update(0, 0), "PROTOCOL_ERROR"),
    ("6.9 WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, bytes(3)), "FRAME_SIZE_ERROR"),
    (
        "6.9 WINDOW_UPDATE of 5 bytes on a stream",
        post() + frame(WINDOW_UPDATE, 0, 1, bytes(5)),
        "FRAME_SIZE_ERROR",
    ),
    (
        "6.9.1 window of the connection above 2^31-1",
        window_update(0, 0x7FFFFFFF) * 2,
        "FLOW_CONTROL_ERROR",
    ),
    (
        "6.9.2 SETTINGS that widen a window above 2^31-1",
        post() + window_update(1, 0x7FFFFFFF - 65535) + settings((4, 65536)),
        "FLOW_CONTROL_ERROR",
    ),
    (
        "6.10 CONTINUATION behind END_HEADERS",
        post() + frame(CONTINUATION, END_HEADERS, 1, block([("x", "y")])),
        "PROTOCOL_ERROR",
    ),
    (
        "6.10 CONTINUATION on stream 0",
        frame(HEADERS, 0, 1, block(GET)) + frame(CONTINUATION, END_HEADERS, 0),
        "PROTOCOL_ERROR",
    ),
    (
        "6.10 CONTINUATION of another stream",
        frame(HEADERS, 0, 1, block(GET)) + frame(CONTINUATION, END_HEADERS, 3),
        "PROTOCOL_ERROR",
    ),
    (
        "6.10 CONTINUATION behind DATA",
        post() + frame(DATA, 0, 1, b"x") + frame(CONTINUATION, END_HEADERS, 1),
        "PROTOCOL_ERROR",
    ),
    ("RFC 9218 PRIORITY_UPDATE on a stream", frame(16, 0, 1, U32 + b"u=1"), "PROTOCOL_ERROR"),
    ("RFC 9218 PRIORITY_UPDATE of stream 0", frame(16, 0, 0, U32 + b"u=1"), "PROTOCOL_ERROR"),
    ("RFC 9218 PRIORITY_UPDATE too short", frame(16, 0, 0, b"abc"), "FRAME_SIZE_ERROR"),
    ("HPACK index 0", raw(b"\x80"), "COMPRESSION_ERROR"),
    ("HPACK index beyond the tables", raw(b"\xbe"), "COMPRESSION_ERROR"),
    ("HPACK name index beyond the tables", raw(b"\x7e\x01x"), "COMPRESSION_ERROR"),
    ("HPACK table size too large", frame(HEADERS, BOTH, 1, b"\x3f\xe2\x1f"), "COMPRESSION_ERROR"),
    ("HPACK table size behind a field", raw(b"\x20"), "COMPRESSION_ERROR"),
    ("HPACK integer cut off", raw(b"\xff\x80"), "COMPRESSION_ERROR"),
    ("HPACK integer too long", raw(b"\xff" + b"\x80" * 9 + b"\x01"), "COMPRESSION_ERROR"),
    ("HPACK string cut off", raw(b"\x00\x05abc"), "COMPRESSION_ERROR"),
    ("HPACK name without a value", raw(b"\x00\x01a"), "COMPRESSION_ERROR"),
    ("HPACK Huffman padding above 7 bits", raw(b"\x00\x82\x1f\xff\x01x"), "COMPRESSION_ERROR"),
    ("HPACK Huffman padding of zeros", raw(b"\x00\x81\x18\x01x"), "COMPRESSION_ERROR"),
    ("HPACK Huffman with EOS", raw(b"\x00\x84\xff\xff\xff\xff\x01x"), "COMPRESSION_ERROR"),
    (
        "HPACK errors count in trailers too",
        post() + frame(HEADERS, BOTH, 1, b"\x80"),
        "COMPRESSION_ERROR",
    ),
    (
        "HPACK errors count on a stream that was reset",
        post() + frame(RST_STREAM, 0, 1, CANCEL) + frame(HEADERS, BOTH, 1, b"\x80"),
        "COMPRESSION_ERROR",
    ),
]

# Name, what is sent, code of RST_STREAM on stream 1. Requests are held back.
FAULTS = [
    (
        "5.1 DATA behind END_STREAM (half-closed)",
        get() + frame(DATA, 1, 1, b"x"),
        "STREAM_CLOSED",
    ),
    ("5.1 HEADERS behind END_STREAM (half-closed)", get() + headers(1), "STREAM_CLOSED"),
    (
        "5.1 DATA behind RST_STREAM",
        post() + frame(RST_STREAM, 0, 1, CANCEL) + frame(DATA, 1, 1, b"x"),
        "STREAM_CLOSED",
    ),
    (
        "5.1 HEADERS behind RST_STREAM",
        post() + frame(RST_STREAM, 0, 1, CANCEL) + headers(1),
        "STREAM_CLOSED",
    ),
    (
        "5.3.1 HEADERS that depend on themselves",
        frame(HEADERS, BOTH | WITH_PRIORITY, 1, (1).to_bytes(4) + b"\x0f" + block(GET)),
        "PROTOCOL_ERROR",
    ),
    (
        "5.3.1 PRIORITY that depends on itself",
        post() + frame(PRIORITY, 0, 1, (1).to_bytes(4) + b"\x0f"),
        "PROTOCOL_ERROR",
    ),
    ("6.3 PRIORITY of 4 bytes", post() + frame(PRIORITY, 0, 1, bytes(4)), "FRAME_SIZE_ERROR"),
    ("6.9 WINDOW_UPDATE of 0", post() + window_update(1, 0), "PROTOCOL_ERROR"),
    (
        "6.9.1 window of a stream above 2^31-1",
        post() + window_update(1, 0x7FFFFFFF) * 2,
        "FLOW_CONTROL_ERROR",
    ),
    (
        "6.9.1 more DATA than the window",
        post() + frame(DATA, 0, 1, bytes(16384)) * 5,
        "FLOW_CONTROL_ERROR",
    ),
    ("8.1 second HEADERS without END_STREAM", post() + headers(1, [("x", "y")], OPEN), 0),
    (
        "8.1 pseudo-header field in trailers",
        post() + headers(1, [(":method", "GET")]),
        "PROTOCOL_ERROR",
    ),
    (
        "RFC 9110 6.5.1 field of the head in trailers",
        post() + headers(1, [("x-sum", "1"), ("authorization", "x")]),
        "PROTOCOL_ERROR",
    ),
    ("too many trailers", post() + headers(1, [("x", "y")] * 101), "PROTOCOL_ERROR"),
    ("a trailer that is too large", post() + headers(1, [("x", "y" * 8190)]), "PROTOCOL_ERROR"),
    (
        "trailers that are too large",
        post()
        + frame(HEADERS, 1, 1, block([("x", "y" * 8000)] * 2))
        + frame(CONTINUATION, 0, 1, block([("x", "y" * 8000)] * 2)) * 3
        + frame(CONTINUATION, END_HEADERS, 1, block([("x", "y" * 8000)])),
        "PROTOCOL_ERROR",
    ),
    ("8.1 upper case in trailers", post() + headers(1, [("X", "y")]), "PROTOCOL_ERROR"),
    ("8.1.1 content-length above DATA", post(("content-length", "5")) + frame(DATA, 1, 1, b"x"), 0),
    (
        "8.1.1 content-length below DATA",
        post(("content-length", "1")) + frame(DATA, 0, 1, b"x") * 2,
        0,
    ),
    (
        "8.1.1 content-length above several DATA",
        post(("content-length", "9")) + frame(DATA, 0, 1, b"x") + frame(DATA, 1, 1, b"x"),
        0,
    ),
    (
        "8.1.1 content-length above DATA before trailers",
        post(("content-length", "2")) + frame(DATA, 0, 1, b"x") + headers(1, [("x", "y")]),
        0,
    ),
    ("8.1.1 content-length without content", get(("content-length", "5")), 0),
    ("8.1.1 content-length twice", get(("content-length", "0"), ("content-length", "0")), 0),
    ("8.1.1 content-length with a sign", post(("content-length", "+1")), 0),
    ("8.1.1 content-length below 0", post(("content-length", "-1")), 0),
    ("8.2.1 upper case name", get(("X-Test", "y")), 0),
    ("8.2.1 space in a name", get(("x y", "z")), 0),
    ("8.2.1 colon in a name", get(("x:y", "z")), 0),
    ("8.2.1 control character in a name", get(("x\x01", "z")), 0),
    ("8.2.1 0x7f in a name", get(("x\x7f", "z")), 0),
    ("8.2.1 non-ASCII name", get(("x\xe9", "z")), 0),
    ("8.2.1 empty name", get(("", "z")), 0),
    ("8.2.1 NUL in a value", get(("x", "a\0b")), 0),
    ("8.2.1 LF in a value", get(("x", "a\nb")), 0),
    ("8.2.1 CR in a value", get(("x", "a\rb")), 0),
    ("8.2.1 leading space in a value", get(("x", " a")), 0),
    ("8.2.1 trailing space in a value", get(("x", "a ")), 0),
    ("8.2.1 leading tab in a value", get(("x", "\ta")), 0),
    ("8.2.2 Connection", get(("connection", "close")), 0),
    ("8.2.2 Keep-Alive", get(("keep-alive", "5")), 0),
    ("8.2.2 Proxy-Connection", get(("proxy-connection", "close")), 0),
    ("8.2.2 Transfer-Encoding", get(("transfer-encoding", "chunked")), 0),
    ("8.2.2 Upgrade", get(("upgrade", "h2c")), 0),
    ("8.2.2 TE: gzip", get(("te", "gzip")), 0),
    ("8.2.2 TE: trailers, gzip", get(("te", "trailers, gzip")), 0),
    ("8.3 unknown pseudo-header field", headers(1, [*GET, (":test", "x")]), 0),
    ("8.3 pseudo-header field of responses", headers(1, [*GET, (":status", "200")]), 0),
    ("8.3 pseudo-header behind a regular field", headers(1, [*GET[:3], ("x", "y"), GET[3]]), 0),
    ("8.3.1 empty :path", headers(1, [*fields(without=":path"), (":path", "")]), 0),
    ("8.3.1 :path without a slash", headers(1, [*fields(without=":path"), (":path", "x")]), 0),
    ("8.3.1 space in :path", headers(1, [*fields(without=":path"), (":path", "/a b")]), 0),
    ("8.3.1 no :method", get(without=":method"), 0),
    ("8.3.1 no :scheme", get(without=":scheme"), 0),
    ("8.3.1 no :path", get(without=":path"), 0),
    ("8.3.1 no :authority and no host", get(without=":authority"), 0),
    ("8.3.1 :method twice", headers(1, [*GET, (":method", "GET")]), 0),
    ("8.3.1 :scheme twice", headers(1, [*GET, (":scheme", "http")]), 0),
    ("8.3.1 :path twice", headers(1, [*GET, (":path", "/")]), 0),
    ("8.3.1 :authority twice", headers(1, [*GET, (":authority", "h")]), 0),
    ("8.3.1 host other than :authority", get(("host", "other")), 0),
    ("8.3.1 host twice", get(("host", "h"), ("host", "h")), 0),
    (
        "8.3.1 user information in :authority",
        headers(1, [*fields(without=":authority"), (":authority", "u@h")]),
        0,
    ),
    ("8.3.1 malformed :method", headers(1, [(":method", "G T"), *GET[1:]]), 0),
    ("8.3.1 foreign :scheme", headers(1, [*fields(without=":scheme"), (":scheme", "ftp")]), 0),
    ("8.5 CONNECT with :path", headers(1, [(":method", "CONNECT"), *GET[1:]]), 0),
    ("8.5 CONNECT without :authority", headers(1, [(":method", "CONNECT")]), 0),
    (
        "RFC 8441 :protocol where it was not announced",
        headers(1, [(":method", "CONNECT"), *GET[1:], (":protocol", "websocket")]),
        0,
    ),
    ("RFC 8441 :protocol without CONNECT", headers(1, [*GET, (":protocol", "websocket")]), 0),
]

# Name, what is sent; it is no mistake, and what follows is served.
FINE = [
    ("4.1 reserved bit of the stream number", frame(PING, 0, 1 << 31, bytes(8))),
    ("5.1 PRIORITY on an idle stream", frame(PRIORITY, 0, 1, bytes(4) + b"\x0f")),
    ("5.1 PRIORITY on a closed stream", headers(3) + frame(PRIORITY, 0, 3, bytes(5))),
    ("5.1 WINDOW_UPDATE on a closed stream", headers(3) + window_update(3, 5)),
    ("5.1 RST_STREAM on a closed stream", headers(3) + frame(RST_STREAM, 0, 3, CANCEL)),
    ("5.5 unknown frame type", frame(0x16, 0xFF, 0, b"x")),
    ("5.5 unknown frame on a stream", frame(0x16, 0xFF, 7, b"x")),
    ("4.1 undefined flags", frame(PING, 0x16, 0, bytes(8))),
    ("6.5.2 unknown setting", settings((0xFF, 5))),
    ("6.5.2 ENABLE_PUSH 0 and 1", settings((2, 0)) + settings((2, 1))),
    ("6.5.2 HEADER_TABLE_SIZE 0", settings((1, 0))),
    ("6.5.2 largest MAX_FRAME_SIZE", settings((5, (1 << 24) - 1))),
    ("6.7 acknowledgement of no PING", frame(PING, ACK, 0, bytes(8))),
    ("6.9.1 window of 2^31-1", window_update(0, 0x7FFFFFFF - 65535)),
    ("RFC 9218 PRIORITY_UPDATE", frame(16, 0, 0, (1).to_bytes(4) + b"u=3, i")),
    ("RFC 9218 priority", headers(3, fields(("priority", "u=1")))),
    ("7 unknown error code in RST_STREAM", post(stream=3) + frame(RST_STREAM, 0, 3, b"\xff" * 4)),
    ("8.1 trailers", post(stream=3) + headers(3, [("x-sum", "1")])),
    ("8.2.2 TE: trailers", headers(3, fields(("te", "trailers")))),
    ("8.3.1 OPTIONS *", headers(3, [(":method", "OPTIONS"), *GET[1:2], (":path", "*"), GET[3]])),
    ("8.3.1 host equal to :authority", headers(3, fields(("host", "h")))),
    ("8.3.1 host alone", headers(3, fields(("host", "h"), without=":authority"))),
    ("6.1 padded DATA", post(stream=3) + frame(DATA, PADDED | 1, 3, b"\x02abXX")),
    ("6.1 DATA of padding alone", post(stream=3) + frame(DATA, PADDED | 1, 3, b"\x02XX")),
    (
        "6.2 padded HEADERS with priority",
        frame(
            HEADERS,
            BOTH | PADDED | WITH_PRIORITY,
            3,
            b"\x03" + bytes(4) + b"\x10" + block(GET) + b"XXX",
        ),
    ),
    (
        "6.10 several CONTINUATION",
        frame(HEADERS, END_STREAM, 3, block(GET)[:9])
        + frame(CONTINUATION, 0, 3, block(GET)[9:20])
        + frame(CONTINUATION, 0, 3)
        + frame(CONTINUATION, END_HEADERS, 3, block(GET)[20:]),
    ),
    ("HPACK table size in its place", frame(HEADERS, BOTH, 3, b"\x20\x3f\xe1\x1f" + block(GET))),
    ("HPACK never-indexed field", frame(HEADERS, BOTH, 3, block(GET) + b"\x10\x01a\x01b")),
    ("HPACK empty value", headers(3, fields(("x", "")))),
    (
        "HPACK dynamic table",
        frame(HEADERS, BOTH, 3, block(GET) + b"\x40\x01a\x01b")
        + frame(HEADERS, BOTH, 5, block(GET) + b"\xbe"),
    ),
]


@pytest.mark.parametrize(("sent", "code"), [row[1:] for row in FATAL], ids=[r[0] for r in FATAL])
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "bytewise"])
def test_error_of_the_connection(sent: bytes, code: str, cut: bool) -> None:
    """GOAWAY with the right code, once, however the bytes are cut; nothing is read after it."""
    peer = Peer()
    frames = []
    for piece in [sent[at : at + 1] for at in range(len(sent))] if cut else [sent]:
        frames += peer.send(piece)
    assert goaways(frames) == [getattr(codes, code)]
    assert not peer.alive()


@pytest.mark.parametrize(("sent", "code"), [row[1:] for row in FAULTS], ids=[r[0] for r in FAULTS])
def test_error_of_a_stream(sent: bytes, code: str | int) -> None:
    """RST_STREAM with the right code; the connection serves on."""
    peer = Peer(hold=True)
    frames = peer.send(sent)
    expected = getattr(codes, code) if isinstance(code, str) else codes.PROTOCOL_ERROR
    assert resets(frames) == [(1, expected)]
    assert goaways(frames) == []
    peer.hold = False
    frames = peer.send(headers(7))
    assert peer.fields(frames, 7)[":status"] == "200"


@pytest.mark.parametrize("sent", [row[1] for row in FINE], ids=[row[0] for row in FINE])
def test_no_error(sent: bytes) -> None:
    """What is allowed, or to be ignored, is neither refused nor in the way."""
    peer = Peer()
    frames = peer.send(sent)
    assert not goaways(frames)
    assert not resets(frames)
    frames = peer.send(headers(9))
    assert peer.fields(frames, 9)[":status"] == "200"
    assert peer.alive()


@pytest.mark.parametrize("late", [frame(DATA, 1, 1, b"x"), headers(1)], ids=["DATA", "HEADERS"])
def test_frame_on_a_closed_stream(late: bytes) -> None:
    """Behind the end of both sides nothing may come but what is on its way (§5.1)."""
    peer = Peer()
    assert resets(peer.send(get())) == []
    assert goaways(peer.send(late)) == [codes.STREAM_CLOSED]


PREFACES = [
    ("other bytes", b"INVALID CONNECTION PREFACE\r\n\r\n"),
    ("a cut preface and a frame", PREFACE[:20] + settings() + bytes(20)),
    ("PING in place of SETTINGS", PREFACE + frame(PING, 0, 0, bytes(8))),
    ("HEADERS in place of SETTINGS", PREFACE + headers(1)),
    ("an acknowledgement in place of SETTINGS", PREFACE + settings(ack=True)),
]


@pytest.mark.parametrize("sent", [row[1] for row in PREFACES], ids=[row[0] for row in PREFACES])
def test_bad_preface(sent: bytes) -> None:
    """A connection that does not begin as it must ends with PROTOCOL_ERROR (§3.4)."""
    assert goaways(Peer(greet=False).send(sent)) == [codes.PROTOCOL_ERROR]


def test_server_preface_comes_first() -> None:
    """The server begins with SETTINGS (§3.4), and acknowledges those of the client (§6.5.3)."""
    peer = Peer(greet=False)
    first, *others = peer.send(PREFACE + settings((3, 100)))
    assert (first.kind, first.flags, first.stream) == (SETTINGS, 0, 0)
    assert [(f.kind, f.flags) for f in others] == [(WINDOW_UPDATE, 0), (SETTINGS, ACK)]


@pytest.mark.parametrize("asked", [True, False])
def test_settings_come_before_a_farewell(asked: bool) -> None:
    """Also where there is a reason for that before the client has said anything (§3.4)."""
    peer = Peer(greet=False)
    if asked:
        peer.protocol.ask_to_leave()
    else:
        peer.protocol.fail(codes.PROTOCOL_ERROR, "too late")
    assert [f.kind for f in peer.read()][:3] == [SETTINGS, WINDOW_UPDATE, GOAWAY]
    frames = peer.send(PREFACE + settings() + headers(1))
    assert [f for f in frames if f.kind == SETTINGS and not f.flags] == []
    assert [f.kind for f in frames] == ([SETTINGS, HEADERS, DATA] if asked else [])


def test_ping_is_echoed() -> None:
    """With the same payload and ACK (§6.7); an acknowledgement is not answered."""
    peer = Peer()
    frames = peer.send(frame(PING, 0, 0, b"12345678") + frame(PING, ACK, 0, b"12345678"))
    assert [(f.kind, f.flags, f.payload) for f in frames] == [(PING, ACK, b"12345678")]


def test_too_many_streams() -> None:
    """Streams above SETTINGS_MAX_CONCURRENT_STREAMS are refused, to be tried again (§5.1.2)."""
    peer = Peer(hold=True)
    frames = peer.send(b"".join(headers(number) for number in range(1, 205, 2)))
    assert resets(frames) == [(201, codes.REFUSED_STREAM), (203, codes.REFUSED_STREAM)]
    assert len(peer.requests) == 100


def test_no_data_beyond_the_windows() -> None:
    """DATA stops where the window of the stream does, and goes on with it (§6.9)."""
    peer = Peer()
    frames = peer.send(settings((4, 3)) + headers(1))
    assert [f.payload for f in frames if f.kind == DATA] == [b"hel"]
    assert [f.payload for f in peer.send(window_update(1, 4)) if f.kind == DATA] == [b"lo, "]
    (last,) = peer.send(window_update(1, 400))
    assert (last.payload, last.flags) == (b"world", END_STREAM)


def test_window_may_become_negative() -> None:
    """A smaller SETTINGS_INITIAL_WINDOW_SIZE takes back what was given (§6.9.2)."""
    peer = Peer()
    peer.send(settings((4, 5)) + headers(1))
    assert peer.send(settings((4, 2))) != []
    assert not [f for f in peer.send(window_update(1, 3)) if f.kind == DATA]  # -3 + 3
    assert [f.payload for f in peer.send(window_update(1, 1)) if f.kind == DATA] == [b","]


def test_window_of_the_connection_bounds_all_streams() -> None:
    """Streams share it, in turn."""
    peer = Peer(hold=True)
    peer.send(settings((4, 1 << 20)) + headers(1) + headers(3))
    for stream in peer.requests:
        peer.answer(stream, body=bytes(60000))
    frames = [f for f in peer.read() if f.kind == DATA]
    assert sum(len(f.payload) for f in frames) == 65535
    assert {f.stream for f in frames} == {1, 3}
    assert max(len(f.payload) for f in frames) <= 16384
    more = [f for f in peer.send(window_update(0, 1 << 20)) if f.kind == DATA]
    assert sum(len(f.payload) for f in more) == 120000 - 65535


def test_windows_of_the_peer_are_filled_again() -> None:
    """A body of any length gets through, and padding is given back too."""
    peer = Peer()
    peer.send(post())
    window = 65535
    left = 3_000_000
    while left:
        size = min(left, 16000, window - 100)
        assert size > 0, "the window was not filled again"
        padded = bytes((99,)) + bytes(size) + bytes(99)
        left -= size
        window -= size + 100
        flags = PADDED | (END_STREAM if not left else 0)
        for f in peer.send(frame(DATA, flags, 1, padded)):
            if f.kind == WINDOW_UPDATE and f.stream == 1:
                window += int.from_bytes(f.payload)
            assert f.kind not in {GOAWAY, RST_STREAM}
    assert len(peer.bodies[1]) == 3_000_000


def test_head_of_many_frames() -> None:
    """A response head above the frame size is sent as HEADERS and CONTINUATION (§4.3)."""
    peer = Peer(hold=True)
    peer.send(headers(1))
    fields = [(f"x-{number}", "v" * 3000) for number in range(10)]
    peer.answer(peer.requests[0], fields=fields)
    frames = peer.read()
    assert [f.kind for f in frames] == [HEADERS, CONTINUATION, DATA]
    assert [f.flags for f in frames] == [0, END_HEADERS, END_STREAM]


def test_goaway_names_the_last_stream() -> None:
    """GOAWAY says what was looked at; what follows it is not read (§6.8)."""
    peer = Peer()
    frames = peer.send(headers(5) + frame(PING, 0, 0, b"x") + headers(7))
    (last,) = [f for f in frames if f.kind == GOAWAY]
    assert int.from_bytes(last.payload[:4]) == 5
    assert [stream.id for stream in peer.requests] == [5]
