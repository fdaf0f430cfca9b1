"""Connections on an event loop whose number is limited, see `engine.admission`."""

import asyncio

from nogilserve.engine.admission import Admission
from nogilserve.engine.loop.connection import HttpConnection
from nogilserve.engine.loop.states import HEAD, UPGRADED
from nogilserve.errors import ProtocolError
from nogilserve.protocols.proxy import Preamble

__all__ = ["LimitedHttpConnection"]


class LimitedHttpConnection(HttpConnection):
    """Counted while it is open, as a WebSocket too. Owner: as of HttpConnection."""

    __slots__ = ()

    @property
    def _admission(self) -> Admission:
        admission = self.core.settings.admission
        assert admission is not None
        return admission

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there, if only to be refused (asyncio.Protocol)."""
        HttpConnection.connection_made(self, transport)
        if self.state == HEAD:
            self._take(self._admission.admit(self, self.client))

    def _read_preamble(self, preamble: Preamble, data: bytes) -> bytes:
        """A load balancer may say whose connection it is."""
        rest = super()._read_preamble(preamble, data)
        if self._preamble is None and preamble.announced is not None:
            self._take(self._admission.announced(self, self.client))
        return rest if self.state == HEAD else b""

    def _take(self, refusal: ProtocolError | None) -> None:
        if refusal is None:
            return
        self._admission.release(self)
        if self._admission.linger(self):
            self._refuse(refusal)
        else:
            self.core.counters.refuse(f"{refusal.status} {refusal.message}")
            self.cut()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended, by either side (asyncio.Protocol)."""
        if self.state != UPGRADED:
            self._admission.release(self)
        HttpConnection.connection_lost(self, exc)

    def finish_upgraded(self) -> None:
        """The WebSocket connection has ended."""
        self._admission.release(self)
        HttpConnection.finish_upgraded(self)
