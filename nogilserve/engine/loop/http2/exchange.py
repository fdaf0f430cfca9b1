"""One stream as an asynchronous gateway sees it: the request, and the response in frames."""

import asyncio
import os
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, BinaryIO, Final

from nogilserve.engine.loop.waiters import Waiters
from nogilserve.engine.proxied import Own
from nogilserve.engine.records import Recorded, Recorder
from nogilserve.engine.wheel import NEVER
from nogilserve.errors import ClientDisconnected, ProtocolError, ResponseError, TruncatedBody
from nogilserve.messages import Headers, Request
from nogilserve.protocols.http2 import INTERNAL_ERROR, Response, Stream, promised, refusal
from nogilserve.protocols.proxy import OriginReader

if TYPE_CHECKING:
    from nogilserve.engine.loop.core import LoopCore
    from nogilserve.engine.loop.http2.session import Session
    from nogilserve.engine.loop.http2.transport import StreamTransport

__all__ = ["HIGH", "LOW", "StreamExchange"]

HIGH: Final = 65536
"""Bytes of a response that wait for the client, above which the application waits, …"""
LOW: Final = 16384
"""… and at which it goes on."""
_READ: Final = 1 << 18
"""Bytes of a file read at once."""


class StreamExchange(Recorded):
    """Implements `messages.AsyncExchange` on a stream. Owner: the thread of the loop."""

    __slots__ = (
        "_continued",
        "_drainers",
        "_head",
        "_pieces",
        "_readers",
        "_response",
        "active",
        "complete",
        "core",
        "gone",
        "judged",
        "local",
        "origins",
        "own",
        "peer",
        "redirects",
        "room_until",
        "scheme",
        "sent_before",
        "server",
        "session",
        "stream",
        "tls",
        "transport",
        "until",
    )

    def __init__(self, session: "Session", stream: Stream, request: Request) -> None:
        connection = session.connection
        Recorded.__init__(self, connection.own[0])
        self.core: LoopCore = session.core
        self.session = session
        self.stream = stream
        self.request = request
        self.own: Own = connection.own
        self.client, self.scheme, self.server = self.own
        self.tls = connection.tls
        self.redirects = connection.redirects
        self.origins: OriginReader | None = connection.origins
        self.judged: Request | None = None
        self.peer: tuple[str, int] | None = None
        self.local: tuple[str, int | None] = ("", None)
        self.locate()
        self.gone = False
        """The client has reset the stream, or the connection is lost."""
        self.complete = False
        """All of the body has been passed on to here; the stream may know of it before."""
        self.active = False
        """The application has it, and has not answered yet."""
        self.until = NEVER
        """When the client must have sent, or taken, something; monotonic."""
        self.room_until = NEVER
        """When the client must have taken something, as the application waits for that."""
        self.sent_before = 0
        self.transport: StreamTransport | None = None
        """Once the stream carries a WebSocket."""
        self._pieces: deque[bytes] = deque()
        self._continued = False
        self._response = Response(session.tables)
        self._head: bytes | None = None
        """A response head that waits for the first bytes of the body, to leave with them."""
        self._readers = Waiters(self.core.loop)
        self._drainers = Waiters(self.core.loop)

    def locate(self) -> None:
        """Who talks to whom, in the form that applications get."""
        client, (host, port) = self.client, self.server
        self.peer = None if client is None else (client[0], int(client[1]))
        self.local = (host, int(port) if port.isdigit() else None)

    # ---- what the session calls

    def add(self, piece: bytes) -> None:
        """A piece of the body has come."""
        self.until = NEVER  # of the body, until the application waits for more
        if self.transport is not None and self._response.started:
            self.transport.receive(piece)
        else:  # a WebSocket that is not accepted yet takes it up then
            self._pieces.append(piece)
            self._readers.wake()

    def ended(self) -> None:
        """The client has said all."""
        self.complete = True
        self.until = NEVER
        if self.transport is not None:
            self.transport.receive_end()
        self._readers.wake()

    def lost(self) -> None:
        """The stream is over; whoever waits for it finds out."""
        self.gone = True
        self._pieces.clear()
        if self.transport is not None:
            self.transport.lose(ConnectionResetError("the stream was reset"))
        self._readers.wake()
        self._drainers.wake()

    def sent_some(self) -> None:
        """Frames were sent: those who wait for room may go on."""
        if self._drainers.waiting and (self.stream.queued <= LOW or self.stream.gone):
            self._drainers.wake()
        if self.transport is not None:
            self.transport.sent_some()

    def wake(self) -> None:
        """Something has changed: whoever waits looks again."""
        self._readers.wake()
        self._drainers.wake()

    def end_stream_of_events(self) -> None:
        """The server stops: end an event stream in order, so that its client connects anew."""
        head = self._response.prepared
        if self.active and self._response.started and head is not None and head.endless:
            try:
                self.send_end()
            except (ResponseError, ClientDisconnected):
                self.abort()
            self.gone = True
            self._readers.wake()

    def note_begun(self) -> None:
        """The request is there."""
        self._begin_record()
        self._id = self.request_id  # the application may outlive its response

    def log(self, record: Recorder, *, complete: bool) -> None:
        """Pass the finished request to the access log, unless that was done."""
        if self._started:
            unsent = 0 if complete else self.stream.queued
            self._write_record(record, max(self._payload - unsent, 0), complete=complete)

    # ---- the request body

    def read_body(self) -> bytes | None:
        """What has come of the request body; see `messages.AsyncExchange`."""
        if self._pieces:
            piece = self._pieces.popleft()
            self.received += len(piece)
            self.session.took(self.stream, len(piece))
            return piece
        if self.stream.gone or self.gone or not self.active:
            raise TruncatedBody("the request is over")
        return b"" if self.complete else None

    @property
    def body_complete(self) -> bool:
        """Whether all of the request body was read."""
        return self.complete and not self._pieces

    def news(self) -> "asyncio.Future[None]":
        """Wait for bytes of the body, the client's end, or the end of this response."""
        if self.active and not self.complete and self.transport is None:
            if self.request.expect_continue and not self._continued:
                self._continued = True
                # RFC 9110 §10.1.1: due when the application asks for the body.
                if not self.received and not self._response.started:
                    self._put_interim(self._response.interim([], 100))
            if not self.request.upgrade:
                self.until = monotonic() + self.core.body_timeout
                self.session.watch(self)
        return self._readers.wait()

    # ---- the response

    @property
    def head_sent(self) -> bool:
        """Whether a final response head was handed over."""
        return self._response.started and self._head is None

    @property
    def live(self) -> bool:
        """Whether there is somebody to send to."""
        return not (self.stream.gone or self.gone)

    def _check(self) -> None:
        if not self.live or not self.active:
            raise ClientDisconnected("the client is gone")

    @property
    def crowded(self) -> bool:
        """Whether to `drain` before more is sent."""
        return self.stream.queued > HIGH or self.session.congested

    @property
    def congested(self) -> bool:
        """Whether the client does not keep up."""
        return self.stream.queued > HIGH

    async def drain(self) -> None:
        """Wait until the client has taken most of what was sent. Raises ClientDisconnected."""
        session = self.session
        try:
            while self.live and (self.stream.queued > LOW or session.congested):
                session.await_room(self)
                await self._drainers.wait()
        finally:
            session.stop_awaiting(self)
        if not self.live:
            raise ClientDisconnected("the client is gone")

    heads = known_head = None
    """Kept are the fields, compressed; see `protocols.http2.response`."""

    def prepare_known(self, head: object) -> None:
        """Never called: no heads are kept."""
        raise NotImplementedError

    def prepare(self, status: str, headers: Headers) -> None:
        """Check and keep status and field lines of the response to come."""
        promise = self.session.promise
        if promise is not None:
            headers = promised(headers, promise)
        self._response.prepare(status, headers)

    @property
    def declared_length(self) -> int | None:
        """The Content-Length among the prepared field lines."""
        return self._response.declared_length

    def end_after(self) -> None:
        """Have this response be the last one of the connection, as far as others let it."""
        self.session.leave()

    def _put_interim(self, block: bytes) -> None:
        self.session.protocol.put_head(self.stream, block, ends=False)
        self.session.flush_soon()

    def send_early_hints(self, headers: Headers) -> None:
        """103 Early Hints, sent at once; nothing after the final head."""
        self._check()
        if not self._response.started:
            self._put_interim(self._response.interim(headers))

    def _note_head(self, size: int) -> None:
        if self.core.record is not None:
            self._sent_head = self._response.told()
            self._payload = size

    def _common(self) -> bytes:
        core = self.core
        now = monotonic()
        if now >= core.next_second:
            core.refresh(now)
        return core.common

    def send_whole(self, body: bytes) -> None:
        """A complete response."""
        self._check()
        block, wanted = self._response.whole(self.request, len(body), self._common())
        self._note_head(len(body) if wanted else 0)
        self.session.protocol.respond(self.stream, block, body if wanted else b"")
        self.session.responded(self)

    def send_head(self, length: int | None) -> None:
        """Start a response; the head leaves with the first piece of the body."""
        self._check()
        self._head = self._response.head(self.request, length, self._common())
        self._note_head(0)

    def _withdraw(self) -> None:
        """The application's mistake came before anything was sent: an error can be answered."""
        if self._head is not None:
            self._head = None
            self._response.withdraw()

    def _count(self, size: int) -> bool:
        try:
            return self._response.count(size)
        except ResponseError:
            self._withdraw()
            raise

    def send_data(self, data: bytes) -> None:
        """A piece of the body."""
        self._check()
        wanted = self._count(len(data))
        self._put_head(ends=False)
        if wanted:
            self._payload += len(data)
            self.session.protocol.put_body(self.stream, memoryview(data))
        self.session.flush_soon()

    def _put_head(self, *, ends: bool) -> None:
        head, self._head = self._head, None
        if head is not None:
            self.session.protocol.put_head(self.stream, head, ends=ends)

    async def send_file(self, file: BinaryIO, offset: int, count: int) -> None:
        """A range of a real file."""
        self._check()
        wanted = self._count(count)
        self._put_head(ends=False)
        if not wanted:
            return
        self._payload += count
        fd = file.fileno()
        try:
            while count:
                data = await asyncio.to_thread(_read, fd, min(count, _READ), offset)
                if not data:
                    raise ClientDisconnected("the file has become shorter")
                self._check()
                self.session.protocol.put_body(self.stream, memoryview(data))
                self.session.flush_soon()
                offset += len(data)
                count -= len(data)
                await self.drain()
        except BaseException:
            # Cancelled, say: what was announced was not sent, so nothing may follow it.
            self.abort()
            raise

    def send_end(self, trailers: Headers = []) -> None:  # noqa: B006
        """The body is complete."""
        self._check()
        try:
            tail = self._response.end(trailers)
        except ResponseError:
            self._withdraw()
            raise
        ends = self._head is not None and not tail
        self._put_head(ends=ends)
        if not ends:
            self.session.protocol.put_end(self.stream, tail)
        self.session.responded(self)

    def answer(self, status: str, headers: Headers, body: bytes) -> None:
        """A whole response of the server's own."""
        self.prepare(status, headers)
        self.send_whole(body)

    def refuse(self, exc: ProtocolError) -> None:
        """Answer a request that is not run, or not to its end."""
        self.core.counters.refuse(f"{exc.status} {exc.message}")
        self.until = NEVER
        if self.head_sent:
            self.abort()
            return
        self._withdraw()
        # Not the one an application may have prepared.
        self.answer(*refusal(exc))
        if self.core.record is not None and self._started:
            self._write_record(self.core.record, self._payload, complete=True, refusal=str(exc))
        self.gone = True
        self._pieces.clear()
        self._readers.wake()

    def abort(self) -> None:
        """The response cannot be completed: the stream is reset, so that the peer can tell."""
        if self.active:
            self._head = None
            self.session.protocol.reset(self.stream, INTERNAL_ERROR)
            self.session.over(self, complete=False)
            self.session.flush_soon()

    # ---- a WebSocket on the stream (RFC 8441)

    def switch(self, headers: Headers) -> bytes:
        """Answer the extended CONNECT; what the client has sent behind it."""
        self._check()
        assert self.transport is not None
        self.prepare("200 OK", headers)
        block = self._response.head(self.request, None, self._common())
        self._note_head(0)
        self.session.protocol.put_head(self.stream, block, ends=False)
        self.session.flush_soon()
        trailing = b"".join(self._pieces)
        self._pieces.clear()
        self.session.took(self.stream, len(trailing))
        self._readers.wake()
        self.session.switched(self)
        return trailing

    def finish_upgraded(self) -> None:
        """The WebSocket connection has ended, and with it its request."""
        self.session.over(self, complete=True)


def _read(fd: int, count: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(fd, count, offset)
    os.lseek(fd, offset, os.SEEK_SET)  # nobody else uses this descriptor
    return os.read(fd, count)
