"""Parts of a response that lie in files: the application's, or what waits for a slow client."""

import os
import tempfile
import threading
from typing import BinaryIO

__all__ = ["FilePiece", "SharedFile", "make_spool"]


class SharedFile:
    """A file that one thread writes while another one reads what was written before.

    Any thread: reading and writing name their positions. Where the system has no such calls, `lock`
    guards the position. Closed by the session, when nobody reads.
    """

    __slots__ = ("_fd", "_lock", "_size")

    def __init__(self, fd: int) -> None:
        """`fd` belongs to this object from now on."""
        self._fd = fd
        self._size = 0
        self._lock = None if hasattr(os, "pread") else threading.Lock()

    def append(self, data: bytes | memoryview) -> "FilePiece":
        """Write behind what was written before; the piece it is now. One thread. Raises OSError."""
        start, view = self._size, memoryview(data)
        while view:
            if self._lock is None:
                count = os.pwrite(self._fd, view, self._size)
            else:
                with self._lock:
                    os.lseek(self._fd, self._size, os.SEEK_SET)
                    count = os.write(self._fd, view)
            self._size += count
            view = view[count:]
        return FilePiece(self, start, self._size - start)

    def read(self, offset: int, count: int) -> bytes:
        """Exactly `count` bytes. Raises OSError, also when there are fewer."""
        parts = []
        while count:
            if self._lock is None:
                data = os.pread(self._fd, count, offset)
            else:
                with self._lock:
                    os.lseek(self._fd, offset, os.SEEK_SET)
                    data = os.read(self._fd, count)
            if not data:
                raise OSError("the file has become shorter while it was being sent")
            parts.append(data)
            offset += len(data)
            count -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Close it; once."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class FilePiece:
    """A range of a file. Owner: as of the stream it is sent on."""

    __slots__ = ("count", "file", "offset")

    def __init__(self, file: SharedFile, offset: int, count: int) -> None:
        self.file = file
        self.offset = offset
        self.count = count

    def __len__(self) -> int:
        return self.count

    def split(self, count: int) -> "FilePiece":
        """Take the first `count` bytes off."""
        first = FilePiece(self.file, self.offset, count)
        self.offset += count
        self.count -= count
        return first

    def read(self) -> bytes:
        """The bytes. Raises OSError."""
        return self.file.read(self.offset, self.count)


def make_spool() -> SharedFile:
    """A file for what is too much for memory. Raises OSError."""
    file: BinaryIO = tempfile.TemporaryFile(prefix="nogilserve-", buffering=0)  # noqa: SIM115
    with file:
        return SharedFile(os.dup(file.fileno()))
