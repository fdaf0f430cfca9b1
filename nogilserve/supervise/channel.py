"""Messages between the master and a generation: a line of JSON each, with sockets beside it.

The master reads what a process says that runs the application: data only, nothing is unpickled.
Sockets travel as descriptors (SCM_RIGHTS), on Windows by `socket.share`.
"""

import contextlib
import json
import os
import socket
import struct
import threading
from collections.abc import Sequence
from typing import Any, Final

__all__ = ["Channel", "Message"]

Message = dict[str, Any]
"""Plain data; "name" says what it is."""

_RIGHTS: Final = hasattr(socket, "send_fds")
_MOST_FDS: Final = 250
_PIECE: Final = 65536
_LONGEST: Final = 1 << 26
"""Bytes of a message from a process that runs an application."""
_PATIENCE: Final = 10
"""Seconds for which such a process may leave no room for a message."""


class Channel:
    """One end. `send` is for any thread, `receive` and `sockets` for one, `close` for the owner.

    The lock keeps lines whole. Under it the system call can block while the other end does not
    read; both ends always do, or are gone, except where the other end is `wary`.
    """

    def __init__(self, sock: socket.socket, *, wary: bool = False) -> None:
        """`wary`: an application has got hold of the other end, perhaps: it may send neither
        sockets nor messages without end, and who sends to it waits for some seconds at most."""
        self._sock = sock
        self._wary = wary
        self.deaf = False
        """It has left no room for so long; part of a message may have been sent."""
        if wary and os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _PATIENCE, 0))
        self._sending = threading.Lock()
        self._received = bytearray()
        self.sockets: list[socket.socket] = []
        """What came with the messages; whoever takes one out owns it."""

    def fileno(self) -> int:
        """Descriptor number, -1 once closed."""
        return self._sock.fileno()

    def send(self, name: str, sockets: Sequence[socket.socket] = (), **data: Any) -> bool:
        """Send a message; False when the other end is gone."""
        if sockets and not _RIGHTS:
            data["shared"] = [_share(sock, int(data["peer"])) for sock in sockets]
        line = json.dumps({"name": name, **data}).encode() + b"\n"
        try:
            with self._sending:
                if sockets and _RIGHTS:
                    sent = socket.send_fds(self._sock, [line], [sock.fileno() for sock in sockets])
                    line = line[sent:]
                self._sock.sendall(line)
        except BlockingIOError:
            self.deaf = True
            return False
        except OSError:
            return False
        return True

    def receive(self) -> Message | None:
        """The next message; blocks. None when the other end is gone. ValueError: that was none."""
        end = self._received.find(b"\n")
        while end < 0:
            piece = self._piece()
            if not piece:
                return None
            before = len(self._received)
            self._received += piece
            end = self._received.find(b"\n", before)
            if end < 0 and self._wary and len(self._received) > _LONGEST:
                raise ValueError("a message has no end")
        line, self._received = self._received[:end], self._received[end + 1 :]
        try:
            found: Any = json.loads(line)
        except RecursionError:
            raise ValueError("a message is too deep") from None
        if not isinstance(found, dict) or not isinstance(found.get("name"), str):
            raise ValueError("that is no message")
        message: Message = found
        shared = message.pop("shared", ())
        if not self._wary:
            self.sockets += [_unshare(text) for text in shared]
        return message

    def _piece(self) -> bytes:
        try:
            if not _RIGHTS:
                return self._sock.recv(_PIECE)
            piece, fds, _, _ = socket.recv_fds(self._sock, _PIECE, _MOST_FDS)
        except OSError:
            return b""
        for fd in fds:
            if self._wary:  # it has none to give
                with contextlib.suppress(OSError):
                    os.close(fd)
                continue
            sock = socket.socket(fileno=fd)
            sock.set_inheritable(False)
            self.sockets.append(sock)
        return piece

    def hang_up(self) -> None:
        """Wake whoever receives: nothing more comes. Any thread."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self) -> None:
        """Close this end, and what nobody took."""
        self._sock.close()
        for sock in self.sockets:
            sock.close()
        self.sockets.clear()


def _share(sock: socket.socket, pid: int) -> str:
    share: Any = getattr(sock, "share")  # noqa: B009 - Windows only, unknown to others
    from base64 import b64encode

    return b64encode(share(pid)).decode()


def _unshare(text: str) -> socket.socket:
    fromshare: Any = getattr(socket, "fromshare")  # noqa: B009
    from base64 import b64decode

    sock: socket.socket = fromshare(b64decode(text))
    return sock
