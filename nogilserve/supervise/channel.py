"""Messages between the master and a generation: a line of JSON each, with sockets beside it.

The master reads what a process says that runs the application: data only, nothing is unpickled.
Sockets travel as descriptors (SCM_RIGHTS), on Windows by `socket.share`.
"""

import base64
import json
import socket
import threading
from collections.abc import Sequence
from typing import Any, Final

__all__ = ["Channel", "Message"]

Message = dict[str, Any]
"""Plain data; "name" says what it is."""

_RIGHTS: Final = hasattr(socket, "send_fds")
_MOST_FDS: Final = 250
_PIECE: Final = 65536


class Channel:
    """One end. `send` is for any thread, `receive` and `sockets` for one, `close` for the owner.

    The lock keeps lines whole. Under it the system call can block while the other end does not
    read; both ends always do, or are gone.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
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
        except OSError:
            return False
        return True

    def receive(self) -> Message | None:
        """The next message; blocks. None when the other end is gone."""
        while b"\n" not in self._received:
            piece = self._piece()
            if not piece:
                return None
            self._received += piece
        line, _, rest = self._received.partition(b"\n")
        self._received = rest
        message: Message = json.loads(line)
        self.sockets += [_unshare(text) for text in message.pop("shared", ())]
        return message

    def _piece(self) -> bytes:
        try:
            if not _RIGHTS:
                return self._sock.recv(_PIECE)
            piece, fds, _, _ = socket.recv_fds(self._sock, _PIECE, _MOST_FDS)
        except OSError:
            return b""
        for fd in fds:
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
    return base64.b64encode(share(pid)).decode()


def _unshare(text: str) -> socket.socket:
    fromshare: Any = getattr(socket, "fromshare")  # noqa: B009
    sock: socket.socket = fromshare(base64.b64decode(text))
    return sock
