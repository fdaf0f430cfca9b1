"""A WSGI application on event loops, beside ASGI ones: called by threads, answered by the loop.

The loop reads the whole body first, so that a slow client occupies no thread. Each step of the
response is made on the loop, in one go with what was prepared for it: of an ordinary response that
is one way there and one back.
"""

import asyncio
import io
import logging
import tempfile
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, BinaryIO, Final

from nogilserve.errors import ClientDisconnected, TruncatedBody
from nogilserve.gateways.callthreads import CallThreads
from nogilserve.gateways.failures import PLAIN, STATUS, failure_text, log_failure
from nogilserve.messages import (
    AsyncExchange,
    Exchange,
    Headers,
    Request,
    TimeLimits,
    WebSocketExchange,
)
from nogilserve.stacks import text_of

__all__ = ["BridgedExchange", "BridgingGateway"]

_log = logging.getLogger("nogilserve.error")

_MEMORY: Final = 1 << 18
"""Bytes of a body kept in memory; what is larger lies in a temporary file."""
_LOOK: Final = 1.0
"""Seconds between looks whether the loop is still there that a thread waits for."""


class BridgedExchange:
    """Implements `messages.Exchange` for a thread, on an exchange that belongs to a loop.

    Owner: the thread that runs the request. What is said of the loop belongs to that; the thread
    looks at nothing of it before its step is done. The last step it does not wait for.
    """

    def __init__(
        self,
        exchange: AsyncExchange,
        loop: asyncio.AbstractEventLoop,
        body: BinaryIO,
        request_id: str,
        failed: "Callable[[BridgedExchange, BaseException], None]",
    ) -> None:
        """`body`: all of it, at its beginning; `failed` answers for an application whose last
        step was wrong, on the loop."""
        self.exchange = exchange
        self._loop = loop
        self._body = body
        self._failed = failed
        self.request: Request = exchange.request
        self.scheme = exchange.scheme
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
        self.done: asyncio.Future[None] = loop.create_future()
        """The request is over for the loop."""
        self.over = False
        """The exchange is not this request's any more. The loop."""
        self.begun = False
        """The response has. The loop."""
        self.on_back: Callable[[], None] | None = None
        """Called by the loop when an application that was given up comes back."""
        self._prepared: tuple[str, Headers] | None = None
        self._head: int | None = None
        self._head_due = False
        self._made = threading.Lock()
        self._made.acquire()
        self._error: BaseException | None = None
        self._waiting: asyncio.Task[None] | None = None
        """Waits for the client; kept alive by this."""

    # ---- on the loop

    def _step(self, step: Callable[[], Awaitable[None] | None]) -> Awaitable[None] | None:
        """Make a step with what was prepared for it."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            self.exchange.prepare(*prepared)
        if self._head_due:
            self._head_due = False
            self.exchange.send_head(self._head)
        self.begun = True
        return step()

    def _make(self, step: Callable[[], Awaitable[None] | None]) -> None:
        """Make a step that the thread waits for."""
        try:
            if self.over:
                raise ClientDisconnected("the request is over")
            waits = self._step(step)
        except BaseException as exc:
            self._release(exc)
            return
        if waits is None and self.exchange.crowded:
            waits = self.exchange.drain()
        if waits is None:
            self._release(None)
        else:
            self._waiting = self._loop.create_task(self._wait(waits))

    async def _wait(self, waits: Awaitable[None]) -> None:
        error: BaseException | None = ClientDisconnected("the server stops")
        try:
            await waits
            error = None
        except asyncio.CancelledError:
            raise
        except BaseException as exc:
            error = exc
        finally:
            self._release(error)

    def _release(self, error: BaseException | None) -> None:
        """Let the thread go on."""
        if not self.over:
            self.head_sent = self.exchange.head_sent
        self._error = error
        self._made.release()

    def _end(self, step: Callable[[], Awaitable[None] | None]) -> None:
        """Make the last step."""
        if self.over:
            back, self.on_back = self.on_back, None
            if back is not None:
                back()
            return
        try:
            self._step(step)
        except ClientDisconnected:
            self.exchange.abort()
        except BaseException as exc:
            self._failed(self, exc)
        self.over = True
        if not self.done.done():
            self.done.set_result(None)

    # ---- in the thread

    def _there(self, step: Callable[[], Awaitable[None] | None]) -> None:
        """Have the loop make a step, and wait until it is made."""
        try:
            self._loop.call_soon_threadsafe(self._make, step)
        except RuntimeError as exc:  # the loop is closed
            raise ClientDisconnected("the server has stopped") from exc
        while not self._made.acquire(timeout=_LOOK):
            if self._loop.is_closed():  # what it was told last, it has not done
                raise ClientDisconnected("the server has stopped")
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            error = None  # no cycle with this frame

    def _last(self, step: Callable[[], Awaitable[None] | None]) -> None:
        """Have the loop make the last step. It answers for what is wrong with it."""
        self.head_sent = True
        try:
            self._loop.call_soon_threadsafe(self._end, step)
        except RuntimeError:
            pass  # the loop is closed

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
        self._last(partial(self.exchange.send_whole, body))

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
        self._last(self.exchange.send_end)

    def abort(self) -> None:
        """The response cannot be completed."""
        self._prepared = None
        self._head_due = False
        self._last(self.exchange.abort)


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
        name: str,
    ) -> None:
        """`run` runs the application called `name`, and never raises; `limits`: in which time its
        response must begin."""
        self._run = run
        self._name = name
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
        bridged = BridgedExchange(exchange, self._loop, body, exchange.request_id, self._failed)
        seconds = 0.0 if self._limits is None else self._limits.of(request.path)
        timer = (
            self._loop.call_later(seconds, self._time_out, bridged, seconds) if seconds else None
        )
        try:
            self._threads.submit(partial(self._in_thread, bridged))
            await bridged.done
        except asyncio.CancelledError:
            _log.warning("%s: cancelled", _where(bridged))
            if not bridged.over:
                bridged.over = True
                exchange.abort()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _in_thread(self, bridged: BridgedExchange) -> None:
        """Run it. A thread. Its last step ends the request, whatever happens."""
        bridged.thread = threading.get_ident()
        self._run(bridged)
        bridged.close_body()
        bridged.thread = 0

    def _failed(self, bridged: BridgedExchange, exc: BaseException) -> None:
        """What the application ended its response with is wrong. On the loop."""
        exchange = bridged.exchange
        log_failure(_where(bridged), self._name, exc)
        try:
            if exchange.head_sent:
                exchange.abort()
            else:
                exchange.prepare(STATUS[500], [PLAIN])
                exchange.send_whole(failure_text(bridged.request_id, ""))
        except ClientDisconnected:
            exchange.abort()
        finally:
            exc.__traceback__ = None  # no cycle with this frame

    def _time_out(self, bridged: BridgedExchange, seconds: float) -> None:
        """Answer instead of an application that has not begun to, and give its thread up."""
        exchange = bridged.exchange
        if bridged.begun or bridged.over:
            return
        bridged.over = True
        bridged.on_back = partial(self._came_back, bridged)
        _log.error(
            "%s: no response in %g s; answered 504, the thread is replaced. It is at:\n%s",
            _where(bridged),
            seconds,
            text_of(bridged.thread) if bridged.thread else "  (waiting for a thread)",
        )
        self._threads.replace(+1)
        try:
            exchange.prepare(STATUS[504], [PLAIN])
            exchange.send_whole(f"Gateway Timeout\nrequest {bridged.request_id}\n".encode())
        except ClientDisconnected:
            exchange.abort()
        bridged.done.set_result(None)

    def _came_back(self, bridged: BridgedExchange) -> None:
        self._threads.replace(-1)
        _log.warning("%s: the thread has come back", _where(bridged))


def _where(bridged: BridgedExchange) -> str:
    request = bridged.request
    return f"[{bridged.request_id}] {request.method} {request.target}"


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
