"""The client's side, made by hand: frames of any kind, and replaying them in any pieces."""

import zlib
from collections.abc import Iterable, Sequence
from itertools import pairwise

from nogilserve.messages import Limits
from nogilserve.protocols.http1 import Http1Connection
from nogilserve.protocols.websocket import CLOSED, Closed, Handshake, WebSocketConnection

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ORDINARY = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}
MASK = b"\x11\x92\xf3\x54"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

Message = str | bytes | Closed


def http(*extra: str, **changed: str | None) -> Http1Connection:
    """An HTTP connection that has read a handshake. `changed` replaces ordinary fields, by names
    with underscores, or takes them away (None), `start` the request line; `extra` are further
    field lines."""
    lines = [changed.pop("start", None) or "GET /chat HTTP/1.1", "Host: a"]
    fields = ORDINARY | {name.replace("_", "-"): value for name, value in changed.items()}
    lines += [f"{name}: {value}" for name, value in fields.items() if value is not None]
    connection = Http1Connection(Limits())
    connection.receive_data("\r\n".join([*lines, *extra, "", ""]).encode("latin-1"))
    return connection


def handshake(*extra: str, **changed: str | None) -> Handshake:
    """The handshake of such a request."""
    request = http(*extra, **changed).next_request()
    assert request is not None
    return Handshake(request)


def opened(max_size: int = 1 << 20, deflate: str = "") -> WebSocketConnection:
    """A connection; `deflate` is the client's offer, "" for none."""
    extra = [f"Sec-WebSocket-Extensions: {deflate}"] if deflate else []
    made = handshake(*extra)
    _, connection = made.accept(None, [], deflate=bool(deflate), max_size=max_size)
    return connection


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = MASK,
    length: bytes | None = None,
) -> bytes:
    """A frame of a client. `length` is written instead of the right one: 1, 3 or 9 bytes of which
    the first has no mask bit."""
    size = len(payload)
    if length is None:
        if size < 126:
            length = bytes((size,))
        elif size < 65536:
            length = b"\x7e" + size.to_bytes(2)
        else:
            length = b"\x7f" + size.to_bytes(8)
    head = bytes((fin << 7 | rsv << 4 | opcode, length[0] | (0 if mask is None else 0x80)))
    if mask is None:
        return head + length[1:] + payload
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return head + length[1:] + mask + masked


def fragments(opcode: int, pieces: Sequence[bytes], *, rsv: int = 0) -> list[bytes]:
    """A message in several frames."""
    last = len(pieces) - 1
    return [
        frame(CONTINUATION if at else opcode, piece, fin=at == last, rsv=0 if at else rsv)
        for at, piece in enumerate(pieces)
    ]


class Compressor:
    """The client's half of permessage-deflate."""

    def __init__(self, bits: int = 15, *, keeps: bool = True) -> None:
        self.bits = bits
        self.keeps = keeps
        self.stream = zlib.compressobj(wbits=-bits)

    def compress(self, data: bytes) -> bytes:
        """The payload of a message (RFC 7692 §7.2.1)."""
        if not self.keeps:
            self.stream = zlib.compressobj(wbits=-self.bits)
        out = self.stream.compress(data) + self.stream.flush(zlib.Z_SYNC_FLUSH)
        return out[:-4] or b"\x00"


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """`data` in pieces, none of them empty."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(edges)]


def drain(connection: WebSocketConnection) -> list[Message]:
    """Every message that can be had now; Closed comes once."""
    got: list[Message] = []
    while (message := connection.next_message()) is not None:
        got.append(message)
        if isinstance(message, Closed):
            break
    return got


def replay(connection: WebSocketConnection, pieces: Iterable[bytes]) -> tuple[list[Message], bytes]:
    """What a connection makes of the bytes: its messages, and what it wants to send."""
    got: list[Message] = []
    sent = b""
    for piece in pieces:
        connection.receive_data(piece)
        if not (got and isinstance(got[-1], Closed)):
            got += drain(connection)
        sent += connection.data_to_send()
    return got, sent


def close_sent(data: bytes) -> int:
    """The code of the Close frame of the server that ends `data`."""
    at = data.rindex(b"\x88")
    assert data[at + 1] == len(data) - at - 2 <= 125
    return int.from_bytes(data[at + 2 : at + 4])


def failure(*frames: bytes, max_size: int = 1 << 20) -> int:
    """The code with which the frames are refused: told to the peer, and to the application."""
    connection = opened(max_size)
    got, sent = replay(connection, frames)
    assert connection.closed is not None
    assert connection.state == CLOSED
    assert got[-1] == connection.closed
    code = close_sent(sent)
    assert code == connection.close_code
    # Nothing behind the faulty bytes is read.
    connection.receive_data(frame(TEXT, b"behind"))
    assert drain(connection) == [connection.closed]
    assert connection.data_to_send() == b""
    return code
