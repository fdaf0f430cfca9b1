"""A client that sends exactly the frames it is given, and reads what comes back as frames."""

from dataclasses import dataclass

import hpack

from nogilserve.messages import Limits
from nogilserve.protocols.http1 import Tables
from nogilserve.protocols.http2 import (
    BODY,
    END,
    REFUSED,
    REQUEST,
    Event,
    Http2Connection,
    Response,
    ResponseTables,
    Stream,
    refusal,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = range(8)
WINDOW_UPDATE, CONTINUATION = 8, 9
END_STREAM = ACK = 1
END_HEADERS, PADDED, WITH_PRIORITY = 4, 8, 0x20

GET = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "h")]
POST = [(":method", "POST"), *GET[1:]]

BODY_SENT = b"hello, world"


@dataclass(frozen=True)
class Frame:
    """A frame, taken apart."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """The error code of RST_STREAM or GOAWAY."""
        return int.from_bytes(self.payload[-4:] if self.kind == RST_STREAM else self.payload[4:8])


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """The bytes of a frame."""
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def parse(data: bytes) -> list[Frame]:
    """The frames in `data`, which holds whole ones only."""
    frames = []
    while data:
        size = int.from_bytes(data[:3])
        number = int.from_bytes(data[5:9]) & 0x7FFFFFFF
        assert len(data) >= 9 + size
        frames.append(Frame(data[3], data[4], number, data[9 : 9 + size]))
        data = data[9 + size :]
    return frames


def block(fields: list[tuple[str, str]]) -> bytes:
    """A field section in literals, which depends on nothing before it."""
    out = b""
    for name, value in fields:
        raw_name, raw_value = name.encode("latin-1"), value.encode("latin-1")
        out += b"\0" + bytes(hpack.hpack.encode_integer(len(raw_name), 7)) + raw_name
        out += bytes(hpack.hpack.encode_integer(len(raw_value), 7)) + raw_value
    return out


def headers(
    stream: int, fields: list[tuple[str, str]] = GET, flags: int = END_STREAM | END_HEADERS
) -> bytes:
    """A HEADERS frame."""
    return frame(HEADERS, flags, stream, block(fields))


def settings(*pairs: tuple[int, int], ack: bool = False) -> bytes:
    """A SETTINGS frame."""
    payload = b"".join(key.to_bytes(2) + value.to_bytes(4) for key, value in pairs)
    return frame(SETTINGS, ACK if ack else 0, 0, payload)


def window_update(stream: int, count: int) -> bytes:
    """A WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream, count.to_bytes(4))


class Peer:
    """A client of a server that answers each complete request with `BODY_SENT`.

    `hold`: requests are not answered; `greet`: the preface and SETTINGS are exchanged first.
    """

    def __init__(
        self,
        *,
        hold: bool = False,
        greet: bool = True,
        limits: Limits | None = None,
        websockets: bool = False,
    ) -> None:
        self.protocol = Http2Connection(limits or Limits(), websockets=websockets)
        self.tables = ResponseTables(Tables())
        self.hold = hold
        self.now = 0.0
        self.requests: list[Stream] = []
        self.bodies: dict[int, bytes] = {}
        self.events: list[Event] = []
        self._decoder = hpack.Decoder()
        if greet:
            self.send(PREFACE + settings() + settings(ack=True))

    def send(self, data: bytes) -> list[Frame]:
        """Send bytes; the frames that come back."""
        events = self.protocol.receive(data, self.now)
        self.events += events
        for kind, stream, payload in events:
            if kind == REQUEST:
                self.requests.append(stream)
            elif kind == BODY:
                assert isinstance(payload, bytes)
                self.bodies[stream.id] = self.bodies.get(stream.id, b"") + payload
                self.protocol.credit(stream, len(payload))
            elif kind == REFUSED:
                self.answer(stream, *refusal(payload))  # type: ignore[arg-type]
                self.protocol.stop_receiving(stream)
            if not self.hold and (kind == END or (kind == REQUEST and stream.ended)):
                self.answer(stream)
        return self.read()

    def read(self) -> list[Frame]:
        """What the server has to send."""
        data = b""
        while out := self.protocol.take(1 << 16):
            data += b"".join(out)  # type: ignore[arg-type]
        return parse(data)

    def answer(
        self,
        stream: Stream,
        status: str = "200 OK",
        fields: list[tuple[str, str]] | None = None,
        body: bytes = BODY_SENT,
    ) -> None:
        """Respond to a request."""
        response = Response(self.tables)
        response.prepare(status, fields or [])
        assert stream.request is not None
        head, wanted = response.whole(stream.request, len(body), b"Server: t\r\n")
        self.protocol.respond(stream, head, body if wanted else b"")

    def fields(self, frames: list[Frame], stream: int = 1) -> dict[str, str]:
        """The fields of the HEADERS of a stream."""
        wanted = [frame for frame in frames if frame.kind == HEADERS and frame.stream == stream]
        return dict(self._decoder.decode(wanted[0].payload))  # type: ignore[arg-type]

    def alive(self) -> bool:
        """Whether a PING is answered."""
        frames = self.send(frame(PING, 0, 0, b"are you "))
        return any(f.kind == PING and f.flags == ACK and f.payload == b"are you " for f in frames)


def goaways(frames: list[Frame]) -> list[int]:
    """The codes of GOAWAY frames."""
    return [frame.code for frame in frames if frame.kind == GOAWAY]


def resets(frames: list[Frame]) -> list[tuple[int, int]]:
    """Stream and code of RST_STREAM frames."""
    return [(frame.stream, frame.code) for frame in frames if frame.kind == RST_STREAM]
