"""One stream as a gateway sees it: the request, and the response in frames.

What the client does not take stays with the stream, first in memory, then in a file; only beyond
that does the application wait. Runs in the thread that runs the request.
"""

import os
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, BinaryIO

from nogilserve.engine.admission import OVERLOADED_BODY, OVERLOADED_FIELDS, OVERLOADED_STATUS
from nogilserve.engine.body import BodyStore
from nogilserve.engine.exchange import BUSY_GRACE, GRACE, MEMORY_HIGH, SPOOL_HIGH
from nogilserve.engine.http2.pieces import FilePiece, SharedFile, make_spool
from nogilserve.engine.http2.running import time_out
from nogilserve.engine.proxied import Own
from nogilserve.engine.records import Recorded, Recorder
from nogilserve.engine.timeouts import Turn
from nogilserve.errors import ClientDisconnected, ProtocolError, ResponseError
from nogilserve.messages import Headers, Request
from nogilserve.protocols.http2 import INTERNAL_ERROR, Response, Stream, promised, refusal
from nogilserve.protocols.proxy import OriginReader

if TYPE_CHECKING:
    from nogilserve.engine.core import Core
    from nogilserve.engine.http2.session import Session

__all__ = ["StreamExchange"]


class StreamExchange(Recorded):
    """Implements `messages.Exchange` on a stream.

    Owner: the thread that runs the request; before and after, the driver of the core. The stream,
    `files` and `room` are touched under the session's mutex only.
    """

    __slots__ = (
        "_head",
        "_response",
        "_spool",
        "body",
        "core",
        "files",
        "held",
        "hold",
        "inside",
        "judged",
        "origins",
        "own",
        "redirects",
        "room",
        "scheme",
        "sent_before",
        "server",
        "session",
        "stream",
        "tls",
        "until",
    )

    def __init__(self, session: "Session", stream: Stream, request: Request) -> None:
        connection = session.connection
        Recorded.__init__(self, connection.own[0])
        self.core: Core = session.core
        self.session = session
        self.stream = stream
        self.request = request
        self.own: Own = connection.own
        self.client, self.scheme, self.server = self.own
        self.tls = connection.tls
        self.redirects = connection.redirects
        self.origins: OriginReader | None = connection.origins
        self.judged: Request | None = None
        self.body: BodyStore | None = None
        self.hold = False
        """A complete response need not be sent at once: the driver does that after others."""
        self.inside = False
        """Driver: the application has it."""
        self.sent_before = 0
        """Driver: bytes of the response sent when its progress was last looked at."""
        self.held = 0
        """Bytes counted in the core's `held`."""
        self.until = 0.0
        """Driver: when the client must have sent, or taken, something; monotonic."""
        self.room: Event | None = None
        """Set when the client has taken enough of the response."""
        self.files: list[SharedFile] = []
        self._spool: SharedFile | None = None
        self._response = Response(session.tables)
        self._head: bytes | None = None
        """A response head that waits for the first bytes of the body, to leave with them."""

    # ---- the request body

    def open_body(self) -> BinaryIO:
        """The request body from its beginning; closed by the engine."""
        return self.core.no_body if self.body is None else self.body.open()

    # ---- the response

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

    @property
    def head_sent(self) -> bool:
        """Whether a final response head was handed over."""
        return self._response.started and self._head is None

    def _note_head(self, size: int) -> None:
        if self.core.record is not None:
            self._sent_head = self._response.told()
            self._payload = size

    def _require(self) -> None:
        if self.stream.gone:
            raise ClientDisconnected("the client has reset the stream, or is gone")

    def send_early_hints(self, headers: Headers) -> None:
        """103 Early Hints, sent at once; nothing after the final head."""
        self._require()
        if not self.head_sent:
            block = self._response.interim(headers)
            session = self.session
            with session.mutex:
                session.protocol.put_head(self.stream, block, ends=False)
            session.flush_from(self)

    def send_whole(self, body: bytes) -> None:
        """A complete response. What the client does not take now stays with the stream."""
        block, wanted = self._response.whole(self.request, len(body), self.core.common)
        session = self.session
        stream = self.stream
        with session.mutex:
            session.protocol.respond(stream, block, body if wanted else b"")
        if self.core.record is not None:
            self._note_head(len(body) if wanted else 0)
        if not self.hold:
            session.flush_from(self)
        if stream.gone:
            self._require()

    def send_overloaded(self) -> None:
        """A whole response: 503, ask again later."""
        self.answer(OVERLOADED_STATUS, OVERLOADED_FIELDS, OVERLOADED_BODY)

    def answer(self, status: str, headers: Headers, body: bytes) -> None:
        """A whole response of the server's own; to nobody if the client is gone."""
        try:
            self.prepare(status, headers)
            self.send_whole(body)
        except ClientDisconnected:
            pass

    def refuse(self, exc: ProtocolError) -> None:
        """Answer a request that is not run. What the client still sends of it is not wanted."""
        response = self._response
        if not self.head_sent:
            if response.started:
                self._withdraw()
            self.answer(*refusal(exc))
        with self.session.mutex:
            self.session.protocol.stop_receiving(self.stream)

    def send_head(self, length: int | None) -> None:
        """Start a response; the head leaves with the first piece of the body."""
        self._head = self._response.head(self.request, length, self.core.common)
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
        self._require()
        if self.core.stopping:
            self._end_event_stream()
        wanted = self._count(len(data))
        if wanted:
            self._payload += len(data)
        self._put(memoryview(data) if wanted else None)
        if self.stream.queued > MEMORY_HIGH:
            self._make_room()

    def _put(self, piece: memoryview | FilePiece | None, tail: bytes | None = None) -> None:
        """Send a piece with the head, if that is still to go; `tail`: it is the last one."""
        session, stream, head = self.session, self.stream, self._head
        self._head = None
        with session.mutex:
            if head is not None:
                ends = tail == b"" and piece is None
                session.protocol.put_head(stream, head, ends=ends)
            if piece is not None:
                session.protocol.put_body(stream, piece)
            if tail is not None:
                session.protocol.put_end(stream, tail)
        session.flush_from(self)

    def _end_event_stream(self) -> None:
        """While the engine stops: end an event stream in order, so that its client connects anew.
        Raises ClientDisconnected; does nothing for other responses."""
        head = self._response.prepared
        if self._head is not None or head is None or not head.endless:
            return
        self.send_end()
        raise ClientDisconnected("the server stops; the event stream was ended")

    def send_file(self, file: BinaryIO, offset: int, count: int) -> None:
        """A range of a real file; read as the client takes it."""
        self._require()
        if not self._count(count):
            self._put(None)
            return
        self._payload += count
        shared = SharedFile(os.dup(file.fileno()))
        with self.session.mutex:
            self.files.append(shared)
        self._put(FilePiece(shared, offset, count))

    def send_end(self) -> None:
        """The body is complete."""
        self._require()
        try:
            tail = self._response.end()
        except ResponseError:
            self._withdraw()
            raise
        self._put(None, tail)

    def abort(self) -> None:
        """The response cannot be completed: the stream is reset, so that the client can tell."""
        self._head = None
        session = self.session
        with session.mutex:
            session.protocol.reset(self.stream, INTERNAL_ERROR)
        session.flush_from(self)

    # ---- the access log, and what the engine asks for: the driver

    def note_begun(self) -> None:
        """The request is there."""
        self._begin_record()

    def log(self, record: Recorder, *, complete: bool) -> None:
        """Pass the finished request to the access log, unless that was done."""
        if self._started:
            unsent = 0 if complete else self.stream.queued
            self._write_record(record, max(self._payload - unsent, 0), complete=complete)

    def log_refusal(self, record: Recorder, exc: ProtocolError) -> None:
        """Pass on a request that was never given to the application."""
        self._write_record(record, self._payload, complete=True, refusal=str(exc))

    def time_out(self, turn: Turn, core: "Core") -> bool:
        """The application was given up (see `engine.timeouts`): answer in its place."""
        return time_out(self, turn, core)

    # ---- a client that does not keep up

    def _make_room(self) -> None:
        """Memory is full of what the client has not taken: wait for a moment, then use a file,
        then wait for long. Raises ClientDisconnected."""
        stream = self.stream
        if self._spool is None:
            # A client that reads at all gets the chance to: no disk for the ordinary case.
            while stream.queued > MEMORY_HIGH // 2:
                # Hundreds of clients that do not read must not hold all threads in turn.
                free = self.core.spares.parked()
                before = stream.sent
                self._wait_for_room(MEMORY_HIGH // 2, min(BUSY_GRACE * (1 + 2 * free), GRACE))
                if stream.sent == before:
                    break
        if stream.queued > MEMORY_HIGH:
            self.spool()
        since, before = monotonic(), stream.sent
        while stream.queued > SPOOL_HIGH:
            self._wait_for_room(SPOOL_HIGH // 2, self.core.write_timeout)
            if stream.sent != before:
                since, before = monotonic(), stream.sent
            elif monotonic() - since >= self.core.write_timeout:
                self.abort()
                raise ClientDisconnected("the client is gone: it has stopped reading the response")

    def _wait_for_room(self, low: int, seconds: float) -> None:
        """Wait until no more than `low` bytes are left, at most so long. Raises
        ClientDisconnected."""
        session, stream = self.session, self.stream
        room = Event()
        with session.mutex:
            if stream.queued <= low or stream.gone:
                room.set()
            else:
                self.room = room
                session.waiting[self] = low
        room.wait(seconds)
        with session.mutex:
            self.room = None
            session.waiting.pop(self, None)
        self._require()

    def spool(self) -> None:
        """Move what is in memory to a file. The thread that runs the request, or the driver when
        that is over; whoever sends meanwhile has taken its part before. Raises
        ClientDisconnected."""
        session, stream = self.session, self.stream
        try:
            if self._spool is None:
                self._spool = make_spool()
                with session.mutex:
                    self.files.append(self._spool)
            with session.mutex:
                # Out of the stream: nobody sends them meanwhile, so writing them needs no lock.
                pieces, queued = list(stream.pending), stream.queued
                stream.pending.clear()
                stream.queued = 0
                tail, stream.tail = stream.tail, None
            kept = [
                self._spool.append(piece) if isinstance(piece, memoryview) else piece
                for piece in pieces
            ]
            with session.mutex:
                for piece in kept:
                    session.protocol.put_body(stream, piece)
                if tail is not None:
                    session.protocol.put_end(stream, tail)
            assert stream.queued <= queued
        except OSError as exc:
            # Part of the bytes may be lost: the response cannot go on.
            self.abort()
            raise ClientDisconnected(f"cannot spool a response: {exc}") from exc
        session.flush_from(self)
