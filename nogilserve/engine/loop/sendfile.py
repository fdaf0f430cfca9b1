"""A range of a file to a transport, without passing through the application."""

import asyncio
import os
from typing import TYPE_CHECKING, BinaryIO, Final

from nogilserve.engine.loop.direct import DirectTransport

if TYPE_CHECKING:
    from nogilserve.engine.loop.exchange import HttpExchange

__all__ = ["send_range"]

_SLICE: Final = 1 << 20
"""Bytes sent before other connections get their turn."""
_READ: Final = 1 << 18


async def send_range(
    connection: "HttpExchange", file: BinaryIO, offset: int, count: int, timeout: float
) -> None:
    """Send `count` bytes from `offset`. Raises OSError: the client is gone or takes nothing for
    `timeout` seconds, or the file has become shorter.
    """
    transport = connection.transport
    if not isinstance(transport, DirectTransport) or not hasattr(os, "sendfile"):
        await _copy(connection, file, offset, count)
        return
    fd = file.fileno()
    while count:
        async with asyncio.timeout(timeout):
            to = await transport.writable()
        try:
            sent = os.sendfile(to, fd, offset, min(count, _SLICE))
        except BlockingIOError:
            continue
        if not sent:
            raise OSError("the file has become shorter")
        offset += sent
        count -= sent


async def _copy(connection: "HttpExchange", file: BinaryIO, offset: int, count: int) -> None:
    """For other transports: those that encrypt, and on Windows."""
    fd = file.fileno()
    while count:
        data = await asyncio.to_thread(_read, fd, min(count, _READ), offset)
        if not data:
            raise OSError("the file has become shorter")
        if connection.transport.is_closing():  # while it was read
            raise OSError("the connection is closed")
        connection.transport.write(data)
        offset += len(data)
        count -= len(data)
        await connection.drain()


def _read(fd: int, count: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(fd, count, offset)
    os.lseek(fd, offset, os.SEEK_SET)  # nobody else uses this descriptor
    return os.read(fd, count)
