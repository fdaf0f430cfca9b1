"""The server side of an HTTP/2 connection, sans-IO (RFC 9113): bytes in, events out; responses in,
bytes out.

What a peer sends is judged frame by frame. An error of the connection ends it with GOAWAY, one of a
stream ends that with RST_STREAM; which is which, and with what code, is said where it is found.
"""

from typing import Final

from nogilserve.errors import ProtocolError
from nogilserve.messages import Headers, Limits, Request
from nogilserve.protocols.http1.upgrade import settings_told
from nogilserve.protocols.http2 import codes
from nogilserve.protocols.http2.control import Control
from nogilserve.protocols.http2.faults import Fatal, StreamFault
from nogilserve.protocols.http2.fieldcoding import BrokenFields, FieldReader, TooManyFields
from nogilserve.protocols.http2.request import (
    Malformed,
    build_request,
    check_trailers,
    most_of,
    translated,
)
from nogilserve.protocols.http2.stream import Stream

__all__ = ["BODY", "END", "REFUSED", "REQUEST", "RESET", "Event", "Http2Connection"]

# Kinds of events.
REQUEST: Final = 0
"""A request has begun; with b"" it is complete, else its body follows in events of its own."""
BODY: Final = 1
"""A piece of a body; give it back with `credit` once it is taken."""
END: Final = 2
"""The body is complete."""
RESET: Final = 3
"""The stream is over, nobody can be answered on it."""
REFUSED: Final = 4
"""A request that is to be answered with the ProtocolError."""

Event = tuple[int, Stream, bytes | ProtocolError | None]

_MOST_STREAMS: Final = 100
_MOST_CONTINUATIONS: Final = 64
"""Frames of one field section; the largest one we take needs a few."""
_GROWN_WINDOW: Final = 1 << 18
"""Bytes of the window of a stream whose body is longer than the first window."""
_CONNECTION_WINDOW: Final = 1 << 20
_CREDIT: Final = 1 << 15
"""Bytes that are given back together."""
_MOST_KEPT: Final = 64
_LONGEST_KEPT: Final = 1024
_LOGGED: Final = 2048
"""Characters of the target of a refused request that the log is told."""
_MOST_GAPS: Final = 64
_HTTP1_LINE: Final = 8190
_SWITCHING: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
)
_ONLY_HTTP2: Final = (
    b"HTTP/1.1 505 HTTP Version Not Supported\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Content-Length: 61\r\n\r\n505 HTTP Version Not Supported: only HTTP/2 is spoken here.\r\n"
)


class Http2Connection(Control):
    """Owner: whoever owns the connection. Where several threads use it, each call is made under one
    lock; nothing here blocks.

    After any call there may be bytes to send: `take`.
    """

    __slots__ = (
        "_announced",
        "_block",
        "_block_ends",
        "_block_frames",
        "_block_loops",
        "_block_stream",
        "_buffer",
        "_cached",
        "_fields",
        "_first",
        "_gaps",
        "_host",
        "_limits",
        "_receive_window",
        "websockets",
    )

    def __init__(self, limits: Limits, *, websockets: bool = False) -> None:
        """`websockets`: extended CONNECT is announced (RFC 8441 §3)."""
        Control.__init__(self)
        self._limits = limits
        self.websockets = websockets
        self._announced = False
        """Our side of the preface was sent."""
        self._buffer = b""
        self._first = 2
        """What has to come before anything else: 2 the preface, 1 the first SETTINGS."""
        self._fields = FieldReader(limits.head * 4)
        self._cached: dict[bytes, Request] = {}
        """Field sections that mean the same again as long as the table is not changed."""
        self._block: bytearray | None = None
        """A field section that is not complete."""
        self._block_stream = 0
        self._block_ends = self._block_loops = False
        self._block_frames = 0
        self._host = ""
        """The last authority that was found valid: a client keeps sending the same one."""
        self._gaps: list[tuple[int, int]] = []
        """Numbers that were passed over: streams that never were."""
        self._receive_window = codes.DEFAULT_WINDOW

    def _announce(self) -> None:
        """Our side of the preface (§3.4), once it is clear that the client speaks HTTP/2, or that
        we have something to say."""
        if self._announced:
            return
        self._announced = True
        pairs = [
            (codes.MAX_CONCURRENT_STREAMS, _MOST_STREAMS),
            (codes.MAX_HEADER_LIST_SIZE, self._limits.head),
            (codes.NO_RFC7540_PRIORITIES, 1),
        ]
        if self.websockets:
            pairs.append((codes.ENABLE_CONNECT_PROTOCOL, 1))
        payload = b"".join(key.to_bytes(2) + value.to_bytes(4) for key, value in pairs)
        self.put(b"%b\x04\0\0\0\0\0%b" % (len(payload).to_bytes(3), payload))
        more = _CONNECTION_WINDOW - codes.DEFAULT_WINDOW
        self._receive_window += more
        self.put(codes.window_update(0, more))

    def upgrade(self, request: Request) -> Stream | None:
        """Begin with the request of HTTP/1 that asked for it, as stream 1 (RFC 7540 §3.2). None:
        what it says of its SETTINGS is wrong, and the connection ends."""
        self.put(_SWITCHING)
        self._announce()
        self.last_stream = 1
        try:
            self._apply_settings(settings_told(request) or b"")
        except Fatal as failure:
            self.fail(failure.code, failure.reason)
            return None
        stream = Stream(1, self.initial_window)
        stream.request = translated(request)
        stream.ended = True
        self.streams[1] = stream
        return stream

    def ask_to_leave(self) -> None:
        """As of Control; nothing may come before our SETTINGS (§3.4)."""
        self._announce()
        Control.ask_to_leave(self)

    def fail(self, code: int, reason: str) -> None:
        """As of Control."""
        self._announce()
        Control.fail(self, code, reason)

    # ---- receiving

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take bytes of the peer at `now` (seconds of any clock); what they mean, in order. With
        `failure` set nothing is read any more."""
        events: list[Event] = []
        if self.failure is not None:
            return events
        buffer = self._buffer + data if self._buffer else data
        at = 0
        try:
            if self._first == 2:
                at = self._read_preface(buffer)
                if at < 0:
                    self._buffer = buffer
                    return events
            size = len(buffer)
            while size - at >= 9:
                head = int.from_bytes(buffer[at : at + 9])
                length = head >> 48
                if length > 16384:
                    raise Fatal(codes.FRAME_SIZE_ERROR, "frame above SETTINGS_MAX_FRAME_SIZE")
                end = at + 9 + length
                if end > size:
                    if self._first:
                        self._require_settings(head)
                    break
                payload = buffer[at + 9 : end]
                at = end
                try:
                    self._frame(
                        head >> 40 & 0xFF,
                        head >> 32 & 0xFF,
                        head & 0x7FFFFFFF,
                        payload,
                        now,
                        events,
                    )
                except StreamFault as fault:
                    self._fault(fault, now, events)
            self._buffer = buffer[at:]
        except Fatal as failure:
            self._buffer = b""
            self._block = None
            if failure.reason:
                self.fail(failure.code, failure.reason)
            else:
                self.failure = failure
        return events

    def _read_preface(self, buffer: bytes) -> int:
        """Where the frames begin, -1 if that is not there yet."""
        preface = codes.PREFACE
        if len(buffer) < len(preface):
            if preface.startswith(buffer):
                return -1
        elif buffer.startswith(preface):
            self._first = 1
            self._announce()
            return len(preface)
        if b" HTTP/1." in buffer[:_HTTP1_LINE]:
            self.put(_ONLY_HTTP2)  # in words that such a client can read
            raise Fatal(codes.HTTP_1_1_REQUIRED, "")
        raise Fatal(codes.PROTOCOL_ERROR, "not the connection preface of HTTP/2")

    @property
    def head_open(self) -> bool:
        """Whether the preface or a field section has begun and is not complete."""
        return self._first > 0 or self._block is not None

    def _require_settings(self, head: int) -> None:
        if head >> 40 & 0xFF != codes.SETTINGS or head >> 32 & codes.ACK:
            raise Fatal(codes.PROTOCOL_ERROR, "the first frame must be SETTINGS (RFC 9113 §3.4)")

    def _frame(
        self, kind: int, flags: int, number: int, payload: bytes, now: float, events: list[Event]
    ) -> None:
        if self._block is not None and (kind != 9 or number != self._block_stream):
            raise Fatal(codes.PROTOCOL_ERROR, "frame inside a field section (RFC 9113 §6.10)")
        if self._first:
            self._require_settings(kind << 40 | flags << 32)
            self._first = 0
        if kind == 0:
            self._on_data(flags, number, payload, now, events)
        elif kind == 1:
            self._on_headers(flags, number, payload, now, events)
        elif kind == 8:
            self._on_window_update(number, payload, now)
        elif kind == 9:
            self._on_continuation(flags, number, payload, now, events)
        elif kind == 3:
            stream = self._on_rst_stream(number, payload, now)
            if stream is not None:
                events.append((RESET, stream, None))
        else:
            self._control(kind, flags, number, payload, now)

    def _fault(self, fault: StreamFault, now: float, events: list[Event]) -> None:
        """End a stream because of the peer's mistake."""
        stream = self.streams.get(fault.stream)
        if not self._resets.spend(now):
            raise Fatal(codes.ENHANCE_YOUR_CALM, "too many streams had to be reset")
        self.put(codes.rst_stream(fault.stream, fault.code))
        self._remember_reset(fault.stream, ours=True)
        if stream is not None:
            self.drop(stream)
            events.append((RESET, stream, None))

    # ---- DATA

    def _on_data(
        self, flags: int, number: int, payload: bytes, now: float, events: list[Event]
    ) -> None:
        if not number:
            raise Fatal(codes.PROTOCOL_ERROR, "DATA on stream 0 (RFC 9113 §6.1)")
        size = len(payload)
        if size > self._receive_window:
            raise Fatal(codes.FLOW_CONTROL_ERROR, "more DATA than the connection's window")
        if flags & 8:
            payload = _unpadded(payload, 0)
        # The window of the connection is given back at once: what bounds memory are those of the
        # streams, and one that is not read must not stop the others.
        self._receive_window -= size
        if self._receive_window < _CONNECTION_WINDOW // 2:
            more = _CONNECTION_WINDOW - self._receive_window
            self._receive_window += more
            self.put(codes.window_update(0, more))
        stream = self.streams.get(number)
        if stream is None:
            error = self._closed(number, "DATA")
            if error is not None:
                raise error
            self._glitch(now, "late DATA")
            return
        if stream.ended:
            raise StreamFault(number, codes.STREAM_CLOSED, "DATA behind END_STREAM")
        if size > stream.receive_window:
            raise StreamFault(number, codes.FLOW_CONTROL_ERROR, "more DATA than the window")
        stream.receive_window -= size
        if stream.unwanted:
            stream.ended = bool(flags & 1)
            self.end_if_done(stream)
            return
        if size > len(payload):
            stream.credit += size - len(payload)
        if not payload and not flags & 1:
            self._glitch(now, "empty DATA")
            return
        self._on_body(stream, payload, bool(flags & 1), events)

    def _on_body(self, stream: Stream, payload: bytes, ends: bool, events: list[Event]) -> None:
        stream.received += len(payload)
        expected = stream.expected
        if expected >= 0 and (stream.received > expected or (ends and stream.received < expected)):
            raise StreamFault(stream.id, codes.PROTOCOL_ERROR, "content-length does not fit")
        stream.ended = ends
        if stream.received > stream.most > 0 and expected < 0:
            stream.expected = 0  # once only
            error = ProtocolError(413, "request body too large", "RFC 9110 §15.5.14")
            events.append((REFUSED, stream, error))
        elif payload:
            events.append((BODY, stream, payload))
        if ends:
            events.append((END, stream, None))
            self.end_if_done(stream)

    def credit(self, stream: Stream, count: int) -> None:
        """So many bytes of the body were taken: the peer may send as many more."""
        stream.credit += count
        if stream.credit < _CREDIT or stream.ended or stream.gone:
            return
        more = stream.credit
        if not stream.grown:
            # A long body: let it flow. Once only: what is not taken must not be given back.
            stream.grown = True
            more += _GROWN_WINDOW - codes.DEFAULT_WINDOW
        stream.credit = 0
        stream.receive_window += more
        self.put(codes.window_update(stream.id, more))

    # ---- HEADERS, CONTINUATION

    def _on_headers(
        self, flags: int, number: int, payload: bytes, now: float, events: list[Event]
    ) -> None:
        if not number:
            raise Fatal(codes.PROTOCOL_ERROR, "HEADERS on stream 0 (RFC 9113 §6.2)")
        depends = -1
        if flags & 0x28:
            if flags & codes.WITH_PRIORITY:
                start = flags >> 3 & 1
                if len(payload) < start + 5:
                    raise Fatal(codes.FRAME_SIZE_ERROR, "HEADERS too short for its flags")
                depends = int.from_bytes(payload[start : start + 4]) & 0x7FFFFFFF
            payload = _unpadded(payload, 5 * (flags >> 5 & 1)) if flags & 8 else payload[5:]
        if number not in self.streams and (number <= self.last_stream or not number & 1):
            error = self._old_number(number)
            if isinstance(error, Fatal):
                raise error
        loops = depends == number
        if flags & 4:
            self._on_fields(number, payload, bool(flags & 1), loops, now, events)
            return
        self._block = bytearray(payload)
        self._block_stream = number
        self._block_ends = bool(flags & 1)
        self._block_loops = loops
        self._block_frames = 0

    def _old_number(self, number: int) -> Exception | None:
        """As `_closed`, for HEADERS, which open what is idle: with an odd number, each higher than
        the one before (§5.1.1)."""
        if not number & 1:
            return Fatal(codes.PROTOCOL_ERROR, "stream with an even number (RFC 9113 §5.1.1)")
        if any(low <= number <= high for low, high in self._gaps):
            return Fatal(codes.PROTOCOL_ERROR, "stream number is not higher (RFC 9113 §5.1.1)")
        return self._closed(number, "HEADERS")

    def _on_continuation(
        self, flags: int, number: int, payload: bytes, now: float, events: list[Event]
    ) -> None:
        block = self._block
        if block is None:
            raise Fatal(codes.PROTOCOL_ERROR, "CONTINUATION without HEADERS (RFC 9113 §6.10)")
        self._block_frames += 1
        if self._block_frames > _MOST_CONTINUATIONS or len(block) > 4 * self._limits.head:
            raise Fatal(codes.ENHANCE_YOUR_CALM, "field section too large")
        block += payload
        if flags & 4:
            self._block = None
            self._on_fields(number, bytes(block), self._block_ends, self._block_loops, now, events)

    def _on_fields(
        self,
        number: int,
        block: bytes,
        ends: bool,
        loops: bool,
        now: float,
        events: list[Event],
    ) -> None:
        """A field section is complete: a new request, or trailers."""
        request = self._cached.get(block) if ends else None
        fields: Headers = []
        if request is None or number <= self.last_stream:
            fields = self._decode(block)
            request = None
        stream = self.streams.get(number)
        if loops:
            self.last_stream = max(number, self.last_stream)
            raise StreamFault(number, codes.PROTOCOL_ERROR, "stream depends on itself")
        if stream is not None:
            self._on_trailers(stream, fields, ends, events)
            return
        last = self.last_stream
        if number <= last:
            error = self._old_number(number)
            if error is not None:
                raise error
            self._glitch(now, "late HEADERS")
            return
        if number > last + 2:
            if len(self._gaps) >= _MOST_GAPS:
                del self._gaps[0]
            self._gaps.append((last + 1, number - 1))
        self.last_stream = number
        if self.refusing or len(self.streams) >= _MOST_STREAMS:
            raise StreamFault(number, codes.REFUSED_STREAM, "too many streams")
        stream = Stream(number, self.initial_window)
        stream.ended = ends
        try:
            if request is None:
                request = build_request(
                    fields,
                    self._limits,
                    ended=ends,
                    websockets=self.websockets,
                    host=self._host,
                )
                self._host = request.authority
                if ends and not self._fields.changed and len(block) <= _LONGEST_KEPT:
                    self._keep(block, request)
        except Malformed as exc:
            raise StreamFault(number, codes.PROTOCOL_ERROR, f"{exc}") from None
        except ProtocolError as error:
            self.streams[number] = stream
            stream.request = noted(fields)
            events.append((REFUSED, stream, error))
            return
        self.streams[number] = stream
        stream.request = request
        if not request.upgrade:  # a WebSocket has no body; its messages have their own limit
            stream.most = most_of(request.authority, request.path, self._limits)
        if not ends and not request.upgrade and request.body >= 0:
            stream.expected = request.body
        events.append((REQUEST, stream, b"" if ends else None))

    def _decode(self, block: bytes) -> Headers:
        try:
            fields = self._fields.read(block)
        except BrokenFields as exc:
            raise Fatal(codes.COMPRESSION_ERROR, f"{exc}") from None
        except TooManyFields:
            raise Fatal(codes.ENHANCE_YOUR_CALM, "field section too large") from None
        if self._fields.changed:
            self._cached.clear()
        return fields

    def _keep(self, block: bytes, request: Request) -> None:
        """Remember what a field section stands for: clients repeat themselves."""
        if len(self._cached) >= _MOST_KEPT:
            self._cached.clear()
        request.kept = True
        self._cached[block] = request

    def _on_trailers(
        self, stream: Stream, fields: Headers, ends: bool, events: list[Event]
    ) -> None:
        if stream.ended:
            raise StreamFault(stream.id, codes.STREAM_CLOSED, "HEADERS behind END_STREAM")
        if not ends:
            raise StreamFault(stream.id, codes.PROTOCOL_ERROR, "trailers without END_STREAM")
        try:
            check_trailers(fields, self._limits)
        except Malformed as exc:
            raise StreamFault(stream.id, codes.PROTOCOL_ERROR, f"{exc}") from None
        if stream.unwanted:  # nor was what is missing counted
            stream.ended = True
            self.end_if_done(stream)
            return
        self._on_body(stream, b"", True, events)


def _unpadded(payload: bytes, skip: int) -> bytes:
    """The payload of a padded frame without its padding (§6.1), and without `skip` bytes of other
    fields in front."""
    if not payload:
        raise Fatal(codes.FRAME_SIZE_ERROR, "padded frame without its length of padding")
    end = len(payload) - payload[0]
    if end < 1 + skip:
        raise Fatal(codes.PROTOCOL_ERROR, "padding is longer than the frame (RFC 9113 §6.1)")
    return payload[1 + skip : end]


def noted(fields: Headers) -> Request:
    """What a refused request looked like, for the log and for its answer."""
    told = dict(fields)
    headers = [field for field in fields if field[0][:1] != ":"]
    method, target = told.get(":method", ""), told.get(":path", "")[:_LOGGED]
    return Request(method, target, "", "", 2, headers, "", 0, True, False, "")
