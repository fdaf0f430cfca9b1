"""Properties: cuts do not matter, wsproto's client understands us, wsproto's server agrees."""

from itertools import chain, pairwise

import wsproto.events
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.extensions import PerMessageDeflate

from nogilserve.protocols.websocket import Closed
from tests.protocols.websocket.peer import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Compressor,
    Message,
    cut,
    fragments,
    frame,
    handshake,
    opened,
    replay,
)

OFFER = "permessage-deflate; client_max_window_bits"
LIMIT = 5000

TEXTS = st.text(max_size=40) | st.integers(0, LIMIT).map(lambda size: "x" * size)
MESSAGES = st.lists(TEXTS | TEXTS.map(lambda text: text.encode()), max_size=6)
CUTS = st.lists(st.integers(0, 1 << 16), max_size=12)


def raw(message: str | bytes) -> bytes:
    """The content of a message as it is sent."""
    return message.encode() if isinstance(message, str) else message


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Message], bytes, bytes]:
    """Messages, their bytes (fragmented, compressed, with control frames between), and the pongs
    that they call for."""
    messages = draw(MESSAGES)
    packer = Compressor(12)
    frames: list[bytes] = []
    pongs = b""
    for message in messages:
        opcode = TEXT if isinstance(message, str) else BINARY
        data = raw(message)
        rsv = draw(st.sampled_from([0, 4]))
        if rsv:
            data = packer.compress(data)
        places = draw(st.none() | st.lists(st.integers(0, len(data)), max_size=4).map(sorted))
        if places is None:
            frames.append(
                frame(opcode, data, rsv=rsv, mask=draw(st.binary(min_size=4, max_size=4)))
            )
            continue
        edges = [0, *places, len(data)]
        pieces = [data[a:b] for a, b in pairwise(edges)]
        for piece in fragments(opcode, pieces, rsv=rsv):
            if draw(st.booleans()):
                frames.append(frame(draw(st.sampled_from([PING, PONG])), b"p"))
                pongs += b"\x8a\x01p" if frames[-1][0] == 0x89 else b""
            frames.append(piece)
    return list(messages), b"".join(frames), pongs


@given(streams(), CUTS)
def test_cuts_do_not_matter(stream: tuple[list[Message], bytes, bytes], places: list[int]) -> None:
    """However the bytes arrive, the messages and pongs are those that were sent."""
    messages, data, pongs = stream
    closing = frame(CLOSE, b"\x03\xe8bye")
    got, sent = replay(opened(LIMIT * 4, OFFER), cut(data + closing, places))
    assert got == [*messages, Closed(1000, "bye")]
    assert sent == pongs + b"\x88\x02\x03\xe8"


@settings(max_examples=30)
@given(streams())
def test_single_bytes(stream: tuple[list[Message], bytes, bytes]) -> None:
    """Byte by byte as well."""
    messages, data, _ = stream
    data = data[:4000]
    expected, _ = replay(opened(LIMIT * 4, OFFER), cut(data, []))
    assert messages[: len(expected)] == expected
    got, _ = replay(opened(LIMIT * 4, OFFER), [data[at : at + 1] for at in range(len(data))])
    assert got == expected


@given(st.booleans(), MESSAGES, MESSAGES, CUTS, st.booleans())
def test_wsproto_client(
    deflate: bool,
    ours: list[str | bytes],
    theirs: list[str | bytes],
    places: list[int],
    fragmented: bool,
) -> None:
    """A conversation with wsproto's client, compressed or not, up to the closing handshake."""
    extension = PerMessageDeflate()
    offer = f"permessage-deflate; {extension.offer()}" if deflate else "x"
    made = handshake(f"Sec-WebSocket-Extensions: {offer}")
    fields, server = made.accept(None, [], deflate=True, max_size=LIMIT * 4)
    agreed = dict(fields).get("Sec-WebSocket-Extensions")
    assert (agreed is not None) is deflate
    if agreed is not None:
        extension.finalize(agreed)
    client = Connection(ConnectionType.CLIENT, [extension] if deflate else [])

    def event(data: str | bytes, finished: bool = True) -> wsproto.events.Event:
        if isinstance(data, str):
            return wsproto.events.TextMessage(data=data, message_finished=finished)
        return wsproto.events.BytesMessage(data=data, message_finished=finished)

    sent = []
    for message in theirs:
        if fragmented:
            half = len(message) // 2
            sent += [event(message[:half], finished=False), event(message[half:])]
        else:
            sent.append(event(message))
    data = b"".join(client.send(one) for one in [*sent, wsproto.events.Ping(payload=b"p")])
    got, pong = replay(server, cut(data, places))
    assert got == theirs
    assert [type(message) for message in got] == [type(message) for message in theirs]
    answers = [
        server.send_text(one) if isinstance(one, str) else server.send_bytes(one) for one in ours
    ]
    client.receive_data(b"".join([pong, *answers, server.close(4000, "end")]))
    events = list(client.events())
    assert [one.data for one in events if isinstance(one, wsproto.events.Message)] == ours
    assert isinstance(events[0], wsproto.events.Pong)
    assert isinstance(events[-1], wsproto.events.CloseConnection)
    assert (events[-1].code, events[-1].reason) == (4000, "end")
    assert replay(server, [client.send(events[-1].response())])[0] == [Closed(4000, "end")]


def judged_by_wsproto(data: bytes) -> list[Message]:
    """What wsproto's server makes of a stream: complete messages, and the end."""
    server = Connection(ConnectionType.SERVER, [])
    server.receive_data(data)
    got: list[Message] = []
    parts: list[str | bytes] = []
    for event in server.events():
        if isinstance(event, wsproto.events.Message):
            parts.append(event.data)
            if event.message_finished:
                text = isinstance(event.data, str)
                joined = b"".join(raw(part) for part in parts)
                got.append(joined.decode() if text else joined)
                parts = []
        elif isinstance(event, wsproto.events.CloseConnection):
            got.append(Closed(int(event.code), ""))
            break
    return got


FRAMES = st.builds(
    frame,
    st.sampled_from([0, 0, 1, 1, 2, 2, 8, 9, 10, 3, 11]),
    st.binary(max_size=6)
    | st.text(max_size=6).map(lambda text: text.encode())
    | st.sampled_from([b"\x03\xe8", b"\x03\xe8ok", b"\x03\xec", b"\x03\xe8\xff", b"a" * 126])
    | st.integers(0, 70_000).map(lambda size: b"b" * size),
    fin=st.sampled_from([True, True, True, False]),
    rsv=st.sampled_from([0] * 9 + [4, 2, 1]),
    mask=st.binary(min_size=4, max_size=4) | st.sampled_from([bytes(4)] * 8 + [None]),
)


@settings(max_examples=300)
@given(st.lists(FRAMES, max_size=8), CUTS, st.lists(st.integers(0, 1 << 20), max_size=2))
@example([frame(TEXT, b"\xe2", fin=False), frame(PING, b""), frame(0, b"\x82\xac")], [3], [])
def test_wsproto_server_agrees(frames: list[bytes], places: list[int], flips: list[int]) -> None:
    """On frames legal and illegal, some bits flipped, the verdict is that of wsproto alone."""
    data = bytearray(b"".join(frames))
    for flip in flips:
        if data:
            data[(flip >> 3) % min(len(data), 40)] ^= 1 << (flip & 7)
    expected = judged_by_wsproto(bytes(data))
    connection = opened(1 << 63)
    got, _ = replay(connection, cut(bytes(data), places))
    bare: list[Message] = [Closed(end.code, "") if isinstance(end, Closed) else end for end in got]
    if bare[-1:] == [Closed(1014, "")]:
        return  # registered, but wsproto does not know it
    if connection.closed is None and connection.buffered and expected[-1:] == [Closed(1007, "")]:
        expected.pop()  # text is looked at when its frame is complete
    early = got and isinstance(got[-1], Closed) and got[-1].reason.startswith("unexpected frame")
    if early and not (expected and isinstance(expected[-1], Closed)):
        expected.append(Closed(1002, ""))  # wsproto says so when the frame is complete
    assert bare == expected


@given(st.binary(max_size=300), CUTS)
def test_noise(data: bytes, places: list[int]) -> None:
    """Any bytes at all: no exception, and the same with every cut."""
    for offer in ("", OFFER):
        whole, _ = replay(opened(100, offer), [data, b""])
        pieces, _ = replay(opened(100, offer), chain(cut(data, places), [b""]))
        assert whole == pieces
        assert isinstance(whole[-1], Closed)
