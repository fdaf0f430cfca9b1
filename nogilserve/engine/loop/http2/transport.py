"""A stream as the transport of a WebSocket (RFC 8441)."""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nogilserve.engine.loop.http2.exchange import HIGH, LOW
from nogilserve.protocols.http2 import CANCEL

if TYPE_CHECKING:
    from nogilserve.engine.loop.http2.exchange import StreamExchange

__all__ = ["StreamTransport"]


class StreamTransport(asyncio.Transport):
    """Owner: the thread of the loop. What is not read is not given back to the client's window."""

    def __init__(self, exchange: "StreamExchange") -> None:
        super().__init__()
        self._exchange = exchange
        self._stream = exchange.stream
        self._session = exchange.session
        self._protocol: asyncio.Protocol | None = None
        self._withheld: deque[bytes] = deque()
        """What has come while nothing is to be read."""
        self._reading = True
        self._end_waits = False
        self._full = False
        """The protocol was told to pause writing."""
        self._closing = False
        self._lost = False

    # ---- what the exchange calls

    def receive(self, data: bytes) -> None:
        """Bytes of the client."""
        if not self._reading:
            self._withheld.append(data)
            return
        self._session.took(self._stream, len(data))
        if self._protocol is not None and not self._closing:
            self._protocol.data_received(data)

    def receive_end(self) -> None:
        """The client has said all."""
        if not self._reading or self._protocol is None:
            self._end_waits = True
        elif not self._closing:
            self._protocol.eof_received()

    def lose(self, exc: Exception | None) -> None:
        """The stream is over."""
        if not self._lost:
            self._lost = self._closing = True
            self._exchange.core.loop.call_soon(self._tell, exc)

    def _tell(self, exc: Exception | None) -> None:
        if self._protocol is not None:
            self._protocol.connection_lost(exc)

    def sent_some(self) -> None:
        """The client has taken something."""
        if self._full and self._stream.queued <= LOW:
            self._full = False
            if self._protocol is not None:
                self._protocol.resume_writing()
        if self._closing and self._stream.sent_end:
            self.lose(None)

    # ---- asyncio.Transport

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Who takes what comes."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol
        if self._end_waits:  # it came before there was anybody to be told
            self._exchange.core.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._reading:
            self.resume_reading()

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who takes what comes."""
        assert self._protocol is not None
        return self._protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send this, as the windows allow."""
        if self._closing:
            return
        self._session.protocol.put_body(self._stream, memoryview(data))
        self._session.flush_soon()
        if self._stream.queued > HIGH and not self._full and self._protocol is not None:
            self._full = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """As `write`, for several pieces."""
        for data in list_of_data:
            self.write(data)

    def get_write_buffer_size(self) -> int:
        """Bytes not sent yet."""
        return self._stream.queued

    def pause_reading(self) -> None:
        """Read nothing for now."""
        self._reading = False

    def resume_reading(self) -> None:
        """Read on."""
        self._reading = True
        while self._withheld and self._reading:
            self.receive(self._withheld.popleft())
        if self._end_waits and self._reading:
            self._end_waits = False
            self.receive_end()

    def is_reading(self) -> bool:
        """Whether data is read."""
        return self._reading

    def can_write_eof(self) -> bool:
        """Not without the end of the stream."""
        return False

    def close(self) -> None:
        """End the stream when everything is sent."""
        if self._closing:
            return
        self._closing = True
        self._session.protocol.put_end(self._stream)
        self._session.protocol.stop_receiving(self._stream)
        self._session.flush_soon()

    def abort(self) -> None:
        """End the stream now."""
        self._session.protocol.reset(self._stream, CANCEL)
        self._session.flush_soon()
        self.lose(None)

    def is_closing(self) -> bool:
        """Whether it is closed, or will be."""
        return self._closing
