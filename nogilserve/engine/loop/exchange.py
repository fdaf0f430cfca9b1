"""The side of a connection on an event loop that a request uses: its body, its response."""

import asyncio
from time import monotonic
from typing import BinaryIO, Final

from nogilserve.engine.loop.core import LoopCore
from nogilserve.engine.loop.flow import READ_HIGH, Flow
from nogilserve.engine.loop.sendfile import send_range
from nogilserve.engine.loop.states import CLOSING, HEAD, RUNNING
from nogilserve.engine.wheel import NEVER
from nogilserve.errors import ClientDisconnected, ProtocolError, ResponseError, TruncatedBody
from nogilserve.messages import Headers, Request, TlsFacts
from nogilserve.protocols.http1 import Http1Connection
from nogilserve.protocols.http1.tables import KnownHead

__all__ = ["DRAIN_BYTES", "HttpExchange"]

DRAIN_BYTES: Final = 1 << 18
"""What is read of a body that nobody wanted, so that the connection can go on."""

_LARGE: Final = 65536
"""Bytes from which on a piece of a body is not copied any more."""


class HttpExchange(Flow):
    """Owner: the thread of its loop. Implements `messages.AsyncExchange`, but for what says who
    talks to whom."""

    __slots__ = ("_continued", "_endless", "_head", "gone", "heads", "protocol", "state")

    tls: TlsFacts | None = None
    redirects = False
    # Connections that speak TLS, or only redirect, have their own.

    def __init__(self, core: LoopCore, client: tuple[str, str] | None) -> None:
        Flow.__init__(self, core, client)
        self.protocol = Http1Connection(core.limits, core.tables)
        self.heads = core.heads
        self.state = HEAD
        self.gone = False
        """The client has closed its sending side, or the connection is lost."""
        self._continued: Request | None = None
        """The last request that was answered with 100 Continue."""
        self._head = b""
        """A response head that waits for the first bytes of the body, to leave with them."""
        self._endless = False
        """The response is an event stream: it ends when somebody leaves."""

    def _refuse(self, exc: ProtocolError) -> None:
        """Answer a broken request, then close."""
        raise NotImplementedError

    def _responded(self, now: float) -> None:
        """The whole response is on its way; `now`: monotonic seconds."""
        raise NotImplementedError

    def _end_request(self, *, complete: bool) -> None:
        """The request is over for the connection, if not for the application."""
        raise NotImplementedError

    def _live(self) -> bool:
        return self.state == RUNNING

    # ---- the request body

    def read_body(self) -> bytes | None:
        """What has come of the request body; see `messages.AsyncExchange`."""
        if self.state != RUNNING:
            raise TruncatedBody("the request is over")
        protocol = self.protocol
        try:
            piece = protocol.read_body()
        except ProtocolError as exc:
            self._refuse(exc)
            raise TruncatedBody(f"the request body is broken: {exc}") from exc
        if piece:
            self.received += len(piece)
            if self._paused and protocol.buffered < READ_HIGH:
                self._resume_reading()
        return piece

    @property
    def body_complete(self) -> bool:
        """Whether all of the request body was read."""
        return self.protocol.body_complete

    def news(self) -> "asyncio.Future[None]":
        """Wait for bytes of the body, the client's end, or the end of this response."""
        if self.state == RUNNING and not self.protocol.body_complete:
            if self.request.expect_continue and self._continued is not self.request:
                self._continued = self.request
                # RFC 9110 §10.1.1: due when the application asks for the body.
                if not self.received and not self.head_sent and not self.protocol.buffered:
                    self._write(self.protocol.interim(100, []))
            self._await_body()
        return self._readers.wait()

    def _await_body(self) -> None:
        """Give the client the body timeout for its next bytes, if it owes any."""
        protocol = self.protocol
        if self.congested or protocol.body_complete:
            return
        if self.request.expect_continue and protocol.head_sent and not self.received:
            return  # it may send none after a response instead of 100 (RFC 9110 §10.1.1)
        self.core.set_deadline(self, self.core.body_timeout)

    # ---- the response

    @property
    def head_sent(self) -> bool:
        """Whether a final response head was handed over."""
        return self.protocol.head_sent and not self._head

    def _check(self) -> None:
        """Raise ClientDisconnected when there is nobody to respond to."""
        if self.transport.is_closing():
            self.gone = True  # connection_lost is on its way
        elif self.state == RUNNING and not (self.gone and self._endless):
            return
        raise ClientDisconnected("the client is gone")

    def prepare(self, status: str, headers: Headers) -> None:
        """Check and keep status and field lines of the response to come."""
        if self.state != RUNNING:
            self._check()
        self.protocol.prepare(status, headers)

    @property
    def known_head(self) -> KnownHead | None:
        """The head that was prepared last, if it is kept."""
        return self.protocol.known_head

    def prepare_known(self, head: KnownHead) -> None:
        """As `prepare`, for a head that was kept."""
        if self.state != RUNNING:
            self._check()
        self.protocol.prepare_known(head)

    def end_after(self) -> None:
        """Have this response be the last one of the connection."""
        self.protocol.keep_alive = False

    def send_early_hints(self, headers: Headers) -> None:
        """103 Early Hints, sent at once; nothing after the final head."""
        self._check()
        if not self.protocol.head_sent:
            self._write(self.protocol.interim(103, headers))

    def send_whole(self, body: bytes) -> None:
        """A complete response."""
        if self.state != RUNNING:
            self._check()
        if self.request.body:
            self._expect_end()
        if len(body) > _LARGE:
            self.send_head(len(body))
            self.send_data(body)
            self.send_end()
            return
        core = self.core
        now = monotonic()
        if now >= core.next_second:
            core.refresh(now)
        data = self.protocol.whole(body, core.common)
        if core.record is not None:
            end = data.index(b"\r\n\r\n") + 4
            self._sent_head = data[:end]
            self._payload = len(data) - end
        core.counters.sent += len(data)
        if core.sockets is None:
            self.transport.write(data)
        else:
            self.transport.write_whole(data)
        self._responded(now)

    def _expect_end(self) -> None:
        """Tell the client, in the head of a complete response, when too much of its body will not
        be read; an application that streams may still read all of it."""
        if self.protocol.body_left > DRAIN_BYTES:
            self.protocol.keep_alive = False

    def _common(self) -> bytes:
        core = self.core
        core.refresh(monotonic())
        return core.common

    def send_head(self, length: int | None) -> None:
        """Start a response; the head leaves with the first piece of the body."""
        self._check()
        self._head = self.protocol.head(length, self._common())
        self._sent_head = self._head
        self._payload = 0
        if not self.congested:
            self.deadline = NEVER
        self._endless = b"text/event-stream" in self._head

    def send_data(self, data: bytes) -> None:
        """A piece of the body."""
        self._check()
        try:
            if len(data) <= _LARGE:
                parts = [self.protocol.data(data)]
                wanted = bool(parts[0])
            else:
                frame = self.protocol.frame(len(data))
                wanted = frame is not None
                parts = [] if frame is None else [frame[0], data, frame[1]]
        except ResponseError:
            self._withdraw()
            raise
        if wanted:
            self._payload += len(data)
        self._put(parts)

    def _put(self, parts: list[bytes]) -> None:
        """Send these with the head, if that is still to go."""
        head, self._head = self._head, b""
        if len(parts) > 1:
            parts[0] = head + parts[0]
            self._write_parts([part for part in parts if part])
            return
        data = head + parts[0] if parts else head
        if data:
            self._write(data)

    def _withdraw(self) -> None:
        """The application's mistake came before anything was sent: an error can be answered."""
        if self._head:
            self._head = b""
            self.protocol.withdraw()

    async def send_file(self, file: BinaryIO, offset: int, count: int) -> None:
        """A range of a real file, by sendfile where the loop has it."""
        self._check()
        try:
            frame = self.protocol.frame(count)
        except ResponseError:
            self._withdraw()
            raise
        self._put([frame[0]] if frame is not None else [])
        if frame is None or not count:
            return
        self._payload += count
        self.core.counters.sent += count
        try:
            await send_range(self, file, offset, count, self.core.write_timeout)
        except OSError as exc:
            self.transport.abort()
            raise ClientDisconnected(f"the client is gone: {exc}") from exc
        except BaseException:
            # Cancelled, say: what was announced was not sent, so nothing may follow it.
            self.transport.abort()
            raise
        self._check()
        if frame[1]:
            self._write(frame[1])

    def send_end(self, trailers: Headers = []) -> None:  # noqa: B006
        """The body is complete."""
        self._check()
        try:
            rest = self.protocol.end(trailers)
        except ResponseError:
            self._withdraw()
            raise
        self._put([rest])
        self._endless = False
        self._responded(monotonic())

    def abort(self) -> None:
        """The response cannot be completed: the connection ends, so that the client can tell."""
        if self.state == RUNNING:
            self.protocol.keep_alive = False
            self._head = b""
            self.state = CLOSING
            self._end_request(complete=False)
            self.transport.abort()
