"""TLS on a core: a connection first is a handshake in the core's table, then an ordinary one.

A handshake costs as much as a hundred small requests. So those that have to be calculated wait
in a queue of their core, which does a few of them in each turn: the other connections
of the core go on meanwhile.
"""

import logging
import socket
import ssl
from collections import deque
from functools import partial
from time import monotonic
from typing import Final

from nogilserve.engine.connection import CLOSED, HEAD, Connection
from nogilserve.engine.core import Core
from nogilserve.engine.encryption import (
    NO_PROTOCOL,
    UNRECOGNIZED_NAME,
    Context,
    Encryption,
    facts_of,
    promised,
    refuses,
)
from nogilserve.engine.exchange import RECV
from nogilserve.engine.limited import LimitedConnection
from nogilserve.engine.poller import READ, WRITE
from nogilserve.engine.securesocket import SecureSocket
from nogilserve.engine.takeover import Successor
from nogilserve.errors import ProtocolError
from nogilserve.messages import Headers, TlsFacts
from nogilserve.protocols.tls import HANDSHAKE, Hello, read_hello

__all__ = ["Handshake", "Handshakes", "LimitedSecureConnection", "SecureConnection"]

_log = logging.getLogger("nogilserve.tls")

_SHARE: Final = 0.002
"""Seconds of a core's turn that go to handshakes, or a little more."""
_STOP_SECONDS: Final = 1.0
"""How long a stopping engine waits for a handshake that has begun."""
_STOP_CERTIFICATE: Final = 5.0
"""And for a certificate that is just being obtained."""
_ACME: Final = "acme-tls/1"
"""Spoken by who wants to see a certificate, and nothing else (RFC 8737 §3)."""
_PLAIN_HTTP: Final = ProtocolError(
    400, "this port speaks TLS, and plain HTTP was sent to it: write https://"
)


class Handshakes:
    """Handshakes that have to be calculated. Owner: the thread that holds the core."""

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue: deque[Handshake] = deque()

    def add(self, handshake: "Handshake", core: Core) -> None:
        """Have it calculated when its turn comes."""
        if not self._queue:
            core.put_next(self.work)
        self._queue.append(handshake)

    def work(self, core: Core) -> bool:
        """Calculate for a moment; the rest in the next turn."""
        queue = self._queue
        until = monotonic() + _SHARE
        while queue:
            handshake = queue.popleft()
            try:
                kept = handshake.answer(core)
            except Exception:  # costs this connection, not the others in the queue
                _log.critical("internal error in %r", handshake, exc_info=True)
                handshake.close(core)
                kept = True
            if not kept:
                if queue:
                    core.put_next(self.work)
                return False  # the core was lost to a request that came along
            if queue and monotonic() >= until:
                core.put_next(self.work)
                break
        return True


class SecureConnection(Connection):
    """A connection to a socket that speaks TLS. Owner: as of Connection."""

    __slots__ = ("encryption", "handshake", "secure", "tls")

    def __init__(
        self,
        core: Core,
        sock: socket.socket,
        client: tuple[str, str] | None,
        server: tuple[str, str],
    ) -> None:
        Connection.__init__(self, core, sock, client, server)
        assert core.encryption is not None
        self.encryption: Encryption = core.encryption
        self.scheme = "https"
        self.own = (client, "https", server)
        self.tls: TlsFacts | None = None
        self.handshake: Handshake | None = None
        """While it is not finished."""
        self.secure: SecureSocket | None = None
        """Then what `sock` is."""
        if self.encryption.strict_transport:
            self._promise(self.encryption.strict_transport)

    def _promise(self, value: str) -> None:
        """Send Strict-Transport-Security with every response."""
        prepare = self.protocol.prepare

        def promising(status: str, headers: Headers) -> None:
            prepare(status, promised(headers, value))

        self.prepare = promising

    def go_ahead(self, core: Core, data: bytes) -> bool:
        """What the client says from here on is TLS; `data` is the beginning of that."""
        self.handshake = Handshake(self)
        core.table[self.fd] = self.handshake
        self._set_deadline(core, self.encryption.timeout)
        return self.handshake.receive(core, data) if data else True

    def speak(self, core: Core, sock: SecureSocket, tls: ssl.SSLObject) -> bool:
        """The handshake is done."""
        self.sock = sock  # type: ignore[assignment]
        self.secure = sock
        self.tls = facts_of(tls)
        self.handshake = None
        core.table[self.fd] = self
        self.watch(core, READ)
        self._set_deadline(core, core.head_timeout)
        protocol = tls.selected_alpn_protocol()
        if protocol == _ACME:
            self.close(core)
            return True
        data = sock.take_rest()
        if protocol == "h2" and core.begin_http2 is not None:
            core.counters.received += len(data)
            return core.begin_http2(core, self, data)
        if data:
            core.counters.received += len(data)
            return self.advance(core, data)
        if core.stopping:
            return self.stop(core)
        return True

    def share(self) -> None:
        """As of Connection: a connection of TLS has a state for both directions together."""
        assert self.secure is not None
        self.secure = shared = self.secure.locked()
        self.sock = shared  # type: ignore[assignment]

    def watch(self, core: Core, mask: int) -> None:
        """Have the poller watch for the events of `mask`."""
        self._watch(core, mask)

    def wait(self, core: Core, seconds: float) -> None:
        """Set the deadline of the handshake."""
        self._set_deadline(core, seconds)

    def linger(self, core: Core) -> None:
        """What was sent last has to be read before the connection ends."""
        self.handshake = None
        core.table[self.fd] = self
        self._begin_linger(core)

    def refuse(self, core: Core, exc: ProtocolError) -> None:
        """Answer a broken request, then close; before the handshake nobody could read that."""
        if self.tls is None and exc is not _PLAIN_HTTP:
            core.counters.refuse(f"{exc.status} {exc.message}")
            self.close(core)
        else:
            self.handshake = None
            core.table[self.fd] = self
            super().refuse(core, exc)

    def on_deadline(self, core: Core) -> None:
        """The deadline of the state has passed."""
        if self.tls is None and self.state == HEAD:
            core.counters.refuse("TLS handshake too slow")
            core.counters.tls_failed += 1
            self.close(core)
        else:
            super().on_deadline(core)

    def stop(self, core: Core) -> bool:
        """As of Connection."""
        return True if self.handshake is not None else super().stop(core)

    def close(self, core: Core) -> None:
        """End the connection."""
        secure = self.secure
        if secure is not None and self.state != CLOSED and (self.broken or self._outbox):
            secure.cut()  # else the client would take what it has for all of it
        super().close(core)


class LimitedSecureConnection(SecureConnection, LimitedConnection):
    """Counted while it is open. Owner: as of Connection."""

    __slots__ = ()

    def start(self, core: Core) -> None:
        """Become part of `core`, if only to be refused."""
        LimitedConnection.start(self, core)


class Handshake(Successor):
    """Stands in the core's table for its connection, until TLS is spoken.

    Owner: the thread that holds the core.
    """

    __slots__ = (
        "_asked",
        "_found",
        "_hello",
        "_incoming",
        "_outgoing",
        "_said",
        "_tls",
        "_unsent",
    )

    def __init__(self, connection: SecureConnection) -> None:
        self.connection: SecureConnection = connection
        self._said = b""
        """What the client has sent before OpenSSL is asked."""
        self._hello: Hello | None = None
        """What that asks for, once it is complete."""
        self._asked = False
        """A certificate was requested."""
        self._found: Context | None = None
        """What came of that."""
        self._tls: ssl.SSLObject | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._unsent = memoryview(b"")

    # ---- as an entry of the core's table

    def on_event(self, core: Core, mask: int) -> bool:
        """The socket is ready. False: the core was lost."""
        connection = self.connection
        try:
            if self._unsent and mask & WRITE:
                self._flush(core)
            if not mask & ~WRITE:
                return True
            data = connection.sock.recv(RECV)
        except BlockingIOError:
            return True
        except OSError:
            connection.close(core)
            return True
        core.counters.received += len(data)
        if not data:
            connection.close(core)
            return True
        return self.receive(core, data)

    def running(self) -> list[str]:
        """Nothing is inside the application."""
        return []

    def stop(self, core: Core) -> bool:
        """The engine stops: what was accepted may still come, but not for long, unless the core is
        patient."""
        connection = self.connection
        if connection.handshake is not self:
            return connection.stop(core)  # it is over since
        if connection.state != CLOSED and not core.patient:
            connection.wait(core, _STOP_CERTIFICATE if self._asked else _STOP_SECONDS)
        return True

    def close(self, core: Core) -> None:
        """End the connection."""
        self.connection.close(core)

    # ---- the handshake

    def receive(self, core: Core, data: bytes) -> bool:
        """What the client says. False: the core was lost."""
        if self._tls is not None:
            self._incoming.write(data)
            return self._step(core)
        self._said += data
        if self._said[0] != HANDSHAKE:
            self.connection.refuse(core, _PLAIN_HTTP)
        elif self._hello is not None:
            # It talks on without an answer: until then it has to wait.
            self.connection.watch(core, 0)
        else:
            self._hello = read_hello(self._said)
            if self._hello is not None:
                self._queue(core)
        return True

    def _queue(self, core: Core) -> None:
        if core.handshakes is None:
            core.handshakes = Handshakes()
        core.handshakes.add(self, core)

    def answer(self, core: Core) -> bool:
        """Answer the client's first message. False: the core was lost."""
        connection = self.connection
        if connection.state == CLOSED or connection.handshake is not self:
            return True
        hello = self._hello or Hello()
        source = connection.encryption.source
        context = self._found if self._asked else source.find(hello.name, hello.protocols)
        if context is None:
            self._ask(core, hello)
        elif refuses(context, hello):
            self._reject(core, NO_PROTOCOL, "no protocol in common")
        else:
            return self._begin(core, context)
        return True

    def _ask(self, core: Core, hello: Hello) -> None:
        """Have a certificate got, if it can be."""
        connection = self.connection

        def again(found: Context | None, core: Core) -> bool:
            if connection.state != CLOSED:
                self._found = found
                self._queue(core)
            return True

        if self._asked or not connection.encryption.source.request(
            hello.name, hello.protocols, lambda found: core.submit(partial(again, found))
        ):
            self._reject(core, UNRECOGNIZED_NAME, "no certificate for the name")
            return
        self._asked = True
        connection.wait(core, connection.encryption.waiting)

    def _begin(self, core: Core, context: Context) -> bool:
        """Have OpenSSL read what the client has said so far."""
        if self._asked:
            self.connection.wait(core, self.connection.encryption.timeout)
        self._incoming.write(self._said)
        self._said = b""
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.connection.watch(core, READ)
        return self._step(core)

    def _step(self, core: Core) -> bool:
        """Go on as far as the client has told enough. False: the core was lost."""
        connection, tls = self.connection, self._tls
        assert tls is not None
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            done = False
        except ssl.SSLError as exc:
            # OpenSSL has an alert for the client that says what was wrong.
            self._reject(core, self._outgoing.read(), exc.reason or str(exc))
            return True
        else:
            done = True
        data = self._outgoing.read()
        if data:
            self._unsent = (
                memoryview(bytes(self._unsent) + data) if self._unsent else memoryview(data)
            )
            try:
                self._flush(core)
            except OSError:
                connection.close(core)
                return True
        if not done:
            return True
        core.counters.tls_handshakes += 1
        core.counters.tls_resumed += bool(tls.session_reused)
        sock = SecureSocket(connection.sock, tls, self._incoming, self._outgoing, self._unsent)
        return connection.speak(core, sock, tls)

    def _flush(self, core: Core) -> None:
        """Send what is to be sent, and have the poller say when the rest can be. Raises OSError."""
        try:
            sent = self.connection.sock.send(self._unsent)
        except BlockingIOError:
            sent = 0
        core.counters.sent += sent
        self._unsent = self._unsent[sent:]
        self.connection.watch(core, READ | WRITE if self._unsent else READ)

    def _reject(self, core: Core, alert: bytes, reason: str) -> None:
        """End a handshake that cannot succeed; the client is told why (RFC 8446 §6.2)."""
        connection = self.connection
        core.counters.refuse(f"TLS: {reason.replace('_', ' ').lower()}")
        core.counters.tls_failed += 1
        _log.debug("handshake with %s: %s", connection.client, reason)
        try:
            if alert and not self._unsent:
                connection.sock.send(alert)
        except OSError:
            connection.close(core)
        else:
            connection.linger(core)
