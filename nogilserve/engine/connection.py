"""One client connection on its core: socket ↔ HTTP/1 protocol ↔ gateway, with its deadlines.

Between requests, and while a head, a body or a response moves without the application, the
connection belongs to the thread that holds its core. From `run` to the end of the application
call it belongs to the thread that runs the request (`busy` is set), and events are left alone.

    HEAD ──complete──▶ BODY ──complete──▶ (run) ──all sent──▶ HEAD, or LINGER, or CLOSED
                                            └──client slow──▶ WRITING ──all sent──▶ the same
"""

import logging
import socket
from time import monotonic
from typing import Final

from nogilserve.engine.admission import OVERLOADED, overloaded
from nogilserve.engine.body import BodyStore
from nogilserve.engine.core import Core
from nogilserve.engine.corked import push
from nogilserve.engine.exchange import RECV, HttpExchange
from nogilserve.engine.outbox import Outbox
from nogilserve.engine.poller import READ, WRITE
from nogilserve.engine.proxied import judge
from nogilserve.engine.scheduler import TICK
from nogilserve.engine.timeouts import Abandoned, Turn
from nogilserve.engine.wheel import NEVER
from nogilserve.errors import ProtocolError, TruncatedBody
from nogilserve.messages import CHUNKED

__all__ = ["Connection"]

_log = logging.getLogger("nogilserve.engine")

# States. Plain integers: enum members are slow to read from several threads.
HEAD: Final = 0
"""Idle, or in the middle of a request head."""
BODY: Final = 1
"""In the middle of a request body."""
WRITING: Final = 2
"""The application is done, the client has yet to take the rest of the response."""
LINGER: Final = 3
"""The last response is sent; what the client still sends is thrown away (RFC 9112 §9.6)."""
CLOSED: Final = 4

_AT_ONCE: Final = 16
"""Pipelined requests answered before other connections get their turn."""
_BODY_AT_ONCE: Final = 1 << 20
"""Bytes of a body read before other connections get their turn."""
_LINGER_SECONDS: Final = 2.0
_LINGER_BYTES: Final = 1 << 20
_FRESH_SECONDS: Final = 1.0
"""How long a stopping engine waits for the first request of a connection it has accepted."""
_HELD_HIGH: Final = 1 << 24
"""Bytes of finished responses a core keeps in memory for slow clients; more go to the spool."""


class Connection(HttpExchange):
    """Owner: the thread that holds the core; while `busy`, the thread that runs the request."""

    __slots__ = (
        "_fresh",
        "_held",
        "_in_head",
        "_lazy",
        "_watched",
        "busy",
        "deadline",
        "due",
        "fd",
        "state",
    )

    def __init__(
        self,
        core: Core,
        sock: socket.socket,
        client: tuple[str, str] | None,
        server: tuple[str, str],
    ) -> None:
        HttpExchange.__init__(self, core, sock, client, server)
        self.fd = sock.fileno()
        self.state = HEAD
        self.busy = False
        self.deadline = NEVER
        self.due = NEVER
        self._fresh = True
        """No request so far."""
        self._in_head = False
        """The deadline is that of a head that has begun."""
        self._lazy = False
        """Holds one of the core's permissions to read the body while the application runs."""
        self._watched = 0
        """What the poller watches for; 0: it does not know the socket."""
        self._held = 0
        """Bytes of the outbox counted in the core's `held`."""

    # ---- life on the core: the thread that holds it

    def start(self, core: Core) -> None:
        """Become part of `core`."""
        core.connections += 1
        core.table[self.fd] = self
        self._watch(core, READ)
        self._set_deadline(core, core.head_timeout)

    def is_welcome(self, core: Core) -> bool:
        """Whether the connection may stay, now that a load balancer has said whose it is."""
        return True

    def go_ahead(self, core: Core, data: bytes) -> bool:
        """What the client says itself begins here, with `data`. False: the core was lost."""
        if core.only_http2 and core.begin_http2 is not None:
            return core.begin_http2(core, self, data)
        if data:
            self.protocol.receive_data(data)
        return self.advance(core) if data else True

    def _watch(self, core: Core, mask: int) -> None:
        """Watch for the events of `mask`; for 0 not even for a hang-up, which cannot be masked."""
        if mask == self._watched:
            return
        if not mask:
            core.poller.unregister(self.fd)
        elif self._watched:
            core.poller.modify(self.fd, mask)
        else:
            core.poller.register(self.fd, mask)
        self._watched = mask

    def on_event(self, core: Core, mask: int) -> bool:
        """The socket is ready. False: the core was lost."""
        if self.busy:
            # A request runs in another thread; level-triggered events would repeat until then.
            self._watch(core, 0)
            return True
        state = self.state
        if state == HEAD:
            try:
                data = self.sock.recv(RECV)
            except BlockingIOError:
                return True
            except OSError:
                self.close(core)
                return True
            core.counters.received += len(data)
            return self.advance(core, data)
        if state == BODY:
            return self._read_body(core)
        if state == WRITING:
            return self._write_on(core)
        if state == LINGER:
            self._linger_on(core)
        return True

    def advance(self, core: Core, data: bytes | None = None) -> bool:
        """Run the requests that are complete, with what has just come, b"" for the client's end.
        False: the core was lost.
        """
        protocol = self.protocol
        turns = _AT_ONCE
        while turns:
            try:
                if data is None:
                    request = protocol.next_request()
                else:
                    request = protocol.receive_request(data)
                    data = None
                if self.origins is not None and request is not self.judged:
                    request = judge(self, request) if request is not None else None
            except ProtocolError as exc:
                if core.begin_http2 is not None and protocol.leaves(first=self._fresh):
                    return core.begin_http2(core, self, protocol.preface)
                self.client = self.own[0]  # not that of the request before
                self.refuse(core, exc)
                return True
            if request is None:
                if protocol.eof:
                    self.close(core)
                elif protocol.head_started and not self._in_head:
                    # The head's time runs from its first byte, not from each of its pieces.
                    self._in_head = True
                    self._set_deadline(core, core.head_timeout)
                return True
            self.request = request
            self.received = 0
            self._in_head = False
            if core.record is not None:
                self._begin_record()
                self.ready = core.now
                self._wire = 0
            if request.body and not self._begin_body(core):
                return True
            if not self.run(core):
                return False
            if self.busy or self.state != HEAD:
                return True
            if not protocol.buffer and not protocol.eof:
                return True
            turns -= 1
        core.submit(self.resume)
        return True

    def resume(self, core: Core) -> bool:
        """Go on with requests that were received already."""
        if self.state == HEAD and not self.busy and core.table.get(self.fd) is self:
            return self.advance(core)
        return True

    def _begin_body(self, core: Core) -> bool:
        """Read what has come of the body. False: the request cannot be run yet, or not at all."""
        if core.limit and core.crowded(1):
            self.refuse(core, overloaded())  # before the body has cost anything
            return False
        if self._may_read_later(core):
            return True
        self.state = BODY
        self._body = BodyStore()
        return self._collect(core)

    def _may_read_later(self, core: Core) -> bool:
        """Whether the application is called before the body is there (RFC 9110 §10.1.1).

        That is for clients that wait for our 100 Continue, which is due only when the
        application asks for the body. Each holds an application thread for as long as it sends, so
        only some threads may be used that way; the other clients are told to continue at once.
        """
        request = self.request
        if not request.expect_continue or self.protocol.buffered:
            return False
        # Of a chunked body frameworks want to know the length first.
        if request.body == CHUNKED:
            self._continue()
            return False
        if core.lazy.acquire(blocking=False):
            self._lazy = True
            return True
        self._continue()
        return False

    def _continue(self) -> None:
        try:
            self.sent += self.sock.send(self.protocol.interim(100, []))
        except OSError:
            pass  # it shows when the body is read

    def _read_body(self, core: Core) -> bool:
        for _ in range(_BODY_AT_ONCE // RECV):
            try:
                data = self.sock.recv(RECV)
            except BlockingIOError:
                return True
            except OSError:
                self.close(core)
                return True
            core.counters.received += len(data)
            self.protocol.receive_data(data)
            if self._collect(core):
                return self.run(core) and self._go_on(core)
            if not data or self.state != BODY:
                return True
        return True

    def _collect(self, core: Core) -> bool:
        """Store what has arrived of the body. True: it is complete."""
        protocol, store = self.protocol, self._body
        assert store is not None
        try:
            while True:
                piece = protocol.read_body()
                if piece is None:
                    self._set_deadline(core, core.body_timeout)
                    return False
                if not piece:
                    self.state = HEAD
                    self.received = store.size
                    self.ready = core.now
                    return True
                store.write(piece)
        except ProtocolError as exc:
            self.refuse(core, exc)
        except TruncatedBody as exc:
            self.refuse(core, ProtocolError(400, f"{exc}", "RFC 9112 §8"))
        except OSError as exc:  # of the temporary file
            _log.error("cannot store a request body: %s", exc)
            self.refuse(core, ProtocolError(507, "the request body cannot be stored"))
        return False

    def run(self, core: Core) -> bool:
        """Give the request to the application. False: the core was lost meanwhile.

        The caller holds the core's lock; it is released around the call. The request may still
        be running in another thread when this returns (`busy`).
        """
        self.busy = True
        self.deadline = NEVER
        self.head_sent = False
        self._fresh = False
        if core.stopping or not core.keep_alive:
            self.protocol.keep_alive = False
        call = core.calls + 1
        core.calls = call
        if core.limit and not self._let_in(core):
            return True
        driver = core.driver
        slow = core.slow
        kind = self._kind() if slow.scores else None
        left = kind is not None and slow.is_slow(kind)
        if left and core.spares.offer(self._apart):
            return True
        gateway = core.gateway
        assert gateway is not None
        lock = core.lock
        began = monotonic()
        if left:
            core.corked.push()
            core.leave()
        else:
            # A socket of the machine itself knows no MSG_MORE.
            if core.more and len(core.ready) > 1 and self.own[0] is not None:
                self.more = core.more
                core.corked.add(self.sock, began)
            lock.release()
        # From here on another thread may hold the core: nothing of it may be changed.
        if core.unwatched:
            core.unwatched = False
            core.ring()
        try:
            gateway(self)
        except Abandoned:
            core.was_blocked(call)
            return False
        except BaseException:
            self._gateway_raised()
        ended = monotonic()
        more, self.more = self.more, 0
        long = ended - began > TICK and core.was_long(call, ended - began, left=left)
        if lock.acquire(False):
            if core.driver != driver:  # it was left, or another thread has driven meanwhile
                core.take_back(driver)
            if long:
                slow.was_long(self._kind())
            elif kind is not None:
                slow.was_short(kind)
            if more:
                core.corked.look(self.sock, ended)
            self._after(core, ended)
            return True
        if more:
            push(self.sock)
        core.submit(self._take_back_long if long else self.take_back)
        return False

    def _let_in(self, core: Core) -> bool:
        """Whether to run the request now, where their number is limited. It is counted already."""
        if core.crowded(0):
            self._turn_away(core)
            return False
        if core.door:
            core.leave_waiting(self._apart)
            return False
        return True

    def _turn_away(self, core: Core) -> None:
        """Answer 503 in place of the application. The connection stays: a new one costs more."""
        core.counters.refuse(OVERLOADED)
        self.send_overloaded()
        self._after(core, monotonic())
        core.counters.requests -= 1  # it was not run
        core.calls -= 1

    def _kind(self) -> tuple[str, str]:
        """What requests are alike in how long they take: method and first path segment."""
        return self.request.method, self.request.path.split("/", 2)[:2][-1]

    def _apart(self) -> None:
        """Run a request known to be slow in a spare thread, while the driver drives on."""
        core = self.core
        gateway = core.gateway
        assert gateway is not None
        began = monotonic()
        try:
            gateway(self)
        except Abandoned:
            return
        except BaseException:
            self._gateway_raised()
        long = monotonic() - began > TICK
        core.submit(self._take_back_long if long else self._take_back_short)

    def _gateway_raised(self) -> None:
        # A gateway promises not to raise. If it does, one connection is lost, not a core.
        _log.critical("internal error while a request ran", exc_info=True)
        self.broken = True

    def _take_back_long(self, core: Core) -> bool:
        core.slow.was_long(self._kind())
        return self.take_back(core)

    def _take_back_short(self, core: Core) -> bool:
        core.slow.was_short(self._kind())
        return self.take_back(core)

    def take_back(self, core: Core) -> bool:
        """A request that ran in a thread which lost the core meanwhile is finished."""
        self._after(core, monotonic())
        return self._go_on(core)

    def time_out(self, turn: Turn, core: Core) -> bool:
        """The application was given up (see `engine.timeouts`): answer in its place."""
        self.busy = False
        core.counters.requests += 1
        body, self._body = self._body, None
        turn.keep(body)
        self.refuse(core, ProtocolError(504, "the application took too long to begin its response"))
        return True

    def _go_on(self, core: Core) -> bool:
        protocol = self.protocol
        if self.state == HEAD and not self.busy and (protocol.buffered or protocol.eof):
            return self.advance(core)
        return True

    def _after(self, core: Core, now: float) -> None:
        """The application call is over; the connection belongs to the core again."""
        self.busy = False
        counters = core.counters
        counters.requests += 1
        counters.sent += self.sent
        self.sent = 0
        if self._lazy:
            self._lazy = False
            core.lazy.release()
        if self._body is not None:
            self._drop_body()
        if self.broken:
            self.close(core)
        elif self._outbox is None:
            self._responded(core, now)
        else:
            self._begin_writing(core, self._outbox)

    def _begin_writing(self, core: Core, outbox: Outbox) -> None:
        self.state = WRITING
        self._watch(core, WRITE)
        self._set_deadline(core, core.write_timeout)
        try:
            if core.held + outbox.memory > _HELD_HIGH:
                outbox.spool_memory()
        except OSError as exc:
            _log.error("cannot spool a response: %s", exc)
            self.close(core)
            return
        self._held = outbox.memory
        core.held += self._held

    def _write_on(self, core: Core) -> bool:
        outbox = self._outbox
        assert outbox is not None
        try:
            sent = outbox.flush(self.sock)
        except OSError:
            self.close(core)
            return True
        core.counters.sent += sent
        self._wire += sent
        if outbox.waiting:
            if sent:
                self._set_deadline(core, core.write_timeout)
            return True
        self._drop_outbox(core)
        self._responded(core, monotonic())
        return self._go_on(core)

    def _responded(self, core: Core, now: float) -> None:
        """The whole response is with the system."""
        if core.record is not None:
            self._log_request(core, complete=True)
        self._id = ""
        if self.protocol.next_cycle():
            self.state = HEAD
            if self._watched != READ:
                self._watch(core, READ)
            self.deadline = deadline = now + core.keep_alive
            if deadline < self.due - 1:
                core.wheel.enter(self)
            if core.stopping:  # and the client was told that the connection stays
                core.submit(self.stop)
        elif self.request.keep_alive or self.is_sending():
            self._begin_linger(core)
            if core.stopping and not (core.patient or self.is_sending()):
                self._linger_on(core, wait=False)
        else:
            self.close(core)

    def refuse(self, core: Core, exc: ProtocolError) -> None:
        """Answer a broken request, then close. Nothing that follows it is run."""
        core.counters.refuse(f"{exc.status} {exc.message}")
        data = self.protocol.error(exc, core.common)
        try:
            core.counters.sent += self.sock.send(data)
        except OSError:
            self.close(core)  # gone, or not reading: no use in waiting for it
            return
        if core.record is not None:
            self._record_refusal(core.record, data, exc, self.protocol.refused_line)
        self._begin_linger(core)

    def _begin_linger(self, core: Core) -> None:
        """Say that nothing follows, and give the client the time to read what was sent."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close(core)
            return
        self.state = LINGER
        self._wire = 0  # counts what is thrown away from now on
        self._watch(core, READ)
        self._set_deadline(core, _LINGER_SECONDS)

    def _linger_on(self, core: Core, *, wait: bool = True) -> None:
        try:
            data = self.sock.recv(RECV)
        except OSError as exc:
            if wait and isinstance(exc, BlockingIOError):
                return
            data = b""
        core.counters.received += len(data)
        self._wire += len(data)
        if not data or self._wire > _LINGER_BYTES:
            self.close(core)

    def on_deadline(self, core: Core) -> None:
        """The deadline of the state has passed."""
        if self.state == HEAD and self._in_head:
            self.refuse(core, ProtocolError(408, "the request head took too long"))
        elif self.state == BODY:
            self.refuse(core, ProtocolError(408, "the request body stalled"))
        else:
            if self.state == WRITING:
                core.counters.refuse("response not read")
            self.close(core)

    def stop(self, core: Core) -> bool:
        """The engine stops: an idle connection ends now, any other after its response.

        Where the core is patient an idle one may ask once more, until its time is over.
        """
        if self.busy or self.state != HEAD or self._in_head:
            return True
        if core.table.get(self.fd) is not self:
            return True  # HTTP/2 has taken over since: what comes is not ours to read
        try:
            data = self.sock.recv(RECV)
        except BlockingIOError:
            if self._fresh and not core.patient:
                # Accepted, but the first request is still on its way.
                self._set_deadline(core, _FRESH_SECONDS)
            elif not core.patient:
                self.close(core)
            return True
        except OSError:
            self.close(core)
            return True
        core.counters.received += len(data)
        return self.advance(core, data)

    def close(self, core: Core) -> None:
        """End the connection. The caller holds the core's lock; the request is over."""
        if self.state == CLOSED:
            return
        self.state = CLOSED
        self.deadline = NEVER
        core.table.pop(self.fd, None)
        self._watch(core, 0)
        self.sock.close()
        core.connections -= 1
        core.counters.closed += 1
        core.shares.release(core.index)
        if core.record is not None and self._started:
            self._log_request(core, complete=False)
        self._drop_outbox(core)
        self._drop_body()

    def _drop_body(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def _drop_outbox(self, core: Core) -> None:
        if self._outbox is not None:
            core.held -= self._held
            self._held = 0
            self._outbox.close()
            self._outbox = None

    def _set_deadline(self, core: Core, seconds: float) -> None:
        # Not core.now: since then a call of the application may have taken long.
        self.deadline = deadline = monotonic() + seconds
        if deadline < self.due - 1:
            core.wheel.enter(self)
