"""One client connection on an event loop: transport ↔ HTTP/1 protocol ↔ gateway.

    HEAD ──complete──▶ RUNNING ──answered──▶ HEAD, or LINGER, or CLOSING ──▶ CLOSED
                          └──101──▶ UPGRADED (`websocket` goes on)

The application is called as soon as the head is there, and takes the body as it comes. It may run
on after its response; the connection does not wait for it.
"""

import asyncio
import logging
from time import monotonic
from typing import Any, BinaryIO, Final, cast

from nogilserve.engine.loop.core import Accepted, LoopCore
from nogilserve.engine.loop.flow import READ_HIGH, Flow
from nogilserve.engine.loop.sendfile import send_range
from nogilserve.engine.loop.websocket import WebSocketSession
from nogilserve.engine.wheel import NEVER
from nogilserve.errors import ClientDisconnected, ProtocolError, ResponseError, TruncatedBody
from nogilserve.messages import Headers
from nogilserve.protocols.http1 import Http1Connection
from nogilserve.protocols.websocket import Handshake, wants_websocket

__all__ = ["HttpConnection"]

_log = logging.getLogger("nogilserve.engine")

HEAD: Final = 0
"""Idle, or in the middle of a request head."""
RUNNING: Final = 1
"""A request was given to the application and is not answered yet."""
LINGER: Final = 2
"""The last response is sent; what the client still sends is thrown away (RFC 9112 §9.6)."""
CLOSING: Final = 3
"""Only what was sent already still has to leave."""
CLOSED: Final = 4
UPGRADED: Final = 5
"""Another object owns the transport now."""

_AT_ONCE: Final = 16
"""Pipelined requests answered before other connections get their turn."""
_LARGE: Final = 65536
"""Bytes from which on a piece of a body is not copied any more."""
_LINGER_SECONDS: Final = 2.0
_LINGER_BYTES: Final = 1 << 20
_FRESH_SECONDS: Final = 1.0
"""How long a stopping server waits for the first request of a connection it has accepted."""
_LAST_CALL: Final = 0.05
"""How long a stopping server lets an idle connection finish what is on its way already."""


class HttpConnection(Flow):
    """Owner: the thread of its loop. Implements `messages.AsyncExchange`."""

    __slots__ = (
        "_advancing",
        "_continued",
        "_endless",
        "_fresh",
        "_head",
        "_in_head",
        "_lingered",
        "gone",
        "local",
        "peer",
        "protocol",
        "scheme",
        "state",
    )

    def __init__(self, core: LoopCore, accepted: Accepted) -> None:
        Flow.__init__(self, core, accepted.client)
        self.scheme = "http"
        client, (host, port) = accepted.client, accepted.server
        self.peer = None if client is None else (client[0], int(client[1]))
        self.local = (host, int(port) if port.isdigit() else None)
        self.protocol = Http1Connection(core.limits, core.tables)
        self.state = HEAD
        self.gone = False
        """The client has closed its sending side, or the connection is lost."""
        self._advancing = False
        self._fresh = True
        """No request so far."""
        self._in_head = False
        """The deadline is that of a head that has begun."""
        self._continued = False
        """100 Continue was sent."""
        self._head = b""
        """A response head that waits for the first bytes of the body, to leave with them."""
        self._endless = False
        """The response is an event stream: it ends when somebody leaves."""
        self._lingered = 0

    # ---- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there (asyncio.Protocol)."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        core = self.core
        core.counters.accepted += 1
        core.opened(self)
        core.set_deadline(self, core.head_timeout)
        if core.stopping:
            self.stop()

    def data_received(self, data: bytes) -> None:
        """Bytes of the client (asyncio.Protocol)."""
        self.core.counters.received += len(data)
        state = self.state
        if state == HEAD:
            self.protocol.receive_data(data)
            if not self.congested:
                self._advance()
        elif state == RUNNING:
            protocol = self.protocol
            protocol.receive_data(data)
            if protocol.buffered >= READ_HIGH:
                self._pause_reading()
            if not self.congested:
                self.deadline = NEVER  # of the body, until the application waits for more
            self._readers.wake()
        elif state == LINGER:
            self._lingered += len(data)
            if self._lingered > _LINGER_BYTES:
                self._close()

    def eof_received(self) -> bool:
        """The client has closed its sending side (asyncio.Protocol). It may still read."""
        self.gone = True
        if self.state == HEAD:
            self.protocol.receive_data(b"")
            if not self.congested:
                self._advance()
        elif self.state == RUNNING:
            self.protocol.receive_data(b"")
            self._readers.wake()
        elif self.state == LINGER:
            self._close()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended, by either side (asyncio.Protocol)."""
        if self.state == UPGRADED:
            return
        running = self.state == RUNNING
        self.state = CLOSED
        self.gone = True
        self.deadline = NEVER
        if running:
            self._end_request(complete=False)
        self._readers.wake()
        self._drainers.wake()
        self.core.closed(self)

    def _resumed(self) -> None:
        if self.state == HEAD:
            self.core.set_deadline(self, self.core.keep_alive)
            self._advance()
        elif self.state == RUNNING:
            self.deadline = NEVER
        elif self.state == LINGER:
            self.core.set_deadline(self, _LINGER_SECONDS)

    def _live(self) -> bool:
        return self.state == RUNNING

    # ---- requests

    def _advance(self) -> None:
        """Run the requests that are complete."""
        protocol, core = self.protocol, self.core
        self._advancing = True
        try:
            for _ in range(_AT_ONCE):
                try:
                    request = protocol.next_request()
                except ProtocolError as exc:
                    self._refuse(exc)
                    return
                if request is None:
                    if protocol.eof:
                        self._close()
                    elif protocol.head_started and not self._in_head:
                        # The head's time runs from its first byte, not from each of its pieces.
                        self._in_head = True
                        core.set_deadline(self, core.head_timeout)
                    return
                self._begin(request)
                if self.state != HEAD or self.congested:
                    return
                if not protocol.buffered and not protocol.eof:
                    return
        finally:
            self._advancing = False
        self._advance_soon()

    def _advance_soon(self) -> None:
        self.core.loop.call_soon(self._advance_later)

    def _advance_later(self) -> None:
        if self.state == HEAD and not self.congested and not self._advancing:
            self._advance()

    def _begin(self, request: Any) -> None:
        """Give a request to the application."""
        core = self.core
        self.request = request
        self.received = 0
        self.state = RUNNING
        self.deadline = NEVER
        self._in_head = self._fresh = self._continued = self._endless = False
        if core.record is not None:
            self._begin_record()
            self._id = self.request_id  # the application may outlive its response
        if core.stopping or not core.keep_alive:
            self.protocol.keep_alive = False
        core.active += 1
        if not core.beating:
            core.touch()
        if request.upgrade and wants_websocket(request):
            try:
                handshake = Handshake(request)
            except ProtocolError as exc:
                self._refuse(exc)
                return
            core.spawn(core.gateway.websocket(WebSocketSession(self, handshake)))
            return
        core.spawn(core.gateway.http(self))

    def _end_request(self, *, complete: bool) -> None:
        """The request is over for the connection, if not for the application."""
        core = self.core
        core.counters.requests += 1
        core.active -= 1
        if core.record is not None and self._started:
            unsent = 0 if complete else self._unsent
            self._write_record(core.record, max(self._payload - unsent, 0), complete=complete)
        self._id = ""
        self._head = b""
        if self._readers.waiting:
            self._readers.wake()

    def _responded(self, now: float) -> None:
        """The whole response is on its way."""
        protocol, core = self.protocol, self.core
        self._end_request(complete=True)
        if self.request.body and not protocol.body_complete:
            self._drop_body()
        if not protocol.next_cycle():
            self._end_after_response()
            return
        self.state = HEAD
        if self._paused:
            self._resume_reading()
        if not self.congested:
            self.deadline = deadline = now + core.keep_alive
            if deadline < self.due - 1:
                core.enter(self)
        if core.stopping:
            self.stop()  # and the client was told that the connection stays
        elif not self._advancing and (protocol.buffered or protocol.eof):
            self._advance_soon()

    def _end_after_response(self) -> None:
        """No request follows."""
        protocol = self.protocol
        if self.request.keep_alive or protocol.buffered or not protocol.body_complete:
            # The client does not expect the end: closing on top of what it may be sending
            # would reset the connection under our response (RFC 9112 §9.6).
            self._begin_linger()
        else:
            self._close()

    def _drop_body(self) -> None:
        """Throw away what has come of a body that the application did not want."""
        try:
            while self.protocol.read_body():
                pass
        except (ProtocolError, TruncatedBody):
            pass  # it shows in next_cycle()

    def _refuse(self, exc: ProtocolError) -> None:
        """Answer a broken request, then close. Nothing that follows it is run."""
        core = self.core
        core.counters.refuse(f"{exc.status} {exc.message}")
        begun = self.protocol.head_sent
        data = self.protocol.error(exc, core.common)
        if core.record is not None and not begun:
            line = self.protocol.refused_line
            self._record_refusal(core.record, data, exc, line)
        if self.state == RUNNING:
            self.state = LINGER
            self._end_request(complete=False)
        self.gone = True
        if begun:
            self.transport.abort()
            return
        self._write(data)
        self._begin_linger()

    def _begin_linger(self) -> None:
        if not self.transport.can_write_eof() or self.protocol.eof:
            self._close()
            return
        self.state = LINGER
        self._resume_reading()
        self.transport.write_eof()
        self.core.set_deadline(self, _LINGER_SECONDS)

    def _close(self) -> None:
        """End the connection when everything that was sent has left."""
        if self.state in {CLOSING, CLOSED}:
            return
        self.state = CLOSING
        self.deadline = NEVER
        if self.transport.get_write_buffer_size():
            self._watch_progress()
        self.transport.close()

    # ---- what the core calls

    def on_deadline(self) -> None:
        """The deadline of the state has passed."""
        if self.congested or self.state == CLOSING:
            self._expire_writing()
        elif self.state == HEAD and self._in_head:
            self._refuse(ProtocolError(408, "the request head took too long"))
        elif self.state == RUNNING:
            self._refuse(ProtocolError(408, "the request body stalled"))
        else:
            self._close()

    def stop(self) -> None:
        """The server stops: an idle connection ends now, any other after its response. Where the
        core is patient an idle one may ask once more, until its time is over."""
        if self.state == RUNNING:
            if not self.protocol.head_sent:
                self.protocol.keep_alive = False
            elif self._endless:
                self._end_stream()
        elif self.state == HEAD and not self.core.patient:
            wait = _FRESH_SECONDS if self._fresh else _LAST_CALL
            self.core.loop.call_later(wait, self._stop_idle)

    def _stop_idle(self) -> None:
        if self.state == HEAD and not self._in_head:
            self._close()

    def _end_stream(self) -> None:
        """End an event stream in order, so that its client connects anew."""
        self.protocol.keep_alive = False
        try:
            self.send_end()
        except (ResponseError, ClientDisconnected):
            self.transport.abort()
        self.gone = True

    def now_running(self) -> str:
        """The request inside the application, "" for none. Any thread."""
        if self.state != RUNNING:
            return ""
        return f"{self.request.method} {self.request.target}"

    # ---- the exchange: the request body

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
            if self.request.expect_continue and not self._continued:
                self._continued = True
                # RFC 9110 §10.1.1: due when the application asks for the body.
                if not self.received and not self.head_sent and not self.protocol.buffered:
                    self._write(self.protocol.interim(100, []))
            if not self.congested:
                self.core.set_deadline(self, self.core.body_timeout)
        return self._readers.wait()

    # ---- the exchange: the response

    @property
    def head_sent(self) -> bool:
        """Whether a final response head was handed over."""
        return self.protocol.head_sent and not self._head

    def _check(self) -> None:
        """Raise ClientDisconnected when there is nobody to respond to."""
        if self.state != RUNNING or (self.gone and self._endless):
            raise ClientDisconnected("the client is gone")

    def prepare(self, status: str, headers: Headers) -> None:
        """Check and keep status and field lines of the response to come."""
        if self.state != RUNNING:
            self._check()
        self.protocol.prepare(status, headers)

    def send_early_hints(self, headers: Headers) -> None:
        """103 Early Hints, sent at once; nothing after the final head."""
        self._check()
        if not self.protocol.head_sent:
            self._write(self.protocol.interim(103, headers))

    def send_whole(self, body: bytes) -> None:
        """A complete response."""
        if self.state != RUNNING:
            self._check()
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
        self.transport.write(data)
        self._responded(now)

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
            self.core.counters.sent += sum(map(len, parts))
            self.transport.writelines([part for part in parts if part])
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
        self._responded(monotonic())

    def abort(self) -> None:
        """The response cannot be completed: the connection ends, so that the client can tell."""
        if self.state == RUNNING:
            self.protocol.keep_alive = False
            self._head = b""
            self.state = CLOSING
            self._end_request(complete=False)
            self.transport.abort()

    # ---- the upgrade

    def switch(self, headers: Headers) -> bytes:
        """Answer 101 and let go of the transport; what the client has sent behind its request."""
        self._check()
        data = self.protocol.switch("websocket", headers, self._common())
        self._sent_head = data
        self._write(data)
        self.state = UPGRADED
        trailing = self.protocol.take_trailing()
        self._resume_reading()
        self.core.clients.discard(self)
        self.core.active -= 1  # an open WebSocket is not waited for
        return trailing

    def finish_upgraded(self) -> None:
        """The WebSocket connection has ended, and with it its request."""
        self.core.active += 1
        self._end_request(complete=True)
