"""Micro-benchmarks of the event loop engine: from the readable socket through protocol, gateway and
application to the send, without a system call of the connection.

The loop is asyncio's with the selector that serves connections itself; it turns once or twice for
each call of `run`, which is why these are measured in hundreds.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

from benchmarks.micro_operations import Operation, require
from benchmarks.micro_protocol import BODY, SMALL
from benchmarks.micro_threads import PIECE, PIECES, POSTED, Shares, Wire
from benchmarks.wsload import BINARY, HANDSHAKE, frame
from nogilserve.engine.loop.connection import HttpConnection
from nogilserve.engine.loop.core import Accepted, LoopCore, LoopSettings
from nogilserve.engine.loop.direct import DirectTransport
from nogilserve.engine.poller import READ
from nogilserve.gateways.asgi import AsgiGateway
from nogilserve.runtimes.eventloops import loop_factory

__all__ = ["Echo", "Hello", "Post", "Stream"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_TOGETHER = 20
"""WebSocket messages of one read."""
_MESSAGE = bytes(64)


class _Loop(Operation):
    """One connection on one loop."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.loop, sockets = loop_factory("asyncio", "auto")[1]()
        assert sockets is not None
        gateway = AsgiGateway(app, "benchmark", self.loop)
        self.core = LoopCore(
            0, self.loop, gateway, LoopSettings(), Shares(1), HttpConnection, sockets
        )
        self.wire = Wire()
        accepted = Accepted(
            self.wire.fileno(), socket.AF_INET, ("192.0.2.1", "50000"), ("127.0.0.1", "8000")
        )
        client = HttpConnection(self.core, accepted)
        sock = cast(socket.socket, self.wire)
        self.transport = DirectTransport(self.loop, sockets, sock, client)
        # What is in memory is not to be polled.
        sockets.poller.unregister(self.wire.fileno())

    def run(self, count: int) -> None:
        """On the loop."""
        self.loop.run_until_complete(self._run(count))

    async def _run(self, count: int) -> None:
        core, on_event = self.core, self.transport.on_event
        for _ in range(count):
            on_event(READ)
            while core.active:  # it has let others have their turn
                await asyncio.sleep(0)

    def close(self) -> None:
        """The client leaves, and the loop is closed."""
        self.wire.coming = b""
        self.transport.on_event(READ)
        self.core.stop(patient=False)
        self.loop.run_until_complete(self.core.idle.wait())
        self.loop.close()


class _Plain(_Loop):
    """The same request each time."""

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        request: bytes,
        size: int,
    ) -> None:
        """`size`: of the response's body."""
        super().__init__(app)
        self.wire.coming = memoryview(request)
        self._size = size

    def run(self, count: int) -> None:
        """Requests, one after the other."""
        wire = self.wire
        wire.sent = 0
        super().run(count)
        right = self._size + 100 <= wire.sent // count <= self._size + 400
        require(right and not self.core.counters.refused, bytes(wire.last))


async def _hello(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"13")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


async def _post(scope: Scope, receive: Receive, send: Send) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": str(size).encode()})


async def _stream(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(PIECES):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "bytes": message["bytes"]})


class Hello(_Plain):
    """A small request that a client repeats."""

    def __init__(self) -> None:
        super().__init__(_hello, SMALL, len(BODY))


class Post(_Plain):
    """A body that comes with its head, and is read."""

    def __init__(self) -> None:
        head = b"POST /up HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nContent-Length: %d\r\n\r\n"
        super().__init__(_post, head % len(POSTED) + POSTED, 5)


class Stream(_Plain):
    """16 pieces of 1 KiB, without a length."""

    def __init__(self) -> None:
        super().__init__(_stream, SMALL, PIECES * len(PIECE))


class Echo(_Loop):
    """Binary messages of 64 bytes and back, uncompressed; one message is one operation."""

    def __init__(self) -> None:
        super().__init__(_echo)
        self.wire.coming = HANDSHAKE.format(path="/").encode()
        super().run(1)
        self.wire.coming = memoryview(frame(BINARY, _MESSAGE) * _TOGETHER)

    async def _run(self, count: int) -> None:
        for _ in range(max(count // _TOGETHER, 1)):
            self.transport.on_event(READ)
            await asyncio.sleep(0)  # the application's turn

    def run(self, count: int) -> None:
        """So many messages."""
        wire = self.wire
        wire.sent = 0
        super().run(count)
        messages = max(count // _TOGETHER, 1) * _TOGETHER
        require(wire.sent == messages * (len(_MESSAGE) + 2), bytes(wire.last))
