"""A range of a file to a transport, without passing through the application."""

import asyncio
import os
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from nogilserve.engine.loop.connection import HttpConnection

__all__ = ["send_range"]

_SLICE: Final = 1 << 20
"""Bytes that the client must take within the write timeout."""
_READ: Final = 1 << 18


async def send_range(
    connection: "HttpConnection", file: BinaryIO, offset: int, count: int, timeout: float
) -> None:
    """Send `count` bytes from `offset`. Raises OSError: the client is gone or reads too slowly
    (`timeout`, seconds per MiB), or the file has become shorter.
    """
    loop, transport = connection.core.loop, connection.transport
    while count:
        size = min(count, _SLICE)
        try:
            async with asyncio.timeout(timeout):
                sent = await loop.sendfile(transport, file, offset, size, fallback=False)
        except (NotImplementedError, AttributeError, asyncio.SendfileNotAvailableError):
            await _copy(connection, file, offset, count)
            return
        except RuntimeError as exc:  # the transport is closing
            raise ConnectionError(str(exc)) from exc
        if not sent:
            raise OSError("the file has become shorter")
        offset += sent
        count -= sent


async def _copy(connection: "HttpConnection", file: BinaryIO, offset: int, count: int) -> None:
    """For loops without sendfile (uvloop) and transports that encrypt."""
    fd = file.fileno()
    while count:
        data = await asyncio.to_thread(_read, fd, min(count, _READ), offset)
        if not data:
            raise OSError("the file has become shorter")
        connection.transport.write(data)
        offset += len(data)
        count -= len(data)
        await connection.drain()


def _read(fd: int, count: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(fd, count, offset)
    os.lseek(fd, offset, os.SEEK_SET)  # nobody else uses this descriptor
    return os.read(fd, count)
