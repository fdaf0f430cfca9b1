"""Connections on an event loop that speak TLS, or only say where it is spoken."""

import asyncio
from typing import Final

from nogilserve.engine.encryption import Encryption, promised
from nogilserve.engine.loop.connection import HttpConnection
from nogilserve.engine.loop.core import Accepted, LoopCore
from nogilserve.engine.loop.limited import LimitedHttpConnection
from nogilserve.engine.loop.states import HEAD
from nogilserve.errors import ProtocolError
from nogilserve.messages import Headers, TlsFacts

__all__ = ["LimitedSecureHttpConnection", "SecureHttpConnection"]

_PLAIN_HTTP: Final = ProtocolError(
    400, "this port speaks TLS, and plain HTTP was sent to it: write https://"
)


class SecureHttpConnection(HttpConnection):
    """Above a SecureTransport. Owner: as of HttpConnection."""

    __slots__ = ("_strict", "encryption", "tls")

    def __init__(self, core: LoopCore, accepted: Accepted) -> None:
        super().__init__(core, accepted)
        assert core.encryption is not None
        self.encryption: Encryption = core.encryption
        self.tls: TlsFacts | None = None
        self.scheme = "https"
        self.own = (accepted.client, "https", accepted.server)
        self._strict = self.encryption.strict_transport
        if self._strict:
            self.heads = core.strict_heads

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there, TLS is not yet (asyncio.Protocol)."""
        super().connection_made(transport)
        if self.state == HEAD:
            self.core.set_deadline(self, self.encryption.timeout)

    def before_tls(self, data: bytes) -> bytes:
        """What a load balancer says first is taken off; the rest, b"" as long as there is none."""
        return data if self._preamble is None else self._read_preamble(self._preamble, data)

    def speak(self, facts: TlsFacts) -> None:
        """The handshake is done."""
        self.tls = facts
        self.core.set_deadline(self, self.core.head_timeout)

    def refuse_plain(self) -> None:
        """Tell a client that speaks plain HTTP that this port does not."""
        super()._refuse(_PLAIN_HTTP)

    def linger(self) -> None:
        """What was sent last has to be read before the connection ends."""
        self._begin_linger()

    def _refuse(self, exc: ProtocolError) -> None:
        """Answer a broken request, then close; before the handshake nobody could read that."""
        if self.tls is None:
            self.core.counters.refuse(f"{exc.status} {exc.message}")
            self.gone = True
            self.transport.abort()
        else:
            super()._refuse(exc)

    def on_deadline(self) -> None:
        """The deadline of the state has passed."""
        if self.tls is None and self.state == HEAD:
            self.core.counters.refuse("TLS handshake too slow")
            self.core.counters.tls_failed += 1
            self.transport.abort()
        else:
            super().on_deadline()

    def prepare(self, status: str, headers: Headers) -> None:
        """As of HttpExchange, with the promise of RFC 6797."""
        super().prepare(status, promised(headers, self._strict) if self._strict else headers)


class LimitedSecureHttpConnection(SecureHttpConnection, LimitedHttpConnection):
    """Counted while it is open. Owner: as of HttpConnection."""

    __slots__ = ()
