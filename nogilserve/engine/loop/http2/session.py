"""One HTTP/2 connection on its event loop."""

import asyncio
import logging
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from nogilserve.engine.admission import (
    OVERLOADED,
    OVERLOADED_BODY,
    OVERLOADED_FIELDS,
    OVERLOADED_STATUS,
)
from nogilserve.engine.loop.http2.exchange import StreamExchange
from nogilserve.engine.loop.http2.transport import StreamTransport
from nogilserve.engine.loop.states import CLOSING
from nogilserve.engine.loop.websocket import WebSocketSession
from nogilserve.engine.proxied import judge
from nogilserve.engine.wheel import NEVER
from nogilserve.errors import ProtocolError
from nogilserve.messages import Request
from nogilserve.protocols.http2 import (
    BODY,
    CANCEL,
    END,
    PROTOCOL_ERROR,
    REFUSED,
    REQUEST,
    Event,
    Http2Connection,
    ResponseTables,
    Stream,
)
from nogilserve.protocols.websocket import Handshake, wants_websocket

if TYPE_CHECKING:
    from nogilserve.engine.loop.connection import HttpConnection

__all__ = ["Session"]

_log = logging.getLogger("nogilserve.engine")

_ROUND: Final = 1 << 16
"""Bytes made into frames and sent at once."""
_MOST_OUT: Final = 1 << 18
"""Bytes of answers to frames, not taken by the client, above which nothing more is read."""
_MOST_UNSENT: Final = 1 << 22
"""Bytes of complete responses not taken by the client above which no request is begun."""
_LEAVE_SECONDS: Final = 1.0
"""How long a client gets to hear that we leave."""
_LINGER_SECONDS: Final = 2.0


class StreamWebSocket(WebSocketSession):
    """A WebSocket whose end is not that of its connection. Owner: the thread of its loop."""

    __slots__ = ()

    def _left(self) -> None:
        core = self.core
        core.clients.discard(self)
        if core.stopping:
            core.check_idle()


class Session(asyncio.Protocol):
    """Owner: the thread of its loop."""

    def __init__(self, connection: "HttpConnection") -> None:
        self.connection = connection
        self.core = core = connection.core
        self.transport = connection.transport
        self.protocol = Http2Connection(core.limits, websockets=True)
        if core.responses is None:
            core.responses = ResponseTables(core.tables)
        self.tables: ResponseTables = core.responses
        hsts = "" if core.encryption is None else core.encryption.strict_transport
        self.promise = (
            ("Strict-Transport-Security", hsts) if hsts and connection.tls is not None else None
        )
        """A field of every response (RFC 6797 §6.1)."""
        self.congested = False
        """The client takes less than is sent."""
        self.deadline = NEVER
        self.due = NEVER
        self._exchanges: set[StreamExchange] = set()
        """Requests that are not answered, or whose answer is not sent."""
        self._sending: set[StreamExchange] = set()
        """Those whose answer waits for the client."""
        self._waiting: deque[StreamExchange] = deque()
        """Requests that are not begun as long as the client does not take what it has asked for:
        each response may be large, and there may be a hundred."""
        self._timed: set[StreamExchange] = set()
        """Those whose application waits for the client's body."""
        self._draining: set[StreamExchange] = set()
        """Those whose application waits until the client has taken more."""
        self._corked = False
        self._flushing = False
        """A flush is on its way."""
        self._paused = False
        self._ending = False
        self._unsent = 0
        self._head_until = self._idle_until = self._leave_until = self._stall_until = NEVER

    def begin(self, data: bytes) -> None:
        """Take over the connection of which `data` was read."""
        connection, core = self.connection, self.core
        connection.state = CLOSING  # nothing of it is left but its end
        connection.deadline = NEVER
        core.clients.discard(connection)
        core.opened(self)
        self.transport.set_protocol(self)
        upgraded = connection.protocol.upgraded
        stream = None if upgraded is None else self.protocol.upgrade(upgraded)
        if stream is not None:
            self._begin_request(stream, complete=True)
        if core.stopping:
            self.stop()
        self._take(data)
        if connection.gone:
            self.eof_received()

    # ---- what the transport calls

    def data_received(self, data: bytes) -> None:
        """Bytes of the client (asyncio.Protocol)."""
        self.core.counters.received += len(data)
        if not self._ending:  # what still comes, in TLS not even decrypted, is nobody's
            self._take(data)

    def _take(self, data: bytes) -> None:
        self._corked = True
        try:
            for event in self.protocol.receive(data, monotonic()):
                self._on_event(event)
        finally:
            self._corked = False
        self._flush()

    def _on_event(self, event: Event) -> None:
        kind, stream, payload = event
        exchange = stream.owner
        if kind == REQUEST:
            self._begin_request(stream, complete=payload is not None)
        elif kind == BODY:
            assert isinstance(payload, bytes)
            if exchange is not None and exchange in self._exchanges and not exchange.gone:
                exchange.add(payload)
        elif kind == END:
            if exchange is not None:
                exchange.ended()
        elif kind == REFUSED:
            assert isinstance(payload, ProtocolError)
            if exchange is None:
                assert stream.request is not None
                exchange = self._make(stream, stream.request)
                exchange.note_refused(stream.request)
            if not exchange.active:  # it was not begun
                self._activate(exchange)
                self.core.counters.requests -= 1  # it counts when it ends, but was not run
            self._refuse(exchange, payload)
        elif exchange is not None:
            exchange.lost()
            self.over(exchange, complete=False)

    def eof_received(self) -> bool:
        """The client has left: without its side no window is ever widened again."""
        self.transport.abort()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended, by either side (asyncio.Protocol)."""
        self.deadline = NEVER
        self._ending = True
        for exchange in [*self._exchanges]:
            self.protocol.drop(exchange.stream)
            exchange.lost()
            self.over(exchange, complete=False)
        self.core.clients.discard(self)
        self.connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """The client takes less than is sent (asyncio.BaseProtocol)."""
        self.congested = True
        self._unsent = self.transport.get_write_buffer_size()
        self._stall_until = monotonic() + self.core.write_timeout
        self._settle()

    def resume_writing(self) -> None:
        """The client has taken most of it (asyncio.BaseProtocol)."""
        self.congested = False
        self._stall_until = NEVER
        self._flush()

    # ---- requests

    def _make(self, stream: Stream, request: Request) -> StreamExchange:
        exchange = StreamExchange(self, stream, request)
        stream.owner = exchange
        self._exchanges.add(exchange)
        return exchange

    def _activate(self, exchange: StreamExchange) -> None:
        exchange.active = True
        self.core.active += 1

    def _begin_request(self, stream: Stream, *, complete: bool) -> None:
        """Give a request to the application."""
        core = self.core
        request = stream.request
        assert request is not None
        exchange = self._make(stream, request)
        exchange.complete = complete
        if core.record is not None:
            exchange.note_begun()
        if self._waiting or (self._sending and self._unsent_bytes() > _MOST_UNSENT):
            self._waiting.append(exchange)
        else:
            self._start(exchange)

    def _unsent_bytes(self) -> int:
        """Bytes of complete responses that the client has yet to take."""
        return sum(exchange.stream.queued for exchange in self._sending)

    def _start_waiting(self) -> None:
        """Go on with requests, as far as the client takes what it has asked for before."""
        waiting = self._waiting
        while waiting and self._unsent_bytes() <= _MOST_UNSENT:
            exchange = waiting.popleft()
            if exchange in self._exchanges and not exchange.gone:
                self._start(exchange)

    def _start(self, exchange: StreamExchange) -> None:
        """Have the application run."""
        core = self.core
        request = exchange.request
        self._activate(exchange)
        if exchange.origins is not None:
            try:
                request = exchange.request = judge(exchange, request)
            except ProtocolError as exc:
                exchange.client, exchange.scheme, exchange.server = exchange.own
                self._refuse(exchange, exc)
                return
            exchange.locate()
        if core.limit and core.crowded():
            core.counters.refuse(OVERLOADED)
            core.counters.requests -= 1  # it counts when it ends, but was not run
            exchange.answer(OVERLOADED_STATUS, OVERLOADED_FIELDS, OVERLOADED_BODY)
            return
        if not core.beating:
            core.touch()
        if request.upgrade and wants_websocket(request):
            self._begin_websocket(exchange)
            return
        core.spawn(core.gateway.http(exchange))

    def _begin_websocket(self, exchange: StreamExchange) -> None:
        try:
            handshake = Handshake(exchange.request)
        except ProtocolError as exc:
            self._refuse(exchange, exc)
            return
        exchange.transport = StreamTransport(exchange)
        if exchange.complete:
            exchange.transport.receive_end()
        http = cast("HttpConnection", exchange)  # as far as a WebSocket needs one
        session = StreamWebSocket(http, handshake)
        self.core.spawn(self.core.gateway.websocket(session))

    def _refuse(self, exchange: StreamExchange, exc: ProtocolError) -> None:
        exchange.refuse(exc)

    def watch(self, exchange: StreamExchange) -> None:
        """Look after `exchange.until`."""
        self._timed.add(exchange)
        self._look_after()

    def await_room(self, exchange: StreamExchange) -> None:
        """The application waits until the client has taken more of its response."""
        if exchange not in self._draining and exchange in self._exchanges:
            exchange.room_until = monotonic() + self.core.write_timeout
            exchange.sent_before = exchange.stream.sent
            self._draining.add(exchange)
            self._look_after()

    def stop_awaiting(self, exchange: StreamExchange) -> None:
        """It does not wait any more."""
        self._draining.discard(exchange)

    def took(self, stream: Stream, count: int) -> None:
        """The application has taken so much of a body."""
        self.protocol.credit(stream, count)
        if self.protocol.sendable:
            self.flush_soon()

    def responded(self, exchange: StreamExchange) -> None:
        """The whole response was given to the stream."""
        self._inactive(exchange)
        if not exchange.stream.ended:
            self.protocol.stop_receiving(exchange.stream)
        self.flush_soon()
        if exchange.stream.sent_end or exchange.stream.gone:
            self._forget(exchange, complete=exchange.stream.sent_end)
        else:
            exchange.until = monotonic() + self.core.write_timeout
            exchange.sent_before = exchange.stream.sent
            self._timed.discard(exchange)
            self._sending.add(exchange)

    def switched(self, exchange: StreamExchange) -> None:
        """A WebSocket is not a request that is waited for."""
        self.core.active -= 1
        exchange.active = False

    def over(self, exchange: StreamExchange, *, complete: bool) -> None:
        """The request is over before its response was complete, or its WebSocket has ended."""
        left = exchange in self._exchanges and exchange not in self._sending
        if left and exchange.transport is not None and not exchange.active:
            self.core.counters.requests += 1
        self._inactive(exchange)
        self._forget(exchange, complete=complete)

    def _inactive(self, exchange: StreamExchange) -> None:
        if exchange.active:
            exchange.active = False
            self.core.active -= 1
            self.core.counters.requests += 1
            exchange.wake()

    def _forget(self, exchange: StreamExchange, *, complete: bool) -> None:
        if exchange in self._exchanges:
            self._exchanges.discard(exchange)
            self._sending.discard(exchange)
            self._timed.discard(exchange)
            self._draining.discard(exchange)
            if self.core.record is not None:
                exchange.log(self.core.record, complete=complete)
            exchange.stream.owner = None

    # ---- sending

    def flush_soon(self) -> None:
        """Send what there is together with what others have by then."""
        if not self._corked and not self._flushing:
            self._flushing = True
            self.core.loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flushing = False
        self._flush()

    def _flush(self) -> None:
        if self._corked:
            return
        protocol, transport, core = self.protocol, self.transport, self.core
        while not self.congested and not self._ending and not transport.is_closing():
            out = protocol.take(_ROUND)
            if not out:
                break
            data = b"".join(cast("list[bytes]", out))
            core.counters.sent += len(data)
            transport.write(data)
        for exchange in [*self._exchanges]:
            exchange.sent_some()
        for exchange in [*self._sending]:
            if exchange.stream.sent_end or exchange.stream.gone:
                self._forget(exchange, complete=exchange.stream.sent_end)
        if self._waiting and not self._ending:
            self._start_waiting()
        self._settle()

    def _settle(self) -> None:
        """Bring the connection up to date with what was received and sent."""
        protocol = self.protocol
        if self._ending:
            return
        if protocol.failure is not None:
            self._end_with_failure()
            return
        if not self._exchanges and protocol.refusing:
            if not protocol.sendable:
                self._end()
            return
        stuck = self.congested and protocol.out_size > _MOST_OUT
        if stuck != self._paused:
            self._paused = stuck
            (self.transport.pause_reading if stuck else self.transport.resume_reading)()
        self._look_after()

    def _end_with_failure(self) -> None:
        """The client has made a mistake, and is told so already."""
        self._ending = True
        for exchange in [*self._exchanges]:
            self.protocol.drop(exchange.stream)
            exchange.lost()
            self.over(exchange, complete=False)
        self._end()

    def _end(self) -> None:
        """Everything is sent: end, but let the client read it (RFC 9112 §9.6)."""
        self._ending = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._leave_until = monotonic() + _LINGER_SECONDS
            self._look_after()
        else:
            self.transport.close()

    # ---- deadlines

    def _look_after(self) -> None:
        now = monotonic()
        if self._ending or not self.protocol.head_open:
            self._head_until = NEVER
        elif self._head_until == NEVER:
            self._head_until = now + self.core.head_timeout
        if self._exchanges or self._ending:
            self._idle_until = NEVER
        else:  # what is no request does not keep the connection
            seconds = _LEAVE_SECONDS if self.protocol.peer_leaves else self.core.keep_alive
            self._idle_until = min(self._idle_until, now + seconds)
        soonest = min(self._head_until, self._idle_until, self._leave_until, self._stall_until)
        for exchange in (*self._timed, *self._sending):
            soonest = min(soonest, exchange.until)
        for exchange in self._draining:
            soonest = min(soonest, exchange.room_until)
        self.deadline = soonest
        if soonest < self.due - 1:
            self.core.enter(self)

    def on_deadline(self) -> None:
        """Some deadline has passed."""
        now = max(monotonic(), self.deadline)
        core = self.core
        if self._ending:
            self.transport.abort()
            return
        if self._stall_until <= now:
            unsent = self.transport.get_write_buffer_size()
            if unsent >= self._unsent:
                core.counters.refuse("response not read")
                self.transport.abort()
                return
            self._unsent = unsent
            self._stall_until = now + core.write_timeout
        if self._head_until <= now:
            core.counters.refuse("408 the request head took too long")
            self.protocol.fail(PROTOCOL_ERROR, "the request head took too long")
        for exchange in [*self._timed]:
            if exchange.until <= now:
                self._timed.discard(exchange)
                self._refuse(exchange, ProtocolError(408, "the request body stalled"))
        for exchange in [*self._sending]:
            if exchange.until <= now:
                exchange.until = self._expire_sending(exchange, now)
        for exchange in [*self._draining]:
            if exchange.room_until <= now:
                exchange.room_until = self._expire_sending(exchange, now)
        if self._leave_until <= now:
            self._leave_until = NEVER
            self.protocol.last_call()
        elif self._idle_until <= now:
            self.leave()
        self._flush()

    def _expire_sending(self, exchange: StreamExchange, now: float) -> float:
        """The write timeout has passed: did the client take anything? When to look again."""
        stream = exchange.stream
        if stream.sent == exchange.sent_before and not self.congested:  # that has its own deadline
            self.core.counters.refuse("response not read")
            self.protocol.reset(stream, CANCEL)
            exchange.lost()
            self.over(exchange, complete=False)
            return NEVER
        exchange.sent_before = stream.sent
        return now + self.core.write_timeout

    def leave(self) -> None:
        """Say that we go; requests that are on their way are still served."""
        if self._leave_until == NEVER and not self.protocol.refusing and not self._ending:
            self._leave_until = monotonic() + _LEAVE_SECONDS
            self._idle_until = NEVER
            self.protocol.ask_to_leave()
            self.flush_soon()

    # ---- what the core calls

    def stop(self) -> None:
        """The server stops: the client is told to open no more streams, and the connection ends
        with the last one."""
        self.leave()
        for exchange in [*self._exchanges]:
            exchange.end_stream_of_events()

    def cut(self) -> None:
        """End the connection at once."""
        self.transport.abort()

    def now_running(self) -> str:
        """The requests inside the application, "" for none. Any thread."""
        requests = [exchange.request for exchange in list(self._exchanges) if exchange.active]
        return ", ".join(f"{request.method} {request.target}" for request in requests)
