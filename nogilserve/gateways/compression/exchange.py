"""Exchanges that compress what an application sends through them.

An application sees an exchange like any other. A body that is given at once is compressed at once,
and sent as it is where that does not make it shorter; a stream is flushed with every piece, unless
its length was declared: then nobody waits for a piece.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import BinaryIO, Final

from nogilserve.errors import ResponseError
from nogilserve.gateways.compression.codecs import Compressor
from nogilserve.gateways.compression.decision import SMALLEST, Head, read_head
from nogilserve.gateways.negotiation import field, preferred
from nogilserve.gateways.wrapped import AsyncWrapped, Both, Wrapped
from nogilserve.messages import AsyncExchange, Exchange, Headers

__all__ = ["AsyncCompressingExchange", "CompressingExchange", "Makers"]

Makers = Mapping[str, Callable[[], Compressor]]
"""What makes compressors, by coding, the best first."""

_PIECE: Final = 1 << 17
"""Bytes of a file that are compressed at once."""


class _Compressing(Both):
    """What both exchanges do alike. Owner: whoever runs the request."""

    __slots__ = (
        "_begun",
        "_coding",
        "_compressor",
        "_head",
        "_left",
        "_makers",
    )

    def __init__(self, exchange: Exchange | AsyncExchange, makers: Makers) -> None:
        super().__init__(exchange)
        self._makers = makers
        accepted = field(exchange.request.headers, "accept-encoding")
        chosen = preferred(accepted, tuple(makers))
        self._coding = chosen[0] if chosen else ""
        self._head: Head | None = None
        self._compressor: Compressor | None = None
        self._begun = True
        """The head of a compressed response is on its way."""
        self._left: int | None = None
        """Bytes that the application has still to send by its own Content-Length."""

    def abort(self) -> None:
        self._compressor = None
        self._sink.abort()

    def prepare(self, status: str, headers: Headers) -> None:
        """Check and keep the head; what it says about compressing is decided with the body."""
        if not self._begun:  # an error takes the place of what was to be compressed
            self._begun = True
            self._compressor = None
        self._sink.prepare(status, headers)
        head = read_head(status, headers)
        self._head = head
        if head is not None and head.plain is not headers:
            self._sink.prepare(status, head.plain)

    def send_whole(self, body: bytes) -> None:
        """A whole response, compressed if that makes it shorter."""
        head = self._head
        if head is not None and self._coding and len(body) >= SMALLEST:
            if head.length is not None and head.length != len(body):
                raise ResponseError(
                    f"Content-Length is {head.length}, but the body has {len(body)} bytes"
                )
            compressor = self._makers[self._coding]()
            smaller = compressor.write(body) + compressor.finish()
            if len(smaller) < len(body):
                self._sink.prepare(head.status, head.coded(self._coding))
                body = smaller
        self._sink.send_whole(body)

    def send_head(self, length: int | None) -> None:
        """Start a response; its body is compressed unless it is known to be short."""
        head = self._head
        if head is not None and self._coding:
            size = head.length if head.length is not None else length
            if size is None or size >= SMALLEST:
                self._sink.prepare(head.status, head.coded(self._coding))
                length = None
                if self._sink.request.method != "HEAD":
                    # The head waits for the first bytes: until then an error can be answered.
                    self._left = size
                    self._begun = False
                    self._compressor = self._makers[self._coding]()
                    return
        self._sink.send_head(length)

    def send_data(self, data: bytes) -> None:
        """A piece of the body."""
        compressor = self._compressor
        if compressor is None:
            self._sink.send_data(data)
            return
        self._emit(self._compressed(compressor, data))

    def _emit(self, out: bytes) -> None:
        """Send what a compressor has made, if it has."""
        if not out:
            return
        if not self._begun:
            self._begun = True
            self._sink.send_head(None)
        self._sink.send_data(out)

    def _compressed(self, compressor: Compressor, data: bytes) -> bytes:
        if not data:
            return b""
        left = self._left
        if left is None:
            return compressor.write(data) + compressor.flush()
        if len(data) > left:
            raise ResponseError(f"body is {len(data) - left} bytes longer than Content-Length")
        self._left = left - len(data)
        return compressor.write(data)

    def _finish(self) -> None:
        """Send what the compressor still holds."""
        compressor, self._compressor = self._compressor, None
        if compressor is None:
            return
        if self._left:
            raise ResponseError(f"body is {self._left} bytes shorter than Content-Length")
        self._emit(compressor.finish())

    def _read(self, compressor: Compressor, fd: int, offset: int, count: int) -> tuple[int, bytes]:
        """A piece of a file: its length, and what comes out for it."""
        count = min(count, _PIECE)
        if hasattr(os, "pread"):
            data = os.pread(fd, count, offset)
        else:
            os.lseek(fd, offset, os.SEEK_SET)
            data = os.read(fd, count)
        if not data:
            raise OSError("the file has become shorter")
        return len(data), self._compressed(compressor, data)


class CompressingExchange(_Compressing, Wrapped):
    """Implements `messages.Exchange`. Owner: the thread that runs the request."""

    __slots__ = ()

    def send_file(self, file: BinaryIO, offset: int, count: int) -> None:
        """A range of a file: read here where it is compressed."""
        compressor = self._compressor
        if compressor is None:
            self._inner.send_file(file, offset, count)
            return
        fd = file.fileno()
        while count:
            size, out = self._read(compressor, fd, offset, count)
            offset += size
            count -= size
            self._emit(out)

    def send_end(self) -> None:
        self._finish()
        self._inner.send_end()


class AsyncCompressingExchange(_Compressing, AsyncWrapped):
    """Implements `messages.AsyncExchange`. Owner: the event loop of the connection."""

    __slots__ = ()

    async def send_file(self, file: BinaryIO, offset: int, count: int) -> None:
        """A range of a file: where it is compressed, a thread reads and compresses it."""
        compressor = self._compressor
        if compressor is None:
            await self._inner.send_file(file, offset, count)
            return
        fd = file.fileno()
        while count:
            size, out = await asyncio.to_thread(self._read, compressor, fd, offset, count)
            offset += size
            count -= size
            self._emit(out)
            if self._inner.crowded:
                await self._inner.drain()

    def send_end(self, trailers: Headers = []) -> None:  # noqa: B006
        self._finish()
        self._inner.send_end(trailers)
