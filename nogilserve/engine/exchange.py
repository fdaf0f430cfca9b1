"""The side of a connection that a request uses: its body, its response, back-pressure.

Everything here runs in the thread that runs the request, and may block it within bounds: for
the body only where the client waits for our 100 Continue, for the response only after
memory and spool are full.
"""

import io
import socket
from typing import BinaryIO, Final

from nogilserve.engine.admission import OVERLOADED_BODY, OVERLOADED_FIELDS, OVERLOADED_STATUS
from nogilserve.engine.body import BodyStore, LazyBody
from nogilserve.engine.core import Core
from nogilserve.engine.outbox import Outbox, send_range
from nogilserve.engine.poller import READ, WRITE, wait_for
from nogilserve.engine.proxied import Own, trusting
from nogilserve.engine.records import Recorded
from nogilserve.errors import ClientDisconnected, ProtocolError, ResponseError, TruncatedBody
from nogilserve.messages import Headers, Request, TlsFacts
from nogilserve.protocols.http1 import Http1Connection

__all__ = ["RECV", "HttpExchange"]

RECV: Final = 65536
"""Bytes asked for in one recv."""

MEMORY_HIGH: Final = 1 << 18
"""Bytes of a streamed response kept in memory for a client that does not read them."""
SPOOL_HIGH: Final = 1 << 28
"""Bytes of a streamed response kept in the spool; beyond them the application has to wait."""
GRACE: Final = 0.1
"""Seconds the application's thread waits for the client to read on before it begins to spool."""
BUSY_GRACE: Final = 0.005
"""The same while no other thread is free; each one that is adds twice as much."""

_LARGE: Final = 1 << 16
"""Bytes from which on a piece of a body is not copied any more."""

_MORE: Final = getattr(socket, "MSG_MORE", 0)


class HttpExchange(Recorded):
    """Implements `messages.Exchange` on a socket and an HTTP/1 protocol object.

    Owner: the thread that runs the request; between requests the connection's core.
    """

    __slots__ = (
        "_body",
        "_head",
        "_outbox",
        "_wire",
        "broken",
        "core",
        "head_sent",
        "judged",
        "more",
        "origins",
        "own",
        "prepare",
        "protocol",
        "scheme",
        "sent",
        "server",
        "sock",
    )

    tls: TlsFacts | None = None
    redirects = False
    # Connections that speak TLS, or only redirect, have their own.

    def __init__(
        self,
        core: Core,
        sock: socket.socket,
        client: tuple[str, str] | None,
        server: tuple[str, str],
    ) -> None:
        Recorded.__init__(self, client)
        self.core = core
        self.sock = sock
        self.server = server
        self.scheme = "http"
        # See engine.proxied.
        self.own: Own = (client, "http", server)
        self.origins = trusting(core.origins, client)
        self.judged: Request | None = None
        self.protocol = Http1Connection(core.limits, core.tables)
        self.prepare = self.protocol.prepare
        """Check and keep status and field lines of the response to come."""
        self.head_sent = False
        self.more = 0
        """MSG_MORE while a whole response need not leave at once, see engine.corked."""
        self.broken = False
        """The connection cannot go on after this request."""
        self.sent = 0
        """Bytes handed to the system and not yet counted by the core."""
        self._outbox: Outbox | None = None
        self._body: BodyStore | None = None
        self._head = b""
        """A response head that waits for the first bytes of the body, to leave with them."""
        self._wire = 0
        """Bytes handed to the system."""

    # ---- the request body

    def open_body(self) -> BinaryIO:
        """The request body from its beginning; closed by the engine."""
        if not self.request.body:
            return self.core.no_body
        if self._body is not None:
            return self._body.open()
        return io.BufferedReader(LazyBody(self._fetch), RECV)

    def _fetch(self) -> bytes:
        """The next piece of a body that is read while the application runs; b"" at its end."""
        protocol, sock = self.protocol, self.sock
        if not self.received and not self.head_sent and not protocol.buffered:
            self._write(protocol.interim(100, []))
        timeout = self.core.body_timeout
        while True:
            try:
                piece = protocol.read_body()
            except ProtocolError as exc:
                raise TruncatedBody(f"the request body is broken: {exc}") from exc
            if piece is not None:
                self.received += len(piece)
                return piece
            if not wait_for(sock.fileno(), READ, timeout):
                cause = ProtocolError(408, "the request body stalled")
                raise TruncatedBody(f"no byte of the request body in {timeout:g} s") from cause
            try:
                protocol.receive_data(sock.recv(RECV))
            except BlockingIOError:
                continue
            except OSError as exc:
                raise TruncatedBody(f"the connection broke: {exc}") from exc

    # ---- the response

    def send_early_hints(self, headers: Headers) -> None:
        """103 Early Hints, sent at once; nothing after the final head."""
        if not self.head_sent:
            self._write(self.protocol.interim(103, headers))

    @property
    def declared_length(self) -> int | None:
        """The Content-Length among the prepared field lines."""
        return self.protocol.declared_length

    def send_whole(self, body: bytes) -> None:
        """A complete response. What the client does not take now stays with the connection."""
        if len(body) > _LARGE:
            self.send_head(len(body))
            self._put_off(self._send_parts(self._framed(body)))
            self.protocol.end()
            return
        core = self.core
        if core.stopping:
            self.protocol.keep_alive = False
        data = self.protocol.whole(body, core.common)
        self.head_sent = True
        if core.record is not None:
            end = data.index(b"\r\n\r\n") + 4
            self._sent_head = data[:end]
            self._payload = len(data) - end
        if self._outbox is not None:  # early hints that the client has not taken
            self._outbox.put(data)
            return
        try:
            sent = self.sock.send(data, self.more)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            raise self._gone(exc) from exc
        self.sent += sent
        self._wire += sent
        if sent != len(data):
            self._put_off([memoryview(data)[sent:]])

    def send_overloaded(self) -> None:
        """A whole response: 503, ask again later."""
        try:
            self.prepare(OVERLOADED_STATUS, OVERLOADED_FIELDS)
            self.send_whole(OVERLOADED_BODY)
        except ClientDisconnected:
            pass  # `broken` says so

    def is_sending(self) -> bool:
        """Whether the client is in the middle of something: closing on top of what it is sending
        would reset the connection under our response (RFC 9112 §9.6)."""
        return self.protocol.buffered > 0 or not self.protocol.body_complete

    def send_head(self, length: int | None) -> None:
        """Start a response; the head leaves with the first piece of the body."""
        if self.core.stopping:
            self.protocol.keep_alive = False
        self._head = self.protocol.head(length, self.core.common)
        self._sent_head = self._head
        self._payload = 0

    def send_data(self, data: bytes) -> None:
        """A piece of the body."""
        if self.core.stopping:
            self._end_event_stream()
        if len(data) > _LARGE:
            for part in self._send_parts(self._framed(data)):
                self._write(part)
            return
        try:
            framed = self.protocol.data(data)
        except ResponseError:
            self._withdraw()
            raise
        if framed:
            self._payload += len(data)
        if self._head:
            framed, self._head = self._head + framed, b""
            self.head_sent = True
        if framed:
            self._write(framed)

    def _end_event_stream(self) -> None:
        """While the engine stops: end an event stream in order, so that its client connects anew.
        Raises ClientDisconnected; does nothing for other responses."""
        if b"text/event-stream" not in self._sent_head.lower() or self._head:
            return
        self.protocol.keep_alive = False
        self._write(self.protocol.end())
        self.broken = True
        raise ClientDisconnected("the server stops; the event stream was ended")

    def _framed(self, data: bytes) -> list[memoryview]:
        """A large piece with the head and its framing around it, not copied: large temporary
        objects cost time, and each thread keeps memory for them.
        """
        try:
            frame = self.protocol.frame(len(data))
        except ResponseError:
            self._withdraw()
            raise
        if frame is not None:
            self._payload += len(data)
        self.head_sent = True
        head, self._head = self._head, b""
        parts = (head,) if frame is None else (head + frame[0], data, frame[1])
        return [memoryview(part) for part in parts if part]

    def _send_parts(self, parts: list[memoryview]) -> list[memoryview]:
        """Send what the client takes now, in one system call; the rest."""
        if self._outbox is not None or not parts:
            return parts
        try:
            if hasattr(self.sock, "sendmsg"):
                sent = self.sock.sendmsg(parts)
            else:
                sent = self.sock.send(parts[0])
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            raise self._gone(exc) from exc
        self.sent += sent
        self._wire += sent
        rest = []
        for part in parts:
            if sent < len(part):
                rest.append(part[sent:])
            sent = max(sent - len(part), 0)
        return rest

    def _put_off(self, parts: list[memoryview]) -> None:
        """Leave the rest of a finished response to the core."""
        if parts and self._outbox is None:
            self._outbox = Outbox()
        for part in parts:
            assert self._outbox is not None
            self._outbox.put(part)

    def _withdraw(self) -> None:
        """The application's mistake came before anything was sent: an error can be answered."""
        if self._head:
            self._head = b""
            self.protocol.withdraw()

    def send_file(self, file: BinaryIO, offset: int, count: int) -> None:
        """A range of a real file, by sendfile where the system has it."""
        try:
            wanted = self.protocol.account(count)
        except ResponseError:
            self._withdraw()
            raise
        if self._head:
            head, self._head = self._head, b""
            self.head_sent = True
            self._write(head, _MORE if wanted and count else 0)
        if not wanted:
            return
        self._payload += count
        fd = file.fileno()
        if self._outbox is None:
            try:
                while count:
                    sent = send_range(self.sock, fd, offset, count)
                    if not sent:
                        raise self._gone(OSError("the file has become shorter"))
                    self.sent += sent
                    self._wire += sent
                    offset += sent
                    count -= sent
            except BlockingIOError:
                self._outbox = Outbox()
            except OSError as exc:
                raise self._gone(exc) from exc
        if count and self._outbox is not None:
            self._outbox.put_file(fd, offset, count)

    def send_end(self) -> None:
        """The body is complete."""
        try:
            rest = self.protocol.end()
        except ResponseError:
            self._withdraw()
            raise
        if self._head:
            rest, self._head = self._head + rest, b""
            self.head_sent = True
        if rest:
            self._write(rest)

    def abort(self) -> None:
        """The response cannot be completed: the connection ends, so that the client can tell."""
        self.broken = True
        self._head = b""

    def _gone(self, exc: OSError) -> ClientDisconnected:
        self.broken = True
        return ClientDisconnected(f"the client is gone: {exc}")

    def _write(self, data: bytes | memoryview, flags: int = 0) -> None:
        """Send, or keep what the client does not take, within bounds."""
        outbox = self._outbox
        if outbox is None:
            try:
                sent = self.sock.send(data, flags)
            except BlockingIOError:
                sent = 0
            except OSError as exc:
                raise self._gone(exc) from exc
            self.sent += sent
            self._wire += sent
            if sent == len(data):
                return
            self._outbox = outbox = Outbox()
            self._keep(outbox, memoryview(data)[sent:])
        else:
            self._flush(outbox)
            self._keep(outbox, memoryview(data))
        if not outbox.waiting:
            outbox.close()
            self._outbox = None

    def _keep(self, outbox: Outbox, data: memoryview) -> None:
        """Add to the outbox: memory first, then the spool, then the application waits."""
        if not outbox.spooled:
            if outbox.memory + len(data) <= MEMORY_HIGH:
                outbox.put(data)
                return
            # A client that reads at all gets the chance to: no disk for the ordinary case.
            outbox.put(data)
            while outbox.memory > MEMORY_HIGH // 2:
                # Hundreds of clients that do not read must not hold all threads in turn.
                free = self.core.spares.parked()
                grace = min(BUSY_GRACE * (1 + 2 * free), GRACE)
                if not wait_for(self.sock.fileno(), WRITE, grace):
                    break
                self._flush(outbox)
            if outbox.memory > MEMORY_HIGH:
                self._spool(outbox, memoryview(b""))
            return
        while outbox.waiting > SPOOL_HIGH:
            if not wait_for(self.sock.fileno(), WRITE, self.core.write_timeout):
                raise self._gone(TimeoutError("it has stopped reading the response"))
            self._flush(outbox)
        self._spool(outbox, data)

    def _spool(self, outbox: Outbox, data: memoryview) -> None:
        try:
            outbox.spool_memory()
            if data:
                outbox.put_spooled(data)
        except OSError as exc:
            # Half of the bytes may be lost: the response cannot go on.
            raise self._gone(exc) from exc

    def _flush(self, outbox: Outbox) -> None:
        try:
            sent = outbox.flush(self.sock)
        except OSError as exc:
            raise self._gone(exc) from exc
        self.sent += sent
        self._wire += sent

    def share(self) -> None:
        """From now on one thread may receive while another one sends."""

    def _log_request(self, core: Core, *, complete: bool) -> None:
        """Pass the finished request to the access log."""
        assert core.record is not None
        body_sent = max(self._wire - len(self._sent_head), 0)
        sent = self._payload if complete else min(self._payload, body_sent)
        self._write_record(core.record, sent, complete=complete)
