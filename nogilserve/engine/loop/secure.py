"""TLS on an event loop: a layer between any transport of the loop and a connection.

Towards the loop it is a protocol, towards the connection a transport. OpenSSL reads and writes
memory, as on the cores of the other engine (`engine.securesocket`). Handshakes that have to be
calculated wait in a queue: every few milliseconds the loop does something else in between.
"""

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Iterable
from functools import partial
from time import monotonic
from typing import Any, Final

from nogilserve.engine.encryption import (
    NO_PROTOCOL,
    UNRECOGNIZED_NAME,
    Context,
    Encryption,
    facts_of,
    refuses,
)
from nogilserve.engine.loop.core import LoopCore
from nogilserve.engine.loop.direct import Transport
from nogilserve.engine.loop.secureconnection import SecureHttpConnection
from nogilserve.protocols.tls import HANDSHAKE, Hello, read_hello

__all__ = ["Handshakes", "SecureTransport"]

_log = logging.getLogger("nogilserve.tls")

_SHARE: Final = 0.002
"""Seconds of a turn of the loop that go to handshakes, or a little more."""
_RECORD: Final = 16384
"""Bytes of plain text in one record at most (RFC 8446 §5.1)."""
_CHUNK: Final = 65536
"""Bytes encrypted at once."""
_ACME: Final = "acme-tls/1"
"""Spoken by who wants to see a certificate, and nothing else (RFC 8737 §3)."""


class Handshakes:
    """Handshakes that have to be calculated. Owner: the thread of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: deque[SecureTransport] = deque()

    def add(self, transport: "SecureTransport") -> None:
        """Have it calculated when its turn comes."""
        if not self._queue:
            self._loop.call_soon(self._work)
        self._queue.append(transport)

    def _work(self) -> None:
        """Calculate for a moment; the rest in the next turn."""
        until = monotonic() + _SHARE
        while self._queue:
            transport = self._queue.popleft()
            try:
                transport.answer()
            except Exception:  # costs this connection, not the others in the queue
                _log.critical("internal error in %r", transport, exc_info=True)
                transport.abort()
            if self._queue and monotonic() >= until:
                self._loop.call_soon(self._work)
                break


class SecureTransport(Transport):
    """Owner: the thread of the loop. The methods of asyncio.Protocol are for the transport below,
    those of asyncio.Transport for the connection above."""

    def __init__(self, core: LoopCore, connection: SecureHttpConnection) -> None:
        super().__init__()
        self._core = core
        self._connection = connection
        self._above: asyncio.Protocol = connection
        self._encryption: Encryption = connection.encryption
        self._said = b""
        """What the client has sent before OpenSSL is asked."""
        self._hello: Hello | None = None
        """What that asks for, once it is complete."""
        self._asked = False
        """A certificate was requested."""
        self._found: Context | None = None
        """What came of that."""
        self._tls: ssl.SSLObject | None = None
        self._speaking = False
        """The handshake is done."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._raw = False
        """What comes is thrown away as it is: our side is closed, or never spoke TLS."""
        self._farewell = False
        """close_notify was sent, or is not to be."""
        self._ended = False
        """Nothing more comes from the client."""
        self._below: Transport

    # ---- what the transport below calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there; TLS has yet to begin."""
        self._below = transport  # type: ignore[assignment]
        self._connection.connection_made(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        if self._speaking and not self._raw:
            if not self._ended:
                self._incoming.write(data)
                self._read()
        elif self._raw:
            self._above.data_received(data)
        else:
            self._core.counters.received += len(data)
            data = self._connection.before_tls(data)
            if data:
                self._receive(data)

    def eof_received(self) -> bool:
        """The client has closed its sending side."""
        if self._speaking or self._raw:
            self._end()
        else:
            self.abort()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._above.connection_lost(exc)

    def pause_writing(self) -> None:
        """The client takes less than is sent."""
        self._above.pause_writing()

    def resume_writing(self) -> None:
        """The client has taken most of it."""
        self._above.resume_writing()

    # ---- the handshake

    def _receive(self, data: bytes) -> None:
        if self._tls is not None:
            self._incoming.write(data)
            self._step()
            return
        self._said += data
        if self._said[0] != HANDSHAKE:
            self._raw = self._farewell = True
            self._connection.refuse_plain()
        elif self._hello is not None:
            self._below.pause_reading()  # it talks on without an answer
        else:
            self._hello = read_hello(self._said)
            if self._hello is not None:
                self._queue()

    def _queue(self) -> None:
        core = self._core
        if core.handshakes is None:
            core.handshakes = Handshakes(core.loop)
        core.handshakes.add(self)

    def answer(self) -> None:
        """Answer the client's first message."""
        if self.is_closing() or self._tls is not None:
            return
        hello = self._hello or Hello()
        source = self._encryption.source
        context = self._found if self._asked else source.find(hello.name, hello.protocols)
        if context is None:
            self._ask(hello)
        elif refuses(context, hello):
            self._reject(NO_PROTOCOL, "no protocol in common")
        else:
            self._begin(context)

    def _ask(self, hello: Hello) -> None:
        """Have a certificate got, if it can be."""
        if self._asked or not self._encryption.source.request(
            hello.name, hello.protocols, self._ready
        ):
            self._reject(UNRECOGNIZED_NAME, "no certificate for the name")
            return
        self._asked = True
        self._core.set_deadline(self._connection, self._encryption.waiting)

    def _ready(self, found: Context | None) -> None:
        """Whoever was asked has an answer. Any thread."""
        try:
            self._core.submit(partial(self._go_on, found))
        except RuntimeError:
            pass  # the loop is closed, and with it the connection

    def _go_on(self, found: Context | None) -> None:
        self._found = found
        self._queue()

    def _begin(self, context: Context) -> None:
        if self._asked:
            self._core.set_deadline(self._connection, self._encryption.timeout)
        self._incoming.write(self._said)
        self._said = b""
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._below.resume_reading()
        self._step()

    def _step(self) -> None:
        """Go on as far as the client has told enough."""
        tls = self._tls
        assert tls is not None
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._push()
            return
        except ssl.SSLError as exc:
            # OpenSSL has an alert for the client that says what was wrong.
            self._reject(self._outgoing.read(), exc.reason or str(exc))
            return
        self._push()
        self._speaking = True
        connection, core = self._connection, self._core
        core.counters.tls_handshakes += 1
        core.counters.tls_resumed += bool(tls.session_reused)
        protocol = tls.selected_alpn_protocol()
        if protocol == _ACME:
            self.close()
            return
        connection.speak(facts_of(tls))
        if protocol == "h2" and core.begin_http2 is not None:
            core.begin_http2(connection, b"")
        if self._incoming.pending:
            self._read()

    def _reject(self, alert: bytes, reason: str) -> None:
        """End a handshake that cannot succeed; the client is told why (RFC 8446 §6.2)."""
        self._core.counters.refuse(f"TLS: {reason.replace('_', ' ').lower()}")
        self._core.counters.tls_failed += 1
        _log.debug("handshake with %s: %s", self._connection.client, reason)
        self._raw = self._farewell = True
        self._below.resume_reading()
        if alert:
            self._below.write(alert)
        self._connection.linger()

    # ---- from the client

    def _read(self) -> None:
        """Pass on what can be decrypted."""
        tls = self._tls
        assert tls is not None
        ended = False
        pieces: list[bytes] = []
        try:
            while self._incoming.pending or not pieces:
                piece = tls.read(_RECORD)
                if not piece:
                    ended = True  # close_notify
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            self._push()  # what asks for an answer of TLS itself: a renegotiation is refused
        except ssl.SSLError as exc:
            self._fail(exc)
            return
        if pieces:
            self._above.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if ended:
            self._end()

    def _end(self) -> None:
        """The client has said, in TLS or by closing, that nothing more comes."""
        if not self._ended:
            self._ended = True
            self._above.eof_received()

    def _fail(self, exc: ssl.SSLError) -> None:
        """What the client sends is broken: say so, and end."""
        _log.debug("%s: %s", self._connection.client, exc)
        self._farewell = True
        alert = self._outgoing.read()
        if alert:
            self._below.write(alert)
        self._below.close()

    # ---- what the connection above calls

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send; before TLS, send as it is."""
        tls = self._tls
        if tls is None:
            self._below.write(data)
        elif len(data) <= _CHUNK:
            if data and not self._farewell:
                tls.write(data)
                self._below.write(self._outgoing.read())
        else:
            view = memoryview(data)
            for start in range(0, len(view), _CHUNK):
                if self._below.is_closing():
                    return  # the client has gone meanwhile
                self.write(view[start : start + _CHUNK])

    def write_whole(self, data: bytes) -> None:
        """See Transport."""
        tls = self._tls
        if tls is None or len(data) > _RECORD or self._farewell:
            self.write(data)
        elif data:
            tls.write(data)
            self._below.write_whole(self._outgoing.read())

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """As `write`, for several pieces."""
        tls = self._tls
        for data in list_of_data:
            if tls is None or len(data) > _CHUNK or self._farewell:
                self._push()
                self.write(data)
            elif data:
                tls.write(data)
        self._push()

    def _push(self) -> None:
        """Send what was encrypted."""
        if self._outgoing.pending:
            data = self._outgoing.read()
            if not self._below.is_closing():
                self._below.write(data)

    def write_eof(self) -> None:
        """Close our sending side; what still comes is not decrypted any more."""
        self._say_goodbye()
        self._raw = True
        self._below.write_eof()

    def can_write_eof(self) -> bool:
        """Whether the transport below can."""
        return self._below.can_write_eof()

    def _say_goodbye(self) -> None:
        """Send close_notify, once."""
        if self._farewell or self._tls is None or self._below.is_closing():
            return
        self._farewell = True
        try:
            self._tls.unwrap()
        except (ssl.SSLError, ValueError):
            pass  # the client's answer is not waited for
        self._push()

    def close(self) -> None:
        """Say goodbye, and end the connection when everything is sent."""
        self._say_goodbye()
        self._below.close()

    def abort(self) -> None:
        """End the connection now, and without a farewell: something is missing."""
        self._below.abort()

    def is_closing(self) -> bool:
        """Whether it is closed, or will be."""
        return self._below.is_closing()

    def pause_reading(self) -> None:
        """Read nothing for now."""
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._below.resume_reading()

    def is_reading(self) -> bool:
        """Whether data is read."""
        return self._below.is_reading()

    def get_write_buffer_size(self) -> int:
        """Bytes not sent yet, encrypted."""
        return self._below.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """(low, high), bytes."""
        return self._below.get_write_buffer_limits()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Another object takes what comes."""
        assert isinstance(protocol, asyncio.Protocol)
        self._above = protocol

    def get_protocol(self) -> asyncio.Protocol:
        """Who takes what comes."""
        return self._above

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`ssl_object` is the one of this layer."""
        if name == "ssl_object":
            return self._tls or default
        return self._below.get_extra_info(name, default)
