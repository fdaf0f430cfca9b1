"""A WebSocket client of bare sockets: the frames it sends are exactly those a test asks for."""

import json
import os
from dataclasses import dataclass
from typing import Any

from .raw_client import Incomplete, RawClient, Response

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "TEXT",
    "Frame",
    "RawWebSocket",
    "frame",
]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
KEY, ACCEPTED = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 §1.3


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of the server."""

    first: int
    """The first byte: FIN, RSV1-3, opcode."""
    payload: bytes

    @property
    def opcode(self) -> int:
        """What kind of frame it is."""
        return self.first & 0x0F

    @property
    def code(self) -> int:
        """The code of a Close frame, 1005 where it has none."""
        assert self.opcode == CLOSE, self
        return int.from_bytes(self.payload[:2]) if self.payload else 1005


def frame(opcode: int, payload: bytes = b"", fin: bool = True, rsv: int = 0) -> bytes:
    """A masked frame, as a client sends it (RFC 6455 §5.2)."""
    size = len(payload)
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += b"\xfe" + size.to_bytes(2)
    else:
        head += b"\xff" + size.to_bytes(8)
    mask = os.urandom(4)
    pad = int.from_bytes((mask * (size // 4 + 1))[:size])
    return head + mask + (int.from_bytes(payload) ^ pad).to_bytes(size)


class RawWebSocket(RawClient):
    """One connection that asks for the upgrade. Owner: the thread that made it."""

    answer: Response
    """The response to the handshake."""

    def upgrade(self, target: str, extra: str = "", early: bytes = b"") -> Response:
        """Ask for the upgrade, `early` bytes right behind; the head of the answer."""
        head = (
            f"GET {target} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{extra}\r\n"
        )
        self.send(head.encode("latin-1") + early)
        self.answer = self.head()
        return self.answer

    def open(self, target: str, extra: str = "", early: bytes = b"") -> Response:
        """The same; AssertionError unless it is accepted, and rightly."""
        answer = self.upgrade(target, extra, early)
        assert answer.status == 101, answer
        assert answer.header("sec-websocket-accept") == ACCEPTED
        assert (answer.header("upgrade") or "").lower() == "websocket"
        assert (answer.header("connection") or "").lower() == "upgrade"
        return answer

    def frame(self) -> Frame:
        """The next frame, of any kind. Raises Incomplete at the end of the stream."""
        first, second = self.take(2)
        assert not second & 0x80, "a server must not mask"
        if second == 126:
            size = int.from_bytes(self.take(2))
        elif second == 127:
            size = int.from_bytes(self.take(8))
        else:
            size = second
        return Frame(first, self.take(size))

    def message(self) -> str | bytes:
        """The next message, its fragments joined; pings are answered. Not compressed."""
        pieces: list[bytes] = []
        kind = 0
        while True:
            got = self.frame()
            assert not got.first & 0x70, "reserved bits"
            if got.opcode == PING:
                self.send(frame(PONG, got.payload))
                continue
            if got.opcode == PONG:
                continue
            assert got.opcode != CLOSE, f"closed: {got.code} {got.payload[2:]!r}"
            kind = kind or got.opcode
            pieces.append(got.payload)
            if got.first & 0x80:
                data = b"".join(pieces)
                return data.decode() if kind == TEXT else data

    def say(self, data: str | bytes) -> None:
        """Send a message in one frame."""
        if isinstance(data, str):
            self.send(frame(TEXT, data.encode()))
        else:
            self.send(frame(BINARY, data))

    def ask(self, data: str | bytes) -> str | bytes:
        """Send a message and read one."""
        self.say(data)
        return self.message()

    def document(self) -> Any:
        """The next message as JSON."""
        return json.loads(self.message())

    def expect_close(self, answer: bool = True) -> Frame:
        """Read up to the server's Close frame, answer it, see the connection end."""
        while (got := self.frame()).opcode != CLOSE:
            pass
        if answer:
            self.send_quietly(frame(CLOSE, got.payload[:2]))
        assert self.rest() == b""
        return got

    def leave(self, code: int | None = 1000, reason: str = "") -> int:
        """Close from this side; the code that comes back, after which the connection ends."""
        payload = b"" if code is None else code.to_bytes(2) + reason.encode()
        self.send(frame(CLOSE, payload))
        return self.expect_close(answer=False).code

    def lost(self) -> bytes:
        """What comes before the end where no Close frame may come first."""
        try:
            return self.frame().payload
        except (Incomplete, ConnectionResetError):
            return b""

    def __enter__(self) -> "RawWebSocket":
        return self
