"""Micro-benchmarks of the thread engine: socket, protocol, gateway and back, without a system call.

The connection is the engine's own, on a core that the operation drives, and its socket is memory.
"""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

from benchmarks.micro_operations import Operation, require
from benchmarks.micro_protocol import BODY, BROWSER, SMALL
from nogilserve.engine.connection import Connection
from nogilserve.engine.core import Core
from nogilserve.engine.poller import READ
from nogilserve.engine.scheduler import Spares
from nogilserve.engine.settings import Settings
from nogilserve.gateways.wsgi import WsgiGateway

try:
    from nogilserve.engine.shares import Shares
except ImportError:  # an older nogilserve, which the guard compares with
    from nogilserve.engine.scheduler import Shares  # type: ignore[attr-defined,no-redef]

__all__ = ["Browser", "Download", "Hello", "Post", "Shares", "Stream", "Threads", "Wire", "hello"]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

POSTED = bytes(range(256)) * 40
MEGABYTE = bytes(1 << 20)
PIECE = b"x" * 1024
PIECES = 16


class Wire:
    """What a connection takes for its socket. Owner: the thread of the operation."""

    def __init__(self) -> None:
        self._descriptor = socket.socket()
        self.coming: bytes | memoryview = b""
        """What `recv` gives, each time anew."""
        self.last: bytes | memoryview = b""
        """What was sent last, …"""
        self.sent = 0
        """… and how much in all."""

    def fileno(self) -> int:
        """That of a socket which nothing comes to."""
        return self._descriptor.fileno()

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Its own bytes, as from the system."""
        return bytes(self.coming)

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:
        """Takes everything."""
        self.last = data
        self.sent += len(data)
        return len(data)

    def sendmsg(self, parts: Sequence[bytes | memoryview]) -> int:
        """Takes everything."""
        self.last = parts[0]
        size = sum(map(len, parts))
        self.sent += size
        return size

    def close(self) -> None:
        """Give the descriptor back."""
        self._descriptor.close()


class Threads(Operation):
    """One connection on one core."""

    def __init__(
        self,
        app: Callable[[Environ, StartResponse], Iterable[bytes]],
        spares: Spares | None = None,
    ) -> None:
        gateway = WsgiGateway(app, "benchmark").run
        settings = Settings(threads=1, cores=1, gateway=lambda: gateway)
        lazy = threading.Semaphore(1)
        self.core = Core(0, settings, Shares(1), spares or Spares(), lazy, lambda: None)
        self.core.unwatched = False
        self.core.lock.acquire()
        self.core.drive(home=True, until=0)  # makes what the driver makes, and returns
        self.wire = Wire()
        self.connection = Connection(
            self.core,
            cast(socket.socket, self.wire),
            ("192.0.2.1", "50000"),
            ("127.0.0.1", "8000"),
        )
        self.connection.start(self.core)

    def turn(self, count: int) -> None:
        """The socket is readable so many times."""
        core, connection = self.core, self.connection
        on_event = connection.on_event
        for _ in range(count):
            on_event(core, READ)

    def close(self) -> None:
        """Close connection and core."""
        self.connection.close(self.core)
        self.core.close()
        self.core.lock.release()


class _Plain(Threads):
    """The same request each time, and a response of the same size."""

    def __init__(
        self,
        app: Callable[[Environ, StartResponse], Iterable[bytes]],
        request: bytes,
        least: int,
        most: int,
    ) -> None:
        super().__init__(app)
        self.wire.coming = memoryview(request)
        self._least, self._most = least, most

    def run(self, count: int) -> None:
        """Requests, one after the other."""
        wire = self.wire
        wire.sent = 0
        self.turn(count)
        right = self._least * count <= wire.sent <= self._most * count
        require(right and not self.core.counters.refused, bytes(wire.last))


def hello(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """The smallest application."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [BODY]


def _post(environ: Environ, start_response: StartResponse) -> list[bytes]:
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    text = str(len(body))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [text.encode()]


def _download(environ: Environ, start_response: StartResponse) -> list[bytes]:
    start_response(
        "200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", "1048576")]
    )
    return [MEGABYTE]


def _stream(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    for _ in range(PIECES):
        yield PIECE


class Hello(_Plain):
    """A small request that a client repeats."""

    def __init__(self) -> None:
        super().__init__(hello, SMALL, 100, 250)


class Browser(_Plain):
    """Ten header fields; only the request line differs from the one before."""

    def __init__(self) -> None:
        super().__init__(hello, BROWSER, 100, 250)
        self._wires = (memoryview(BROWSER), memoryview(BROWSER.replace(b"page=2", b"page=12")))

    def turn(self, count: int) -> None:
        """As of Threads."""
        wire, wires = self.wire, self._wires
        core, on_event = self.core, self.connection.on_event
        for number in range(count):
            wire.coming = wires[number & 1]
            on_event(core, READ)


class Post(_Plain):
    """A body that comes with its head, and is read."""

    def __init__(self) -> None:
        head = b"POST /up HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nContent-Length: %d\r\n\r\n"
        super().__init__(_post, head % len(POSTED) + POSTED, 100, 250)


class Download(_Plain):
    """A response that is not copied."""

    def __init__(self) -> None:
        super().__init__(_download, SMALL, len(MEGABYTE) + 100, len(MEGABYTE) + 250)


class Stream(_Plain):
    """16 pieces of 1 KiB from a generator, without a length."""

    def __init__(self) -> None:
        body = PIECES * len(PIECE)
        super().__init__(_stream, SMALL, body + 100, body + 400)
