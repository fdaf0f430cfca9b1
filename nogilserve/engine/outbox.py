"""What a response still has to send while its client is not reading.

Pieces are bytes in memory or ranges of files. What would take too much memory goes to one
temporary file, the spool, and is sent from there. The system calls here never block.
"""

import os
import socket
import tempfile
from collections import deque
from typing import BinaryIO, Final

__all__ = ["Outbox", "send_range"]

_COPY: Final = 1 << 18
"""Bytes per read where the system has no sendfile."""


class FileRange:
    """A range of a file that is still to be sent. Owner: its outbox."""

    __slots__ = ("count", "fd", "offset", "owned")

    def __init__(self, fd: int, offset: int, count: int, owned: bool) -> None:
        self.fd = fd
        self.offset = offset
        self.count = count
        self.owned = owned
        """Whether the descriptor is closed with the range."""


def send_range(sock: socket.socket, fd: int, offset: int, count: int) -> int:
    """Send at most `count` bytes of file `fd` from `offset`; the number sent, 0 at end of file.

    Raises BlockingIOError when the socket takes nothing now, other OSErrors when it is broken.
    """
    if type(sock) is socket.socket and hasattr(os, "sendfile"):
        return os.sendfile(sock.fileno(), fd, offset, count)
    # TLS, or a system without it.
    count = min(count, _COPY)
    if hasattr(os, "pread"):
        data = os.pread(fd, count, offset)
    else:
        os.lseek(fd, offset, os.SEEK_SET)
        data = os.read(fd, count)
    return sock.send(data) if data else 0


class Outbox:
    """Bytes to be sent, in order.

    Owner: that of the connection: the thread that runs its request, else its core's driver.
    """

    __slots__ = ("_pieces", "_spool", "_spooled", "memory", "waiting")

    def __init__(self) -> None:
        self._pieces: deque[memoryview | FileRange] = deque()
        self._spool: BinaryIO | None = None
        self._spooled = 0
        self.memory = 0
        """Bytes held in memory."""
        self.waiting = 0
        """Bytes not yet sent, wherever they are."""

    @property
    def spooled(self) -> int:
        """Bytes written to the spool since it was last empty."""
        return self._spooled

    def put(self, data: bytes | memoryview) -> None:
        """Add bytes, kept in memory."""
        view = memoryview(data)
        if not view:
            return  # sending nothing would look like the end of a file
        self._pieces.append(view)
        self.memory += len(view)
        self.waiting += len(view)

    def put_file(self, fd: int, offset: int, count: int) -> None:
        """Add a range of a file; the descriptor is duplicated, so the caller may close its own."""
        if not count:
            return
        self._pieces.append(FileRange(os.dup(fd), offset, count, owned=True))
        self.waiting += count

    def put_spooled(self, data: bytes | memoryview) -> None:
        """Add bytes by way of the spool. Raises OSError when the disk is full."""
        if not data:
            return
        if self._spool is None:
            self._spool = tempfile.TemporaryFile(prefix="nogilserve-", buffering=0)  # noqa: SIM115
        view = memoryview(data)
        offset, size = self._spooled, len(view)
        self._spool.seek(offset)  # reading by offset may move the position (no sendfile)
        while view:
            view = view[self._spool.write(view) :]
        self._spooled = offset + size
        last = self._pieces[-1] if self._pieces else None
        if isinstance(last, FileRange) and not last.owned and last.offset + last.count == offset:
            last.count += size
        else:
            self._pieces.append(FileRange(self._spool.fileno(), offset, size, owned=False))
        self.waiting += size

    def spool_memory(self) -> None:
        """Move what is held in memory to the spool. Raises OSError when the disk is full."""
        pieces, self._pieces = self._pieces, deque()
        self.memory = self.waiting = 0
        for piece in pieces:
            if isinstance(piece, FileRange):
                self._pieces.append(piece)
                self.waiting += piece.count
            else:
                self.put_spooled(piece)

    def flush(self, sock: socket.socket) -> int:
        """Send until all is sent or the socket is full; the number of bytes sent.

        Raises OSError if the connection is broken, or a file ends before its range does.
        """
        total = 0
        pieces = self._pieces
        try:
            while pieces:
                piece = pieces[0]
                if isinstance(piece, FileRange):
                    sent = send_range(sock, piece.fd, piece.offset, piece.count)
                    if not sent:
                        raise OSError("the file has become shorter while it was being sent")
                    piece.offset += sent
                    piece.count -= sent
                    if not piece.count:
                        pieces.popleft()
                        if piece.owned:
                            os.close(piece.fd)
                else:
                    sent = sock.send(piece)
                    self.memory -= sent
                    if sent == len(piece):
                        pieces.popleft()
                    else:
                        pieces[0] = piece[sent:]
                total += sent
                self.waiting -= sent
        except BlockingIOError:
            return total
        if self._spool is not None:
            self._spool.close()
            self._spool = None
            self._spooled = 0
        return total

    def close(self) -> None:
        """Drop everything and close the files."""
        for piece in self._pieces:
            if isinstance(piece, FileRange) and piece.owned:
                os.close(piece.fd)
        self._pieces.clear()
        self.memory = self.waiting = 0
        if self._spool is not None:
            self._spool.close()
            self._spool = None
            self._spooled = 0
