"""The sans-IO protocol with a client and an application around it."""

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
from tests.support.http2 import ACK, HEADERS, PING, PREFACE, Frame, frame, parse, settings

BODY_SENT = b"hello, world"


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
