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

    __slots__ = ("_file", "_pieces", "size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._file: BinaryIO | None = None
        self.size = 0
        """Bytes collected."""

    def write(self, piece: bytes) -> None:
        """Add a piece. Raises OSError when the disk is full."""
        self.size += len(piece)
        if self._file is None:
            if self.size <= MEMORY:
                self._pieces.append(piece)
                return
            self.spool()
        assert self._file is not None
        self._file.write(piece)

    @property
    def in_memory(self) -> int:
        """Bytes that are in memory."""
        return self.size if self._file is None else 0

    def spool(self) -> None:
        """Move what is in memory to a file. Raises OSError when the disk is full."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="nogilserve-")  # noqa: SIM115
            pieces, self._pieces = self._pieces, []
            self._file.writelines(pieces)

    def open(self) -> BinaryIO:
        """The body from its beginning; a file belongs to the store and is closed with it."""
        if self._file is None:
            # One piece is not copied: BytesIO shares bytes until it is written to.
            return io.BytesIO(b"".join(self._pieces))
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Free memory and file."""
        self._pieces.clear()
        if self._file is not None:
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
