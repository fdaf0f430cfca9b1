"""Request bodies: collected before the application is called, or read on while it runs."""

import contextlib
import io
import tempfile
from collections.abc import Callable
from typing import BinaryIO, Final

__all__ = ["MEMORY", "BodyStore", "LazyBody", "NoBody"]

MEMORY: Final = 1 << 18
"""Bytes of a body kept in memory; what is larger lies in a temporary file."""


class BodyStore:
    """Collects a body piece by piece, in memory first, then in a temporary file.

    Owner: that of the connection.
    """

    __slots__ = ("_file", "size")

    def __init__(self) -> None:
        self._file: BinaryIO = io.BytesIO()
        self.size = 0
        """Bytes collected."""

    def write(self, piece: bytes) -> None:
        """Add a piece. Raises OSError when the disk is full."""
        if self.size <= MEMORY < self.size + len(piece):
            file = tempfile.TemporaryFile(prefix="nogilserve-")  # noqa: SIM115
            try:
                file.write(self._file.getbuffer())  # type: ignore[attr-defined]
            finally:
                self._file = file  # in any case, so that it is closed
        self._file.write(piece)
        self.size += len(piece)

    def open(self) -> BinaryIO:
        """The body from its beginning; it belongs to the store and is closed with it."""
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Free memory and file."""
        with contextlib.suppress(OSError):  # what could not be written is not wanted any more
            self._file.close()


class NoBody(io.RawIOBase):
    """An empty body. Immutable, so one serves any number of requests; it cannot be closed."""

    def readable(self) -> bool:
        return True

    def readinto(self, _buffer: object) -> int:
        return 0

    def read(self, _size: int | None = -1) -> bytes:
        return b""

    def readall(self) -> bytes:
        return b""

    def readline(self, _size: int | None = -1) -> bytes:
        return b""

    def close(self) -> None:
        """Nothing to free, and the next request wants it open."""


class LazyBody(io.RawIOBase):
    """A body read from the connection as the application asks for it.

    `fetch` returns the next piece, b"" at the end, and raises TruncatedBody.
    Owner: the thread that runs the request.
    """

    def __init__(self, fetch: Callable[[], bytes]) -> None:
        self._fetch = fetch
        self._rest = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        if not self._rest and not self._ended:
            self._rest = self._fetch()
            self._ended = not self._rest
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
