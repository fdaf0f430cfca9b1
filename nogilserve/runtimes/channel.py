"""Messages between a serving process and what serves for it: child processes, subinterpreters.

A message is a name and plain data. Sockets travel beside it: as descriptors over a unix socket
(SCM_RIGHTS), on Windows by `socket.share`.
"""

import array
import pickle
import socket
import struct
import sys
import threading
from collections.abc import Sequence
from typing import Any, Final

__all__ = ["CLOEXEC", "RIGHTS", "Channel", "share", "unshare"]

RIGHTS: Final = hasattr(socket, "AF_UNIX") and hasattr(socket, "send_fds")
"""Whether descriptors travel over unix sockets here."""
CLOEXEC: Final[int] = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
"""For recvmsg: programs that the application starts do not inherit what is received."""

_HEAD: Final = struct.Struct("!IB")
"""Length of the message, number of descriptors with it."""
_MOST: Final = 200
"""Descriptors with one message; Linux takes 253."""

Message = tuple[str, Any, list[socket.socket]]


class Channel:
    """One end. `send` is for any thread; `receive` belongs to one.

    Both sides trust each other: they are the same program of the same user.
    """

    def __init__(self, sock: socket.socket, peer: int = 0) -> None:
        """`peer`: process id of the other end, where that is another process of Windows."""
        self._sock = sock
        self._peer = peer
        self._sending = threading.Lock()

    def fileno(self) -> int:
        """Descriptor number, -1 once closed."""
        return self._sock.fileno()

    def bind_peer(self, pid: int) -> None:
        """Say which process is at the other end, before sockets are sent to it."""
        self._peer = pid

    def send(self, name: str, data: object = None, sockets: Sequence[socket.socket] = ()) -> None:
        """Send a message. Raises OSError when the other end is gone."""
        shared: list[bytes] = []
        if sockets and not RIGHTS:
            shared = [share(sock, self._peer) for sock in sockets]
        body = pickle.dumps((name, data, shared))
        count = len(sockets) if RIGHTS else 0
        message = _HEAD.pack(len(body), count) + body
        # The lock keeps messages whole. The system call under it can block only while the other
        # end does not read.
        with self._sending:
            if count:
                fds = [sock.fileno() for sock in sockets]
                sent = socket.send_fds(self._sock, [message], fds)
                message = message[sent:]
            if message:
                self._sock.sendall(message)

    def receive(self) -> Message:
        """The next message; blocks. EOFError when the other end is gone."""
        data, fds = b"", array.array("i")
        while len(data) < _HEAD.size:
            piece = self._piece(_HEAD.size - len(data), fds)
            data += piece
        length, count = _HEAD.unpack(data)
        body = bytearray()
        while len(body) < length:
            body += self._piece(min(length - len(body), 1 << 20), fds)
        name, content, shared = pickle.loads(bytes(body))
        sockets = [socket.socket(fileno=fd) for fd in fds]
        sockets += [unshare(item) for item in shared]
        if len(fds) != count:
            for sock in sockets:
                sock.close()
            raise OSError("descriptors were lost on the way: too many files are open")
        return name, content, sockets

    def _piece(self, most: int, fds: "array.array[int]") -> bytes:
        try:
            if RIGHTS:
                # Not `recv_fds`, which takes flags and forgets them.
                piece, rights, _, _ = self._sock.recvmsg(
                    most, socket.CMSG_SPACE(_MOST * 4), CLOEXEC
                )
                for level, kind, data in rights:
                    if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                        fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
            else:
                piece = self._sock.recv(most)
        except ConnectionError:
            raise EOFError from None
        if not piece:
            raise EOFError
        return piece

    def close(self) -> None:
        """Close this end."""
        self._sock.close()


def share(sock: socket.socket, pid: int) -> bytes:
    """A socket as bytes that the process `pid` can make one of. Windows only: OSError."""
    if sys.platform == "win32":
        return sock.share(pid)
    raise OSError("this system shares no sockets")


def unshare(data: bytes) -> socket.socket:
    """The socket that another process has shared. Windows only: OSError."""
    if sys.platform == "win32":
        return socket.fromshare(data)
    raise OSError("this system shares no sockets")
