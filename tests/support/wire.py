"""A client that sends exactly the bytes a test wants, and reads with a deadline."""

import http.client
import io
import select
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.support.waiting import Deadline

__all__ = ["Client", "Response"]


@dataclass(frozen=True, slots=True)
class Response:
    """A final response as it came over the wire, the body decoded from its framing."""

    version: int
    """10 or 11."""
    status: int
    reason: str
    headers: list[tuple[str, str]]
    """As sent: order, case and repetitions kept."""
    body: bytes

    def get(self, name: str, default: str = "") -> str:
        """The value of a field that stands at most once."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} stands {len(values)} times: {values}"
        return values[0] if values else default


class _Bytes(io.RawIOBase):
    """The receiving side of a socket; every read is bounded by the client's deadline."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.deadline = Deadline(0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        poller = select.poll()
        poller.register(self.sock, select.POLLIN)
        if not poller.poll(self.deadline.left * 1000):
            raise TimeoutError("the server sent nothing more in time")
        return self.sock.recv_into(buffer)


class _Reader(io.BufferedReader):
    """A buffer that http.client may "close" at the end of a response: the next one follows."""

    def close(self) -> None:
        pass


class _Source:
    """What http.client takes for a socket: every response reads on in the same buffer."""

    def __init__(self, reader: _Reader) -> None:
        self.reader = reader

    def makefile(self, mode: str) -> _Reader:
        return self.reader


class Client:
    """One connection. Owner: the thread that uses it.

    Each method has `timeout` seconds (of the constructor) from its call on and raises
    TimeoutError after that.
    """

    def __init__(self, address: tuple[str, int] | str, timeout: float = 10.0) -> None:
        self.timeout = timeout
        if isinstance(address, str):
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self.sock.settimeout(timeout)
                self.sock.connect(address)
            except BaseException:
                self.sock.close()
                raise
        else:
            self.sock = socket.create_connection(address, timeout)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._bytes = _Bytes(self.sock)
        self._reader = _Reader(self._bytes)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.sock.sendall(data)

    def request(
        self, method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> Response:
        """Send an ordinary request and read its response."""
        fields = {"Host": "localhost"} | (headers or {})
        if body and not {"content-length", "transfer-encoding"} & {name.lower() for name in fields}:
            fields["Content-Length"] = str(len(body))
        lines = [f"{method} {target} HTTP/1.1"] + [f"{name}: {fields[name]}" for name in fields]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return self.receive(method)

    def get(self, target: str, **headers: str) -> Response:
        """An ordinary GET; header names with "_" for "-"."""
        return self.request("GET", target, {k.replace("_", "-"): v for k, v in headers.items()})

    def receive(self, method: str = "GET") -> Response:
        """The next final response; `method` is that of its request (HEAD has no body).

        http.client.HTTPException when it is malformed or cut off, ConnectionError when the
        server closed or reset instead of answering.
        """
        self._bytes.deadline = Deadline(self.timeout)
        source: Any = _Source(self._reader)
        response = http.client.HTTPResponse(source, method=method)
        response.begin()
        body = response.read()
        headers = response.msg.items()
        return Response(response.version, response.status, response.reason, headers, body)

    def receive_head(self) -> bytes:
        """The raw bytes of the next head, final or interim, with the empty line that ends it."""
        return self.receive_until(b"\r\n\r\n")

    def receive_until(self, end: bytes) -> bytes:
        """Bytes up to and including `end`; EOFError when the server closed before."""
        self._bytes.deadline = Deadline(self.timeout)
        data = bytearray()
        while not data.endswith(end):
            byte = self._reader.read(1)
            if not byte:
                raise EOFError(f"closed after {bytes(data)!r}")
            data += byte
        return bytes(data)

    def receive_exactly(self, count: int) -> bytes:
        """That many bytes; EOFError when the server closed before."""
        self._bytes.deadline = Deadline(self.timeout)
        data = self._reader.read(count)
        if len(data) < count:
            raise EOFError(f"closed after {data!r}")
        return data

    def receive_rest(self) -> bytes:
        """Everything until the server closes its side."""
        self._bytes.deadline = Deadline(self.timeout)
        return self._reader.read()

    def wait_closed(self) -> None:
        """Wait until the server has closed or reset; AssertionError if it sends bytes first."""
        try:
            rest = self.receive_rest()
        except ConnectionError:
            return
        assert not rest, f"expected nothing but the end, got {rest!r}"

    def half_close(self) -> None:
        """Say that nothing more will be sent; reading goes on."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Leave without a farewell: the server sees a connection reset (RST)."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Close; may be repeated."""
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
