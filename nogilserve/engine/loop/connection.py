"""One client connection on an event loop: transport ↔ HTTP/1 protocol ↔ gateway.

Its states are those of `states`. The application is called as soon as the head is there, and
takes the body as it comes. It may run on after its response; the connection does not wait for it.
"""

import asyncio
import logging
from time import monotonic
from typing import Final, cast

from nogilserve.engine.admission import (
    OVERLOADED,
    OVERLOADED_BODY,
    OVERLOADED_FIELDS,
    OVERLOADED_STATUS,
)
from nogilserve.engine.loop.core import Accepted, LoopCore
from nogilserve.engine.loop.direct import Transport
from nogilserve.engine.loop.exchange import DRAIN_BYTES, HttpExchange
from nogilserve.engine.loop.flow import READ_HIGH
from nogilserve.engine.loop.states import (
    CLOSED,
    CLOSING,
    DRAINING,
    HEAD,
    LINGER,
    RUNNING,
    UPGRADED,
)
from nogilserve.engine.proxied import announce, judge, trusting
from nogilserve.engine.wheel import NEVER
from nogilserve.errors import ClientDisconnected, ProtocolError, ResponseError, TruncatedBody
from nogilserve.messages import Headers, Request
from nogilserve.protocols.proxy import Preamble
from nogilserve.protocols.websocket import wants_websocket

__all__ = ["HttpConnection"]

_log = logging.getLogger("nogilserve.engine")

_AT_ONCE: Final = 16
"""Pipelined requests answered before other connections get their turn."""
_LINGER_SECONDS: Final = 2.0
_LINGER_BYTES: Final = 1 << 20
_FRESH_SECONDS: Final = 1.0
"""How long a stopping server waits for the first request of a connection it has accepted."""
_LAST_CALL: Final = 0.05
"""How long a stopping server lets an idle connection finish what is on its way already."""


# What is known of the next request head.
_FIRST: Final = 1
"""There was no request so far."""
_BEGUN: Final = 2
"""Some of it has come, and the deadline is the head's."""


class _Nothing(Preamble):
    """Nothing is said before the first request: for connections that are looked at as they begin.
    Owner: the connection it begins."""

    __slots__ = ()

    def receive(self, data: bytes) -> bool:
        """Take what comes first."""
        self.rest = data
        return True


class HttpConnection(HttpExchange):
    """Owner: the thread of its loop. Implements `messages.AsyncExchange`."""

    __slots__ = (
        "_advancing",
        "_head_to_come",
        "_lingered",
        "_preamble",
        "judged",
        "local",
        "origins",
        "own",
        "peer",
        "scheme",
        "server",
    )

    def __init__(self, core: LoopCore, accepted: Accepted) -> None:
        HttpExchange.__init__(self, core, accepted.client)
        self.scheme = "http"
        self.server = accepted.server
        self.own = (accepted.client, "http", accepted.server)
        self.origins = trusting(core.origins, accepted.client)
        self.judged: Request | None = None
        self.peer: tuple[str, int] | None = None
        self.local: tuple[str, int | None] = ("", None)
        self._locate()
        self._preamble: Preamble | None = None
        """Reads what a load balancer says before HTTP begins."""
        self._advancing = False
        self._head_to_come = _FIRST
        """_FIRST, _BEGUN, both or none."""
        self._lingered = 0

    def _locate(self) -> None:
        """Who talks to whom, in the form that applications get."""
        client, (host, port) = self.client, self.server
        self.peer = None if client is None else (client[0], int(client[1]))
        self.local = (host, int(port) if port.isdigit() else None)

    # ---- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there (asyncio.Protocol)."""
        self.transport = cast(Transport, transport)
        core = self.core
        core.counters.accepted += 1
        core.opened(self)
        core.set_deadline(self, core.head_timeout)
        if core.stopping:
            self.stop()
        if core.proxies.preambles:
            try:
                self._preamble = core.proxies.preamble(self.client)
            except ProtocolError as exc:
                self._refuse(exc)
                return
        if core.only_http2 and self._preamble is None:
            self._preamble = _Nothing(required=False)

    def data_received(self, data: bytes) -> None:
        """Bytes of the client (asyncio.Protocol)."""
        self.core.counters.received += len(data)
        state = self.state
        if state == HEAD:
            if self._preamble is not None:
                data = self._begin_http(self._preamble, data)
                if not data:
                    return
            protocol = self.protocol
            if self.congested:
                protocol.receive_data(data)
                if protocol.buffered >= READ_HIGH:
                    self._pause_reading()  # a client that asks and asks and does not read
                return
            try:
                request = protocol.receive_request(data)
            except ProtocolError as exc:
                self._fail(exc)
                return
            if request is None:
                self._await_head()
            elif protocol.buffer or self.origins is not None:
                self._advance(request)
            else:
                self._begin(request)
        elif state == RUNNING:
            protocol = self.protocol
            protocol.receive_data(data)
            if protocol.buffered >= READ_HIGH:
                self._pause_reading()
            if not self.congested:
                self.deadline = NEVER  # of the body, until the application waits for more
            self._readers.wake()
        elif state == DRAINING:
            self._lingered += len(data)
            self.protocol.receive_data(data)
            self._drain_body(monotonic())
        elif state == LINGER:
            self._lingered += len(data)
            if self._lingered > _LINGER_BYTES:
                self._close()

    def _begin_http(self, preamble: Preamble, data: bytes) -> bytes:
        """What is there of HTTP/1, b"" as long as there is nothing."""
        data = self._read_preamble(preamble, data)
        if data and self.core.only_http2 and self.core.begin_http2 is not None:
            self.core.begin_http2(self, data)
            return b""
        return data

    def _read_preamble(self, preamble: Preamble, data: bytes) -> bytes:
        """Read a PROXY header; what stands behind it, b"" as long as there is nothing."""
        try:
            if not preamble.receive(data):
                return b""
        except ProtocolError as exc:
            self._refuse(exc)
            return b""
        self._preamble = None
        if preamble.announced is not None:
            announce(self, self.core.origins, preamble.announced)
            self._locate()
        return preamble.rest

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
        elif self.state in {LINGER, DRAINING}:
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
            if self._readers.awaited:
                self._await_body()
        elif self.state == DRAINING:
            self.core.set_deadline(self, self.core.body_timeout)
        elif self.state == LINGER:
            self.core.set_deadline(self, _LINGER_SECONDS)

    # ---- requests

    def _advance(self, request: Request | None = None) -> None:
        """Run the requests that are complete, after `request`, which was the next one."""
        protocol = self.protocol
        self._advancing = True
        try:
            for _ in range(_AT_ONCE):
                try:
                    if request is None:
                        request = protocol.next_request()
                    if self.origins is not None and request is not None:
                        request = self._judge(request)
                except ProtocolError as exc:
                    self._fail(exc)
                    return
                if request is None:
                    self._await_head()
                    return
                self._begin(request)
                if self.state != HEAD or self.congested:
                    return
                if not protocol.buffer and not protocol.eof:
                    return
                request = None
        finally:
            self._advancing = False
        if protocol.buffered >= READ_HIGH:
            self._pause_reading()  # until these are served
        self._advance_soon()

    def _judge(self, request: Request) -> Request:
        """See whom the request is from, where proxies are believed."""
        if request is not self.judged:
            request = judge(self, request)
            self._locate()
        return request

    def _fail(self, exc: ProtocolError) -> None:
        """What has come is no HTTP/1 request."""
        begin_http2, first = self.core.begin_http2, bool(self._head_to_come & _FIRST)
        if begin_http2 is not None and self.protocol.leaves(first=first):
            begin_http2(self, self.protocol.preface)
            return
        self.client, self.scheme, self.server = self.own  # not the request before's
        self._refuse(exc)

    def _await_head(self) -> None:
        """There is no request, or only a part of its head."""
        self._resume_reading()
        if self.protocol.eof:
            self._close()
        elif self.protocol.head_started and not self._head_to_come & _BEGUN:
            # The head's time runs from its first byte, not from each of its pieces.
            self._head_to_come |= _BEGUN
            self.core.set_deadline(self, self.core.head_timeout)

    def _advance_soon(self) -> None:
        self.core.loop.call_soon(self._advance_later)

    def _advance_later(self) -> None:
        if self.state == HEAD and not self.congested and not self._advancing:
            self._advance()

    def _begin(self, request: Request) -> None:
        """Give a request to the application."""
        core = self.core
        self.request = request
        self.received = 0
        self.state = RUNNING
        self.deadline = NEVER
        self._head_to_come = 0
        core.active += 1
        if core.careful and not self._admit():
            return
        if not core.beating:
            core.touch()
        if request.upgrade and wants_websocket(request):
            self._begin_websocket(request)
        else:
            core.spawn(core.gateway.http(self))

    def _admit(self) -> bool:
        """Look at a request more closely; False: it is answered already."""
        core = self.core
        if core.record is not None:
            self._begin_record()
            if core.record.ids:
                self._id = self.request_id  # the application may outlive its response
        if core.stopping or not core.keep_alive:
            self.protocol.keep_alive = False
        if core.limit and core.crowded():
            self._turn_away()
            return False
        return True

    def _begin_websocket(self, request: Request) -> None:
        # Imported for those who ask for one, see there.
        from nogilserve.engine.loop.websocket import WebSocketSession
        from nogilserve.protocols.websocket import Handshake

        try:
            handshake = Handshake(request)
        except ProtocolError as exc:
            self._refuse(exc)
            return
        self.core.spawn(self.core.gateway.websocket(WebSocketSession(self, handshake)))

    def _turn_away(self) -> None:
        """Answer 503 in place of the application. The connection stays: a new one costs more."""
        counters = self.core.counters
        counters.refuse(OVERLOADED)
        counters.requests -= 1  # it counts when it ends, but was not run
        self.prepare(OVERLOADED_STATUS, OVERLOADED_FIELDS)
        self.send_whole(OVERLOADED_BODY)

    def _end_request(self, complete: bool = True) -> None:
        """The request is over for the connection, if not for the application."""
        core = self.core
        core.counters.requests += 1
        core.active -= 1
        if core.record is not None and self._started:
            unsent = 0 if complete else self._unsent
            self._write_record(core.record, max(self._payload - unsent, 0), complete=complete)
        if self._id:
            self._id = ""
        if self._readers.waiting:
            self._readers.wake()

    def _responded(self, now: float) -> None:
        """The whole response is on its way."""
        self._end_request()
        if self.request.body and not self.protocol.body_complete:
            self.state = DRAINING
            self._lingered = 0
            self._drain_body(now)
        else:
            self._next_cycle(now)

    def _drain_body(self, now: float) -> None:
        """Throw away what has come of a body that the application did not want."""
        protocol = self.protocol
        try:
            while protocol.read_body():
                pass
        except (ProtocolError, TruncatedBody):
            protocol.keep_alive = False
        if protocol.body_complete or not protocol.keep_alive or self._lingered > DRAIN_BYTES:
            self._next_cycle(now)
        else:
            self._resume_reading()
            if not self.congested:
                self.core.set_deadline(self, self.core.body_timeout)

    def _next_cycle(self, now: float) -> None:
        """The response is sent and the body read: go on, or end."""
        protocol, core = self.protocol, self.core
        if not protocol.next_cycle():
            self._end_after_response()
            return
        self.state = HEAD
        if self._paused and protocol.buffered < READ_HIGH:
            self._resume_reading()
        if not self.congested:
            self.deadline = deadline = now + core.keep_alive
            if deadline < self.due - 1:
                core.enter(self)
        if core.stopping:
            self.stop()  # and the client was told that the connection stays
        elif not self._advancing and (protocol.buffer or protocol.eof):
            self._advance_soon()

    def _end_after_response(self) -> None:
        """No request follows."""
        protocol, core = self.protocol, self.core
        sending = protocol.buffered or not protocol.body_complete
        if self.request.keep_alive or sending:
            # The client does not expect the end: closing on top of what it may be sending
            # would reset the connection under our response (RFC 9112 §9.6).
            self._begin_linger()
            if core.stopping and not core.patient and not sending:
                core.loop.call_later(_LAST_CALL, self._close)
        else:
            self._close()

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
        if self.congested:
            self._watch_progress()  # what was sent before has its time all the same
        else:
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
        elif self.state == HEAD and self._head_to_come & _BEGUN:
            self._refuse(ProtocolError(408, "the request head took too long"))
        elif self.state == RUNNING:
            if self._readers.awaited:  # else nobody waits for the client any longer
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
            wait = _FRESH_SECONDS if self._head_to_come & _FIRST else _LAST_CALL
            self.core.loop.call_later(wait, self._stop_idle)

    def _stop_idle(self) -> None:
        if self.state == HEAD and not self._head_to_come & _BEGUN:
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
        self._readers.wake()  # who has asked for messages early waits on for them
        self.core.clients.discard(self)
        self.core.active -= 1  # an open WebSocket is not waited for
        return trailing

    def finish_upgraded(self) -> None:
        """The WebSocket connection has ended, and with it its request."""
        self.core.active += 1
        self._end_request(complete=True)
