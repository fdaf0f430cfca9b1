"""An HTTP/1.1 client of bare sockets, for tests that must say exactly which bytes go when.

It reads strictly: a body that ends early is an error, never a shorter body.
"""

import contextlib
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

SECONDS = 30.0
"""Deadline of every wait, in seconds: generous, for the machine may be busy."""


class Incomplete(Exception):
    """The server closed the connection before the response was complete."""


@dataclass
class Response:
    """A final response with the interim ones before it. Header names are lower case."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    interim: list["Response"] = field(default_factory=list)

    def header(self, name: str) -> str | None:
        """The value of the only header of this name."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name} is there {len(values)} times"
        return values[0] if values else None


class RawClient:
    """One connection. Owner: the thread that made it."""

    def __init__(self, address: tuple[str, int], receive_buffer: int = 0) -> None:
        self.sock = socket.socket()
        self.sock.settimeout(SECONDS)
        self._buffer = b""
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.connect(address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.sock.sendall(data)

    def send_quietly(self, data: bytes) -> None:
        """Send all of it, or as much as the server takes before it closes the connection."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.sock.sendall(data)

    def get(self, target: str, extra: str = "", method: str = "GET") -> Response:
        """Send a request without a body and read the response."""
        self.send(request(target, extra, method))
        return self.response(method)

    def post(self, target: str, body: bytes, extra: str = "") -> Response:
        """Send a request with a body of stated length and read the response."""
        self.send(request(target, f"{extra}Content-Length: {len(body)}\r\n", "POST") + body)
        return self.response()

    def _more(self) -> bool:
        """Receive once; False at the end of the stream."""
        data = self.sock.recv(1 << 18)
        self._buffer += data
        return bool(data)

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes. Raises Incomplete."""
        pieces = []
        while count > len(self._buffer):
            count -= len(self._buffer)
            pieces.append(self._buffer)
            self._buffer = b""
            if not self._more():
                raise Incomplete(b"".join(pieces))
        pieces.append(self._buffer[:count])
        self._buffer = self._buffer[count:]
        return b"".join(pieces)

    def take_until(self, end: bytes) -> bytes:
        """Up to and including `end`. Raises Incomplete."""
        while end not in self._buffer:
            if not self._more():
                raise Incomplete(self._buffer)
        found, _, self._buffer = self._buffer.partition(end)
        return found + end

    def peek(self) -> None:
        """Wait a moment for something to come, or the end; nobody needs to look at it."""
        self.sock.settimeout(0.05)
        with contextlib.suppress(ConnectionResetError, TimeoutError):
            self._more()

    def head(self) -> Response:
        """The next head, interim or final."""
        lines = self.take_until(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]
        version, status, reason = lines[0].split(" ", 2)
        assert version == "HTTP/1.1", lines[0]
        headers = []
        for line in lines[1:]:
            name, _, value = line.partition(":")
            assert name == name.strip() != "", line
            headers.append((name.lower(), value.strip()))
        return Response(int(status), reason, headers)

    def final_head(self) -> Response:
        """The next final head, with the interim ones before it."""
        interim: list[Response] = []
        while (answer := self.head()).status < 200:
            interim.append(answer)
        answer.interim = interim
        return answer

    def chunk(self) -> bytes:
        """The next chunk of a chunked body, b"" for the last one. Raises Incomplete."""
        size = int(self.take_until(b"\r\n"), 16)
        data = self.take(size)
        assert self.take(2) == b"\r\n"
        return data

    def chunk_of_response(self) -> bytes:
        """The head and the first chunk of the next response."""
        self.final_head()
        return self.chunk()

    def cut_off(self, length: int | None) -> bytes:
        """The beginning of a body (chunked where `length` is None) that is never completed.

        AssertionError where the body is complete after all. After a reset, what had arrived.
        """
        pieces: list[bytes] = []
        try:
            if length is None:
                while piece := self.chunk():
                    pieces.append(piece)
            else:
                self.take(length)
        except Incomplete as cut:
            return b"".join(pieces) + (cut.args[0] if length is not None else b"")
        except ConnectionResetError:
            return b"".join(pieces)
        raise AssertionError(f"the body is complete: {pieces}")

    def response(self, method: str = "GET") -> Response:
        """The next final response with its body. Raises Incomplete."""
        answer = self.final_head()
        length = answer.header("content-length")
        coding = answer.header("transfer-encoding")
        assert length is None or coding is None, "both framings"
        if method == "HEAD" or answer.status in (204, 304):
            return answer
        if coding is not None:
            assert coding == "chunked"
            answer.body = b"".join(iter(self.chunk, b""))
        elif length is not None:
            answer.body = self.take(int(length))
        else:
            while self._more():
                pass
            answer.body, self._buffer = self._buffer, b""
        return answer

    def rest(self) -> bytes:
        """Everything until the server closes; a reset counts as closing."""
        with contextlib.suppress(ConnectionResetError):
            while self._more():
                pass
        data, self._buffer = self._buffer, b""
        return data

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self.sock.shutdown(socket.SHUT_WR)

    def half_close_and_go(self) -> None:
        """FIN first, then, with what the server has sent meanwhile unread, the end."""
        self.half_close()
        self.close()

    def drop_buffered(self) -> int:
        """Forget what was received and not yet taken; how many bytes."""
        count = len(self._buffer)
        self._buffer = b""
        return count

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def request(target: str, extra: str = "", method: str = "GET") -> bytes:
    """The bytes of a request head; `extra` holds complete header lines."""
    return f"{method} {target} HTTP/1.1\r\nHost: test\r\n{extra}\r\n".encode("latin-1")


def chunked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces in chunked coding (RFC 9112 §7.1), with the end."""
    for piece in pieces:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"
