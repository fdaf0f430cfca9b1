"""A WSGI application on event loops, beside ASGI ones: called by threads, answered by the loop.

The loop reads the whole body first, so that a slow client occupies no thread. Each step of the
response is made on the loop, in one go with what was prepared for it: of an ordinary response that
is one way there and one back.
"""

import asyncio
import io
import logging
import sys
import tempfile
import threading
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, BinaryIO, Final

from nogilserve.errors import ClientDisconnected, ResponseError, TruncatedBody
from nogilserve.gateways.callthreads import CallThreads
from nogilserve.gateways.failures import PLAIN, STATUS
from nogilserve.messages import (
    AsyncExchange,
    Exchange,
    Headers,
    Request,
    TimeLimits,
    WebSocketExchange,
)

__all__ = ["BridgedExchange", "BridgingGateway"]

_log = logging.getLogger("nogilserve.error")

_MEMORY: Final = 1 << 18
"""Bytes of a body kept in memory; what is larger lies in a temporary file."""


class BridgedExchange:
    """Implements `messages.Exchange` for a thread, on an exchange that belongs to a loop.

    Owner: the thread that runs the request. `over` and what `_make` does belong to the loop; the
    thread looks at nothing of it before its step is done.
    """

    def __init__(
        self,
        exchange: AsyncExchange,
        loop: asyncio.AbstractEventLoop,
        body: BinaryIO,
        request_id: str,
    ) -> None:
        """`body`: all of it, at its beginning."""
        self.exchange = exchange
        self._loop = loop
        self._body = body
        self.request: Request = exchange.request
        self.scheme = exchange.scheme
        self.tls = exchange.tls
        self.redirects = exchange.redirects
        self.tls = exchange.tls
        self.redirects = exchange.redirects
        peer = exchange.peer
        self.client = None if peer is None else (peer[0], str(peer[1]))
        name, port = exchange.local
        self.server = (name, "" if port is None else str(port))
        self.received = _size(body)
        self.head_sent = False
        """A final response head was handed over."""
        self.request_id = request_id
        self.thread = 0
        """Which thread runs it, 0 before one does."""
        self.over = False
        """The exchange is not this request's any more. The loop."""
        self.begun = False
        """The response has. The loop."""
        self._prepared: tuple[str, Headers] | None = None
        self._head: int | None = None
        self._head_due = False
        self._done = threading.Lock()
        self._done.acquire()
        self._error: BaseException | None = None
        self._waiting: asyncio.Task[None] | None = None
        """Waits for the client; kept alive by this."""

    # ---- on the loop

    def _make(self, step: Callable[[], Awaitable[None] | None], *, ends: bool) -> None:
        """Make a step of the response. The loop."""
        try:
            if self.over:
                raise ClientDisconnected("the request is over")
            prepared, self._prepared = self._prepared, None
            if prepared is not None:
                self.exchange.prepare(*prepared)
            if self._head_due:
                self._head_due = False
                self.exchange.send_head(self._head)
            self.begun = True
            waits = step()
            if ends:
                self.over = True
                self.head_sent = True
        except BaseException as exc:
            self._failed(exc)
            return
        if waits is None and not ends and self.exchange.crowded:
            waits = self.exchange.drain()
        if waits is None:
            self._finish(None)
        else:
            self._waiting = self._loop.create_task(self._wait(waits))

    def _failed(self, exc: BaseException) -> None:
        if isinstance(exc, ResponseError) and not self.over and not self.exchange.head_sent:
            self.begun = False
        self._finish(exc)

    async def _wait(self, waits: Awaitable[None]) -> None:
        error: BaseException | None = None
        try:
            await waits
        except asyncio.CancelledError:
            error = ClientDisconnected("the server stops")
            raise
        except BaseException as exc:
            error = exc
        finally:
            self._finish(error)

    def _finish(self, error: BaseException | None) -> None:
        """Let the thread go on."""
        if not self.over:
            self.head_sent = self.exchange.head_sent
        self._error = error
        self._done.release()

    # ---- in the thread

    def _there(self, step: Callable[[], Awaitable[None] | None], *, ends: bool = False) -> None:
        """Have the loop make a step, and wait until it is made."""
        try:
            self._loop.call_soon_threadsafe(partial(self._make, step, ends=ends))
        except RuntimeError as exc:  # the loop is closed
            raise ClientDisconnected("the server has stopped") from exc
        self._done.acquire()
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            error = None  # no cycle with this frame

    def open_body(self) -> BinaryIO:
        """The request body."""
        return self._body

    def close_body(self) -> None:
        """Nobody reads it any more. The thread that did: another one could close it under it."""
        self._body.close()

    def send_early_hints(self, headers: Headers) -> None:
        """103 Early Hints."""
        if self._prepared is None and not self._head_due:
            self._there(partial(self.exchange.send_early_hints, headers))

    def prepare(self, status: str, headers: Headers) -> None:
        """Keep status and field lines; they are checked when they leave."""
        self._prepared = (status, headers)
        self._head_due = False

    @property
    def declared_length(self) -> int | None:
        """The Content-Length among the prepared field lines."""
        for name, value in self._prepared[1] if self._prepared is not None else ():
            if name.lower() == "content-length" and value.isdecimal():
                return int(value)
        return None

    def send_whole(self, body: bytes) -> None:
        """A complete response."""
        self._there(partial(self.exchange.send_whole, body), ends=True)

    def send_head(self, length: int | None) -> None:
        """The head leaves with the first piece of the body."""
        self._head, self._head_due = length, True

    def send_data(self, data: bytes) -> None:
        """A piece of the body; waits while the client does not read."""
        self._there(partial(self.exchange.send_data, data))

    def send_file(self, file: BinaryIO, offset: int, count: int) -> None:
        """A range of a real file."""
        self._there(lambda: self.exchange.send_file(file, offset, count))

    def send_end(self) -> None:
        """The body is complete."""
        self._there(self.exchange.send_end, ends=True)

    def abort(self) -> None:
        """The response cannot be completed."""
        self._prepared = None
        self._head_due = False
        try:
            self._there(self.exchange.abort, ends=True)
        except ClientDisconnected:
            pass  # nobody is there to tell


def _size(body: BinaryIO) -> int:
    """How long a stored body is; it is left at its beginning."""
    size = body.seek(0, io.SEEK_END)
    body.seek(0)
    return size


class BridgingGateway:
    """An application of the thread engine's kind for one event loop. Owner: that loop; the threads
    are shared by all."""

    def __init__(
        self,
        run: Callable[[Exchange], None],
        loop: asyncio.AbstractEventLoop,
        threads: CallThreads,
        limits: TimeLimits,
    ) -> None:
        """`run` runs the application and never raises; `limits`: in which time its response must
        begin."""
        self._run = run
        self._loop = loop
        self._threads = threads
        self._limits = limits or None

    async def http(self, exchange: AsyncExchange) -> None:
        """Run the application for one request."""
        request = exchange.request
        body: BinaryIO = io.BytesIO()
        try:
            if request.body:
                body = await _collected(exchange)
            await self._call(exchange, request, body)
        except TruncatedBody as exc:
            _log.info("[%s] %s %s: %s", exchange.request_id, request.method, request.target, exc)
            exchange.abort()

    async def websocket(self, exchange: WebSocketExchange) -> None:
        """WSGI knows no WebSockets: to the application the handshake is a request."""
        await self.http(exchange.http)

    async def _call(self, exchange: AsyncExchange, request: Request, body: BinaryIO) -> None:
        bridged = BridgedExchange(exchange, self._loop, body, exchange.request_id)
        done = self._loop.create_future()
        seconds = 0.0 if self._limits is None else self._limits.of(request.path)
        timer = (
            self._loop.call_later(seconds, self._time_out, bridged, done, seconds)
            if seconds
            else None
        )
        try:
            self._threads.submit(partial(self._in_thread, bridged, done))
            await done
        except asyncio.CancelledError:
            _log.warning(
                "[%s] %s %s: cancelled", bridged.request_id, request.method, request.target
            )
            if not bridged.over:
                bridged.over = True
                exchange.abort()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _in_thread(self, bridged: BridgedExchange, done: "asyncio.Future[None]") -> None:
        """Run it. A thread."""
        bridged.thread = threading.get_ident()
        if not bridged.over:
            self._run(bridged)
        bridged.close_body()
        bridged.thread = 0
        try:
            self._loop.call_soon_threadsafe(self._came_back, done)
        except RuntimeError:
            pass  # the loop has ended meanwhile

    def _came_back(self, done: "asyncio.Future[None]") -> None:
        if not done.done():
            done.set_result(None)
        elif not done.cancelled():  # it was given up, and another thread took its place
            self._threads.replace(-1)
            _log.warning("a thread that was given up has come back")

    def _time_out(
        self, bridged: BridgedExchange, done: "asyncio.Future[None]", seconds: float
    ) -> None:
        """Answer instead of an application that has not begun to, and give its thread up."""
        exchange = bridged.exchange
        if bridged.begun or bridged.over or done.done():
            return
        bridged.over = True
        _log.error(
            "[%s] %s %s: no response in %g s; answered 504, the thread is replaced. It is at:\n%s",
            bridged.request_id,
            bridged.request.method,
            bridged.request.target,
            seconds,
            _stack(bridged.thread),
        )
        self._threads.replace(+1)
        try:
            exchange.prepare(STATUS[504], [PLAIN])
            exchange.send_whole(f"Gateway Timeout\nrequest {bridged.request_id}\n".encode())
        except ClientDisconnected:
            exchange.abort()
        done.set_result(None)


async def _collected(exchange: AsyncExchange) -> BinaryIO:
    """The whole request body. Raises TruncatedBody."""
    store: Any = io.BytesIO()
    size = 0
    while True:
        piece = exchange.read_body()
        if piece is None:
            await exchange.news()
            continue
        size += len(piece)
        if size > _MEMORY and isinstance(store, io.BytesIO):
            file = tempfile.TemporaryFile(prefix="nogilserve-")  # noqa: SIM115
            file.write(store.getbuffer())
            store = file
        store.write(piece)
        if exchange.body_complete:
            store.seek(0)
            result: BinaryIO = store
            return result


def _stack(thread: int) -> str:
    frame = sys._current_frames().get(thread)  # noqa: SLF001
    if frame is None:
        return "  (waiting for a thread)"
    return "".join(traceback.format_stack(frame)).rstrip()
