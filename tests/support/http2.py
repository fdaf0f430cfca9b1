"""Frames of HTTP/2 as bytes, and a client over a socket that sends exactly those a test wants."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import hpack

from tests.support.waiting import Deadline

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = range(8)
WINDOW_UPDATE, CONTINUATION = 8, 9
END_STREAM = ACK = 1
END_HEADERS, PADDED, WITH_PRIORITY = 4, 8, 0x20

GET = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "h")]
POST = [(":method", "POST"), *GET[1:]]


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


def goaways(frames: list[Frame]) -> list[int]:
    """The codes of GOAWAY frames."""
    return [frame.code for frame in frames if frame.kind == GOAWAY]


def resets(frames: list[Frame]) -> list[tuple[int, int]]:
    """Stream and code of RST_STREAM frames."""
    return [(frame.stream, frame.code) for frame in frames if frame.kind == RST_STREAM]


def settings_of(frames: list[Frame]) -> dict[int, int]:
    """What SETTINGS frames say, together."""
    told = {}
    for one in frames:
        if one.kind == SETTINGS:
            for at in range(0, len(one.payload), 6):
                told[int.from_bytes(one.payload[at : at + 2])] = int.from_bytes(
                    one.payload[at + 2 : at + 6]
                )
    return told


class Answer:
    """What has come on a stream so far."""

    def __init__(self) -> None:
        self.heads: list[dict[str, str]] = []
        """Interim responses, the final one, trailers."""
        self.body = b""
        self.ended = False
        self.reset: int | None = None

    @property
    def status(self) -> int:
        """That of the final response."""
        final = [int(head[":status"]) for head in self.heads if ":status" in head]
        return final[-1]

    @property
    def fields(self) -> dict[str, str]:
        """Those of the final response."""
        return next(head for head in self.heads if head.get(":status", "1")[0] != "1")

    @property
    def over(self) -> bool:
        """Whether nothing more can come."""
        return self.ended or self.reset is not None


class Http2Client:
    """A connection to a server. `windows`: give back what was received, as ordinary clients do."""

    def __init__(
        self,
        sock: socket.socket,
        *settings_sent: tuple[int, int],
        windows: bool = True,
        greet: bool = True,
    ) -> None:
        self.sock = sock
        self.windows = windows
        self.frames: list[Frame] = []
        """Everything that came."""
        self.answers: dict[int, Answer] = {}
        self.closed = False
        self._buffer = b""
        self._decoder = hpack.Decoder()
        self._next = 1
        if greet:
            self.send(PREFACE + settings(*settings_sent))
            if windows:
                self.send(window_update(0, 1 << 24))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.sock.sendall(data)

    def ask(
        self, path: str = "/", method: str = "GET", body: bytes | None = None, **more: str
    ) -> int:
        """Send a request, with a short body or without; its stream."""
        number = self.begin(path, method, body is None, **more)
        if body is not None:
            self.send(frame(DATA, END_STREAM, number, body))
        return number

    def begin(self, path: str, method: str = "POST", ends: bool = False, **more: str) -> int:
        """Send the head of a request; its stream."""
        number = self._next
        self._next += 2
        fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "h")]
        fields += [(name.replace("_", "-"), value) for name, value in more.items()]
        self.answers[number] = Answer()
        self.send(headers(number, fields, END_HEADERS | (END_STREAM if ends else 0)))
        return number

    def receive(self, until: Callable[[], Any], seconds: float = 10.0) -> None:
        """Read frames until a condition holds; TimeoutError if it does not."""
        deadline = Deadline(seconds)
        while not until():
            if self.closed:
                raise EOFError(f"the server closed; it sent {self.frames[-5:]}")
            if not deadline.left:
                raise TimeoutError(f"the server sent only {self.frames[-5:]}")
            self.sock.settimeout(deadline.left)
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                data = b""
            self.closed = not data
            self._buffer += data
            self._take()

    def _take(self) -> None:
        while len(self._buffer) >= 9:
            end = 9 + int.from_bytes(self._buffer[:3])
            if len(self._buffer) < end:
                break
            (one,) = parse(self._buffer[:end])
            self._buffer = self._buffer[end:]
            self.frames.append(one)
            self._note(one)

    def _note(self, one: Frame) -> None:
        if one.kind == SETTINGS and not one.flags & ACK:
            self.send(settings(ack=True))
        if one.kind == PING and not one.flags & ACK:
            self.send(frame(PING, ACK, 0, one.payload))
        answer = self.answers.get(one.stream)
        if answer is None:
            return
        if one.kind == HEADERS:
            assert one.flags & END_HEADERS
            answer.heads.append(dict(self._decoder.decode(one.payload)))  # type: ignore[arg-type]
        elif one.kind == DATA:
            answer.body += one.payload
            if self.windows and one.payload:
                size = len(one.payload)
                self.send(window_update(0, size) + window_update(one.stream, size))
        elif one.kind == RST_STREAM:
            answer.reset = one.code
        if one.kind in {HEADERS, DATA} and one.flags & END_STREAM:
            answer.ended = True

    def answer(self, number: int, seconds: float = 10.0) -> Answer:
        """What is answered on a stream, complete or cut off."""
        answer = self.answers[number]
        self.receive(lambda: answer.over, seconds)
        return answer

    def get(self, path: str = "/", **more: str) -> Answer:
        """Ask and wait."""
        return self.answer(self.ask(path, "GET", None, **more))

    def goaway(self, seconds: float = 10.0) -> int:
        """The code of the last GOAWAY before the server closes."""
        self.receive(lambda: self.closed, seconds)
        return goaways(self.frames)[-1]
