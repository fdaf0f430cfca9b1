"""One HTTP/2 connection on its core.

The driver of the core reads, and starts the requests one after the other; where one blocks, another
thread takes the core and goes on with the next. Whoever has something to send makes frames of it
under the session's mutex and, if nobody else is at it, sends what has gathered.
"""

import logging
from collections import deque
from time import monotonic
from typing import Final

from nogilserve.engine.admission import overloaded
from nogilserve.engine.body import BodyStore
from nogilserve.engine.connection import Connection
from nogilserve.engine.core import Core
from nogilserve.engine.exchange import RECV
from nogilserve.engine.http2.exchange import StreamExchange
from nogilserve.engine.http2.pieces import SharedFile
from nogilserve.engine.http2.pump import Pump
from nogilserve.engine.http2.running import run
from nogilserve.engine.poller import READ, WRITE
from nogilserve.engine.proxied import judge
from nogilserve.engine.wheel import NEVER
from nogilserve.errors import ClientDisconnected, ProtocolError
from nogilserve.protocols.http1 import Tables
from nogilserve.protocols.http2 import (
    BODY,
    CANCEL,
    END,
    PROTOCOL_ERROR,
    REFUSED,
    REFUSED_STREAM,
    REQUEST,
    Http2Connection,
    ResponseTables,
    Stream,
)

__all__ = ["Session"]

_log = logging.getLogger("nogilserve.engine")

_AT_ONCE: Final = 16
"""Requests run before other connections get their turn."""
_MOST_OUT: Final = 1 << 18
"""Bytes of answers to frames, not taken by the client, above which nothing more is read."""
_MOST_UNSENT: Final = 1 << 22
"""Bytes of complete responses not taken by the client above which no request is begun."""
_MOST_LIVE: Final = 100
"""Requests at once, those included whose client has lost interest."""
_BODIES: Final = 1 << 20
"""Bytes of bodies that a connection may have in memory; what is more goes to files."""
_HELD_HIGH: Final = 1 << 24
"""Bytes of finished responses a core keeps in memory for slow clients; more go to the spool."""
_LEAVE_SECONDS: Final = 1.0
"""How long a client gets to hear that we leave."""


class Session(Pump):
    """Owner: the thread that holds the core; see `Pump` for what other threads touch."""

    __slots__ = (
        "_detached",
        "_head_until",
        "_held_bodies",
        "_idle_until",
        "_leave_until",
        "_others_had_turn",
        "_stall_until",
        "core",
        "deadline",
        "due",
        "exchanges",
        "posted",
        "promise",
        "queue",
        "receiving",
        "sending",
        "slow",
        "tables",
    )

    def __init__(self, core: Core, connection: Connection) -> None:
        Pump.__init__(self, connection, Http2Connection(core.limits))
        self.core = core
        if core.responses is None:
            core.responses = ResponseTables(core.tables or Tables())
        self.tables: ResponseTables = core.responses
        hsts = "" if core.encryption is None else core.encryption.strict_transport
        self.promise = (
            ("Strict-Transport-Security", hsts) if hsts and connection.tls is not None else None
        )
        """A field of every response (RFC 6797 §6.1)."""
        self.exchanges: set[StreamExchange] = set()
        """Requests that are not finished: being received, waiting, running, or being sent."""
        self.queue: deque[StreamExchange] = deque()
        """Requests to be run."""
        self.receiving: set[StreamExchange] = set()
        """Requests whose body is not complete."""
        self.sending: set[StreamExchange] = set()
        """Requests whose application is done, but not their response."""
        self.slow: set[tuple[str, str]] = set()
        """Kinds of requests that take long: where several wait, they are run side by side."""
        self.posted = False
        """`resume` is on its way."""
        self._others_had_turn = False
        self.deadline = NEVER
        self.due = NEVER
        self._held_bodies = 0
        """Bytes of request bodies in memory."""
        self._head_until = self._idle_until = self._leave_until = self._stall_until = NEVER
        self._detached = False
        """Driver: the connection is not ours any more."""

    # ---- life on the core: its driver

    def begin(self, core: Core, data: bytes) -> bool:
        """Take over the connection of which `data` was read. False: the core was lost."""
        connection = self.connection
        connection.deadline = NEVER
        connection.share()
        upgraded = connection.protocol.upgraded
        if upgraded is not None:
            with self.mutex:
                stream = self.protocol.upgrade(upgraded)
            if stream is not None:
                self._begin_request(core, stream)
        if core.stopping:
            self.stop(core)
        return self._detached or self.advance(core, data)

    def on_event(self, core: Core, mask: int) -> bool:
        """The socket is ready. False: the core was lost."""
        if self._blocked and mask & ~READ:
            with self.mutex:
                self._blocked = False
            self.flush()
        if mask & ~WRITE:
            try:
                data = self.connection.sock.recv(RECV)
            except BlockingIOError:
                self.settle(core)
                return True
            except OSError:
                self.close(core)
                return True
            core.counters.received += len(data)
            if data:
                return self.advance(core, data)
            self.close(core)  # without the client's side no window is ever widened again
            return True
        self.settle(core)
        return True

    def advance(self, core: Core, data: bytes) -> bool:
        """Take what has come. False: the core was lost."""
        with self.mutex:
            events = self.protocol.receive(data, monotonic())
        taken: dict[Stream, int] = {}
        for kind, stream, payload in events:
            if kind == REQUEST:
                self._begin_request(core, stream)
            elif kind == BODY:
                assert isinstance(payload, bytes)
                if self._store(core, stream.owner, payload):
                    taken[stream] = taken.get(stream, 0) + len(payload)
            elif kind == END:
                self._body_complete(stream.owner)
            elif kind == REFUSED:
                assert isinstance(payload, ProtocolError)
                self._refuse_stream(core, stream, payload)
            elif stream.owner is not None:
                self._reset(core, stream.owner)
        if taken:
            with self.mutex:
                for stream, count in taken.items():
                    self.protocol.credit(stream, count)
        return self.go_on(core)

    def _begin_request(self, core: Core, stream: Stream) -> None:
        request = stream.request
        assert request is not None
        if len(self.exchanges) >= _MOST_LIVE:
            with self.mutex:
                self.protocol.reset(stream, REFUSED_STREAM)
            return
        exchange = self._make(stream)
        if core.record is not None:
            exchange.note_begun()
        if exchange.origins is not None:
            try:
                exchange.request = judge(exchange, request)
            except ProtocolError as exc:
                exchange.client, exchange.scheme, exchange.server = exchange.own
                self.refuse(core, exchange, exc)
                return
        if stream.ended and not request.body:
            self.queue.append(exchange)
            return
        if core.limit and core.crowded(1):
            self.refuse(core, exchange, overloaded())  # before the body has cost anything
            return
        exchange.body = BodyStore()
        exchange.until = monotonic() + core.body_timeout
        self.receiving.add(exchange)
        if request.expect_continue:
            with self.mutex:
                self.protocol.put_head(stream, self.tables.interim(100, []), ends=False)

    def _make(self, stream: Stream) -> StreamExchange:
        assert stream.request is not None
        exchange = StreamExchange(self, stream, stream.request)
        stream.owner = exchange
        self.exchanges.add(exchange)
        return exchange

    def _store(self, core: Core, exchange: StreamExchange | None, payload: bytes) -> bool:
        """Keep a piece of a body. False: nobody wants it."""
        if exchange not in self.receiving:
            return False
        assert exchange is not None
        store = exchange.body
        assert store is not None
        in_memory = store.in_memory
        try:
            store.write(payload)
            if self._held_bodies + store.in_memory - in_memory > _BODIES:
                store.spool()
        except OSError as exc:
            _log.error("cannot store a request body: %s", exc)
            self.refuse(core, exchange, ProtocolError(507, "the request body cannot be stored"))
            return False
        self._held_bodies += store.in_memory - in_memory
        exchange.until = monotonic() + core.body_timeout
        return True

    def _body_complete(self, exchange: StreamExchange | None) -> None:
        if exchange in self.receiving:
            assert exchange is not None
            assert exchange.body is not None
            self.receiving.discard(exchange)
            exchange.received = exchange.body.size
            self.queue.append(exchange)

    def _refuse_stream(self, core: Core, stream: Stream, exc: ProtocolError) -> None:
        exchange = stream.owner
        if exchange is None:
            exchange = self._make(stream)
            exchange.note_refused(exchange.request)
        self.refuse(core, exchange, exc)

    def refuse(self, core: Core, exchange: StreamExchange, exc: ProtocolError) -> None:
        """Answer a request that is not run. The connection stays."""
        core.counters.refuse(f"{exc.status} {exc.message}")
        self._drop_body(exchange)
        exchange.refuse(exc)
        if core.record is not None:
            exchange.log_refusal(core.record, exc)
        self.finish_sending(core, exchange)

    def _reset(self, core: Core, exchange: StreamExchange) -> None:
        """The client has lost interest. An application that runs finds out when it sends."""
        with self.mutex:
            room = exchange.room
        if room is not None:
            room.set()
        if exchange in self.receiving:
            self.forget(core, exchange, complete=False)
        elif exchange in self.sending:
            self.finish_sending(core, exchange)

    # ---- requests

    def go_on(self, core: Core) -> bool:
        """Run the requests that are complete. False: the core was lost."""
        queue = self.queue
        turns = _AT_ONCE
        while queue:
            if self.sending and self._unsent_bytes() > _MOST_UNSENT:
                break  # the client has to take what it has asked for before
            if not turns:
                self.post(core)  # others' turn
                break
            exchange = queue.popleft()
            if exchange.stream.gone:
                self.forget(core, exchange, complete=False)
                continue
            if queue and not self.posted:
                self.post(core)  # for the thread that takes over, if this one is blocked
            # With no thread to take over, a response may not wait for the requests behind it.
            exchange.hold = bool(queue) and core.spares.parked() > 0
            if not run(exchange, core):
                return False
            turns -= 1
        self.flush()
        self.settle(core)
        return True

    def _unsent_bytes(self) -> int:
        """Bytes of complete responses that the client has yet to take. A hint: other threads may
        be sending."""
        return sum(exchange.stream.queued for exchange in self.sending)

    def post(self, core: Core) -> None:
        """Have the driver go on soon."""
        if not self.posted:
            self.posted = True
            core.put_next(self.resume)

    def resume(self, core: Core) -> bool:
        """Go on: with requests, with sending, or with what a thread has left to the driver."""
        if self.queue and not self._others_had_turn:
            # Where each request blocks the thread that takes the core, nobody would ever come to
            # look at the poller: neither at other connections nor at the end of this one.
            self._others_had_turn = True
            core.put_next(self.resume)
            return True
        self._others_had_turn = False
        self.posted = False
        return self._detached or self.go_on(core)

    def finish_sending(self, core: Core, exchange: StreamExchange) -> None:
        """The application is done with a request; its response may not be sent yet."""
        stream = exchange.stream
        if stream.sent_end or stream.gone:
            self.forget(core, exchange, complete=stream.sent_end)
            return
        exchange.until = monotonic() + core.write_timeout
        exchange.sent_before = stream.sent
        self.sending.add(exchange)
        if not exchange.held:
            exchange.held = stream.queued
            core.held += exchange.held
            if core.held > _HELD_HIGH and exchange.held:
                core.held -= exchange.held
                exchange.held = 0
                try:
                    exchange.spool()
                except ClientDisconnected as exc:
                    _log.error("%s", exc)

    def forget(self, core: Core, exchange: StreamExchange, *, complete: bool) -> None:
        """The request is over, and its response sent as far as it will be."""
        if exchange not in self.exchanges:
            return
        self.exchanges.discard(exchange)
        self.receiving.discard(exchange)
        self.sending.discard(exchange)
        self._drop_body(exchange)
        core.held -= exchange.held
        exchange.held = 0
        if core.record is not None:
            exchange.log(core.record, complete=complete)
        exchange.stream.owner = None
        if exchange.files:
            with self.mutex:
                files, exchange.files = exchange.files, []
                exchange.stream.pending.clear()
                if self._pumping:
                    self._unclosed += files
                    files = []
            for file in files:
                file.close()

    def _drop_body(self, exchange: StreamExchange) -> None:
        store = exchange.body
        if store is not None:
            self._held_bodies -= store.in_memory
            exchange.body = None
            store.close()

    # ---- sending: any thread

    def flush_from(self, exchange: StreamExchange) -> None:
        """Send what there is, in the thread that runs a request."""
        if self.flush():
            self.core.submit(self.resume_anew)

    def resume_anew(self, core: Core) -> bool:
        """A thread has left something to the driver."""
        if not self._detached:
            self.flush()
            self.settle(core)  # which sees to the requests that wait
        return True

    # ---- the driver again

    def settle(self, core: Core) -> None:
        """Bring everything up to date with what was received and sent."""
        protocol = self.protocol
        now = monotonic()
        with self.mutex:
            if self._sent:
                core.counters.sent += self._sent
                self._sent = 0
                self._stall_until = now + core.write_timeout
            blocked, pumping, broken = self._blocked, self._pumping, self._broken
            waits = self._rest is not None or protocol.sendable
            stuck = blocked and protocol.out_size > _MOST_OUT
            if protocol.failure is not None and not (blocked or pumping or waits):
                self._closed = True  # else a request could begin to send while this ends
            files: list[SharedFile] = []
            if not pumping:
                files, self._unclosed = self._unclosed, files
        for file in files:
            file.close()
        if broken:
            self.close(core)
            return
        for exchange in [*self.sending]:
            stream = exchange.stream
            if stream.sent_end or stream.gone:
                self.forget(core, exchange, complete=stream.sent_end)
        if self.queue and self._unsent_bytes() <= _MOST_UNSENT:
            self.post(core)
        if not blocked and not pumping:
            if waits:
                self.post(core)  # it was others' turn
            elif protocol.failure is not None or (not self.exchanges and protocol.refusing):
                self._detach(core)
                self.connection._begin_linger(core)  # noqa: SLF001
                return
        mask = (0 if stuck else READ) | (WRITE if blocked else 0)
        self.connection._watch(core, mask)  # noqa: SLF001
        self._look_after(core, now, blocked=blocked)

    def _look_after(self, core: Core, now: float, *, blocked: bool) -> None:
        """Set the deadline that comes first."""
        if not self.protocol.head_open:
            self._head_until = NEVER
        elif self._head_until == NEVER:
            self._head_until = now + core.head_timeout
        if self.exchanges:
            self._idle_until = NEVER
        else:  # what is no request does not keep the connection
            seconds = _LEAVE_SECONDS if self.protocol.peer_leaves else core.keep_alive
            self._idle_until = min(self._idle_until, now + seconds)
        soonest = min(self._head_until, self._idle_until, self._leave_until)
        if blocked:
            soonest = min(soonest, self._stall_until)
        if self.receiving or self.sending:
            for exchange in (*self.receiving, *self.sending):
                soonest = min(soonest, exchange.until)
        self.deadline = soonest
        if soonest < self.due - 1:
            core.wheel.enter(self)

    def on_deadline(self, core: Core) -> None:
        """Some deadline has passed."""
        now = max(monotonic(), self.deadline)
        if self._head_until <= now:
            core.counters.refuse("408 the request head took too long")
            with self.mutex:
                self.protocol.fail(PROTOCOL_ERROR, "the request head took too long")
        if self._blocked and self._stall_until <= now:
            core.counters.refuse("response not read")
            self.close(core)
            return
        for exchange in [*self.receiving]:
            if exchange.until <= now:
                self.refuse(core, exchange, ProtocolError(408, "the request body stalled"))
        for exchange in [*self.sending]:
            if exchange.until <= now:
                self._expire_sending(core, exchange, now)
        if self._leave_until <= now:
            self._leave_until = NEVER
            with self.mutex:
                self.protocol.last_call()
        elif self._idle_until <= now:
            self._leave(now)
        self.flush()
        self.settle(core)

    def _expire_sending(self, core: Core, exchange: StreamExchange, now: float) -> None:
        """The write timeout has passed: did the client take anything?"""
        stream = exchange.stream
        if stream.sent != exchange.sent_before or self._blocked:  # that has its own deadline
            exchange.sent_before = stream.sent
            exchange.until = now + core.write_timeout
            return
        core.counters.refuse("response not read")
        with self.mutex:
            self.protocol.reset(stream, CANCEL)
        self.forget(core, exchange, complete=False)

    def _leave(self, now: float) -> None:
        """Say that we go; requests that are on their way are still served."""
        if self._leave_until == NEVER and not self.protocol.refusing:
            self._leave_until = now + _LEAVE_SECONDS
            self._idle_until = NEVER
            with self.mutex:
                self.protocol.ask_to_leave()

    def stop(self, core: Core) -> bool:
        """The engine stops: the client is told to open no more streams, and the connection ends
        with the last one."""
        if not self._detached:
            self._leave(monotonic())
            self.flush()
            self.settle(core)
        return True

    def running(self) -> list[str]:
        """The requests inside the application. Any thread."""
        return [
            f"{exchange.request.method} {exchange.request.target}"
            for exchange in list(self.exchanges)
            if exchange.inside
        ]

    def close(self, core: Core) -> None:
        """End the connection, as soon as no other thread sends on it."""
        with self.mutex:
            self._broken = True
            if self._pumping:
                return  # it has the driver come here again
            self._closed = True
        if not self._detached:
            self._detach(core)
            self.connection.close(core)

    def _detach(self, core: Core) -> None:
        """Nothing is read or sent here any more. The connection is in the table again."""
        with self.mutex:
            self._closed = True
            for stream in [*self.protocol.streams.values()]:
                self.protocol.drop(stream)
            for exchange in self.waiting:
                if exchange.room is not None:
                    exchange.room.set()
        self._detached = True
        self.deadline = NEVER
        self.queue.clear()
        for exchange in [*self.exchanges]:
            exchange.stream.gone = True
            if not exchange.inside:
                self.forget(core, exchange, complete=exchange.stream.sent_end)
        core.table[self.connection.fd] = self.connection
