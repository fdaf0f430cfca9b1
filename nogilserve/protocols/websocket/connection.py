"""The server side of an open WebSocket connection, sans-IO: bytes in, messages out; messages in,
bytes out (RFC 6455).

Messages in one frame, which are nearly all, are read here: a table, two slices, one unmasking.
Every other frame (fragments, control frames, too big ones, wrong ones) goes through wsproto's
decoders, one at a time, so that the next one may be plain again.
"""

from typing import Final

from wsproto.frame_protocol import Frame, FrameDecoder, MessageDecoder, Opcode, ParseFailed

from nogilserve.errors import ClientDisconnected, ResponseError
from nogilserve.protocols.websocket.deflate import LEAST_COMPRESSED, Deflate
from nogilserve.protocols.websocket.frames import (
    ABNORMAL,
    BINARY,
    CLOSE,
    INVALID_DATA,
    LEGAL_CODES,
    LONGEST_CONTROL,
    NO_CODE,
    PING,
    PONG,
    TEXT,
    Closed,
    Violation,
    close_frame,
    frame,
    frame_head,
    parse_close,
    unmask,
)
from nogilserve.protocols.websocket.inbound import Inbound

__all__ = ["CLOSED", "CLOSING", "OPEN", "WebSocketConnection"]

# States (RFC 6455 §7.1).
OPEN: Final = 0
CLOSING: Final = 1
"""We have sent a Close frame; what the peer sends before its own is dropped."""
CLOSED: Final = 2
"""Nothing is read or sent any more, but what data_to_send() still has."""

_COMPRESSED: Final = 0x40
"""RSV1 in the first byte of a frame (RFC 7692 §6)."""
_SHORTEST: Final = 2
"""Bytes of a frame's header that say how long it is."""


class WebSocketConnection:
    """One connection that was upgraded. Made by Handshake.accept().

    Owner: whoever owns the connection; never used by two threads at once. An idle one holds no
    buffer and no message. Of memory a peer gets at most twice `max_size`, plus what was passed to
    receive_data() and not read yet.

    After receive_data(), call next_message() until None or Closed, and send what data_to_send()
    then has; it is not more than what was received.
    """

    __slots__ = (
        "_buffer",
        "_deflate",
        "_frames",
        "_inbound",
        "_left",
        "_max_size",
        "_messages",
        "_partial",
        "_start",
        "_telling",
        "_to_send",
        "_wanted",
        "closed",
        "eof",
        "pong_received",
        "state",
    )

    def __init__(self, max_size: int, deflate: Deflate | None) -> None:
        """`max_size`: bytes of a message, decompressed; text counts as UTF-8."""
        self._max_size = max_size
        self._deflate = deflate
        self._telling = 0xFF if deflate is None else 0xFF ^ _COMPRESSED
        """Bits of the first byte that decide whether a frame is read here."""
        self._buffer: bytes | bytearray = b""
        self._start = 0
        """Offset in the buffer of what was not used up yet; less than its size, or both 0."""
        self._wanted = _SHORTEST
        """Bytes that must be there before it is worth looking again."""
        self._left = 0
        """Bytes still to come of the frame that wsproto is reading."""
        self._inbound = Inbound(max_size, deflate)
        self._frames: FrameDecoder | None = None
        """wsproto's decoders, made on first use."""
        self._messages = MessageDecoder()
        self._partial: bytearray | None = None
        """What has come of a fragmented message. Text as UTF-8: pieces of it would each be an
        object, however small."""
        self._to_send: list[bytes] = []
        self.state = OPEN
        self.closed: Closed | None = None
        """How the connection ended, once it is CLOSED."""
        self.eof = False
        """The peer has closed its sending side."""
        self.pong_received: bytes | None = None
        """Payload of the last pong, None before the first."""

    def receive_data(self, data: bytes) -> None:
        """Take bytes of the peer; b"" means that it has closed its sending side."""
        if not data:
            self.eof = True
            return
        if self.state == CLOSED:
            return
        if not self._buffer:
            self._buffer = data
            return
        buffer = self._buffer
        if isinstance(buffer, bytearray):
            del buffer[: self._start]
        else:
            # Pieces are collected in a bytearray, which grows and shrinks without copying.
            self._buffer = buffer = bytearray(memoryview(buffer)[self._start :])
        self._start = 0
        buffer += data

    def next_message(self) -> str | bytes | Closed | None:
        """The next message, text as str, binary as bytes (both may be empty); Closed at the end,
        then on every call; None when more bytes are needed."""
        while self.closed is None:
            buffer = self._buffer
            start = self._start
            if len(buffer) - start < self._wanted:
                if not self.eof:
                    return None
                # RFC 6455 §7.1.5
                self._finish(Closed(ABNORMAL, ""))
                break
            try:
                # TEXT and BINARY; written out, since a literal is shared without being counted.
                if (
                    buffer[start] & self._telling in {0x81, 0x82}
                    and not self._left
                    and self._partial is None
                    and self.state == OPEN
                ):
                    message = self._read_plain(buffer, start)
                else:
                    message = self._read_frame(buffer, start)
            except Violation as violation:
                self._fail(violation.code, violation.reason)
                break
            if message is not None:
                return message
        return self.closed

    def _read_plain(self, buffer: bytes | bytearray, start: int) -> str | bytes | None:
        """Read a message that has a frame to itself; None when it is not complete yet, or was
        left to wsproto after all. Raises Violation."""
        at = start + 2
        size = buffer[start + 1] - 128
        if size > 125:
            at += 2 if size == 126 else 8
            if len(buffer) < at:
                self._wanted = at - start
                return None
            least = 126 if size == 126 else 65536
            size = int.from_bytes(buffer[start + 2 : at])
            if size < least:
                return self._read_frame(buffer, start)
        if not 0 <= size <= self._max_size:
            # Not masked, or too big; compressed it may be within the limit all the same.
            return self._read_frame(buffer, start)
        end = at + 4 + size
        if len(buffer) < end:
            self._wanted = end - start
            return None
        first = buffer[start]
        payload = unmask(buffer, at + 4, end)
        if end == len(buffer):
            self._buffer = b""
            self._start = 0
        else:
            self._start = end
        self._wanted = _SHORTEST
        if first & _COMPRESSED and self._deflate is not None:
            payload = self._deflate.decompress_whole(payload, self._max_size)
        if not first & 1:  # BINARY
            return bytes(payload)
        try:
            return payload.decode("utf-8")
        except UnicodeDecodeError:
            raise Violation(INVALID_DATA, "text is not UTF-8") from None

    def _read_frame(self, buffer: bytes | bytearray, start: int) -> str | bytes | None:
        """Pass on to wsproto what has come of one frame; the message that ends with it. None
        without one. Raises Violation."""
        if not self._left:
            left = self._measure(buffer, start)
            if not left:
                return None
            self._left = left
        piece = bytes(buffer[start : start + self._left])
        self._left -= len(piece)
        self._use_up(start + len(piece))
        self._wanted = 1 if self._left else _SHORTEST
        frames = self._frames
        if frames is None:
            frames = self._frames = FrameDecoder(client=False, extensions=[self._inbound])
        frames.receive_bytes(piece)
        try:
            got = frames.process_buffer()
            if got is None:
                return None
            if got.opcode < Opcode.CLOSE:
                return self._collect(self._messages.process_frame(got))
        except ParseFailed as error:
            reason = "text is not UTF-8" if error.code == INVALID_DATA else str(error)
            raise Violation(int(error.code), reason) from None
        self._control(got.opcode, got.payload)
        return None

    def _measure(self, buffer: bytes | bytearray, start: int) -> int:
        """Bytes of the frame that begins at `start`, header included; 0 when its length is not
        there yet. Of a frame that its first two bytes condemn, those: the rest of a wrong header
        is not waited for."""
        first, second = buffer[start], buffer[start + 1]
        size = second & 127
        if first & 7 > 2 or (first & 8 and (first < 0x80 or size > 125)):
            return 2  # a reserved opcode; a control frame in fragments or too long (§5.5)
        header = 2 + {126: 2, 127: 8}.get(size, 0)
        if len(buffer) - start < header:
            self._wanted = header
            return 0
        if header > 2:
            size = int.from_bytes(buffer[start + 2 : start + header])
        return header + (4 if second & 128 else 0) + size

    def _collect(self, piece: Frame) -> str | bytes | None:
        """Add a piece of a message to what there is; the message when it is complete."""
        payload = piece.payload
        if not isinstance(payload, (str, bytes)):
            raise TypeError(f"not a piece of a message: {piece!r}")  # wsproto's contract
        if self.state != OPEN:
            self._partial = None
            return None
        partial = self._partial
        if partial is None:
            if piece.message_finished:
                return payload
            partial = self._partial = bytearray()
        partial += payload.encode("utf-8") if isinstance(payload, str) else payload
        if not piece.message_finished:
            return None
        self._partial = None
        return partial.decode("utf-8") if isinstance(payload, str) else bytes(partial)

    def _control(self, opcode: Opcode, payload: object) -> None:
        """Answer a control frame (RFC 6455 §5.5). Raises Violation."""
        if not isinstance(payload, bytes):
            raise TypeError(f"not the payload of a frame: {payload!r}")  # wsproto's contract
        if opcode is Opcode.PING:
            if self.state == OPEN:
                self._to_send.append(frame(PONG, payload))
        elif opcode is Opcode.PONG:
            self.pong_received = payload
        else:
            closed = parse_close(payload)
            if self.state == OPEN:
                # "the endpoint typically echos the status code it received" (§5.5.1)
                self._to_send.append(frame(CLOSE, payload[:2]))
            self._finish(closed)

    def _fail(self, code: int, reason: str) -> None:
        """Fail the connection (RFC 6455 §7.1.7)."""
        if self.state == OPEN:
            self._to_send.append(close_frame(code, reason))
        self._finish(Closed(code, reason))

    def _finish(self, closed: Closed) -> None:
        self.state = CLOSED
        self.closed = closed
        self._buffer = b""
        self._start = 0
        self._partial = None
        self._frames = None
        self._deflate = None
        self._inbound = Inbound(0, None)
        self._messages = MessageDecoder()

    def _use_up(self, until: int) -> None:
        if until == len(self._buffer):
            self._buffer = b""
            self._start = 0
        else:
            self._start = until

    @property
    def close_code(self) -> int | None:
        """The code of `closed`, None before the end."""
        return None if self.closed is None else self.closed.code

    @property
    def close_reason(self) -> str:
        """The reason of `closed`, "" before the end."""
        return "" if self.closed is None else self.closed.reason

    @property
    def buffered(self) -> int:
        """Bytes received that are waiting, in incomplete messages too."""
        return len(self._buffer) - self._start + len(self._partial or b"")

    def data_to_send(self) -> bytes:
        """Pongs and Close frames that next_message() has found necessary; b"" for none."""
        if not self._to_send:
            return b""
        data = b"".join(self._to_send)
        self._to_send.clear()
        return data

    def send_text(self, data: str) -> bytes:
        """A text message.

        Raises ResponseError when it is not a str or has lone surrogates, or after close();
        ClientDisconnected when the peer has closed or is gone.
        """
        if self.state:
            raise self._not_open()
        try:
            payload = str.encode(data, "utf-8")
        except UnicodeEncodeError:
            raise ResponseError("text with lone surrogates cannot be sent as UTF-8") from None
        except TypeError:
            raise ResponseError(f"a text message must be str, not {type(data).__name__}") from None
        size = len(payload)
        if self._deflate is not None and size >= LEAST_COMPRESSED:
            return frame(TEXT | _COMPRESSED, self._deflate.compress(payload))
        if size < 126:
            return b"\x81%c%b" % (size, payload)
        return frame(TEXT, payload)

    def send_bytes(self, data: bytes | bytearray | memoryview) -> bytes:
        """A binary message. Raises as send_text()."""
        if self.state:
            raise self._not_open()
        if type(data) is not bytes:
            try:
                data = bytes(memoryview(data))
            except TypeError:
                name = type(data).__name__
                raise ResponseError(f"a binary message must be bytes, not {name}") from None
        size = len(data)
        if self._deflate is not None and size >= LEAST_COMPRESSED:
            return frame(BINARY | _COMPRESSED, self._deflate.compress(data))
        if size < 126:
            return b"\x82%c%b" % (size, data)
        return frame(BINARY, data)

    def head_of_bytes(self, size: int) -> bytes:
        """What stands before a binary message of `size` bytes that the caller sends itself, for
        large ones that are not to be copied; b"" where it is to be compressed: use send_bytes().
        Raises as that."""
        if self.state:
            raise self._not_open()
        return b"" if self._deflate is not None else frame_head(BINARY, size)

    def ping(self, payload: bytes = b"") -> bytes:
        """A ping, which the peer answers with the same payload, at most 125 bytes: see
        `pong_received`. b"" when the connection is not open any more. Raises ResponseError."""
        if len(payload) > LONGEST_CONTROL:
            raise ResponseError("a ping has at most 125 bytes (RFC 6455 §5.5)")
        return b"" if self.state else frame(PING, payload)

    def close(self, code: int = 1000, reason: str = "") -> bytes:
        """Begin to close; then wait (not for ever) for Closed from next_message(). b"" when the
        connection is not open any more. The reason is cut to 123 bytes of UTF-8.

        Raises ResponseError for a code that may not be sent (RFC 6455 §7.4), a reason that is
        not text.
        """
        try:
            if code not in LEGAL_CODES:
                raise ResponseError(f"illegal close code {code!r} (RFC 6455 §7.4)")
            data = close_frame(code, reason)
        except (UnicodeEncodeError, AttributeError, TypeError):
            raise ResponseError(f"illegal close code or reason: {code!r}, {reason!r}") from None
        if self.state:
            return b""
        self.state = CLOSING
        self._inbound.drop = True
        return data

    def _not_open(self) -> Exception:
        if self.state == CLOSING:
            return ResponseError("message after close")
        code = self.close_code
        return ClientDisconnected(f"the WebSocket connection is closed ({code or NO_CODE})")
