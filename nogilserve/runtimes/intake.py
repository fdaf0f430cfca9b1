"""Connections on their way from the process that accepts them to the member that serves them.

The sender is one end of a socket pair, the intake the other. The intake looks like a listening
socket to the engine, whose acceptors take connections from it as from any other. It is kept by the
accepting process too: what a dead member has not taken is taken by its successor.
"""

import array
import errno
import os
import socket
import struct
import threading
from typing import Any, Final

from nogilserve.runtimes.channel import CLOEXEC, RIGHTS, share, unshare
from nogilserve.runtimes.ledger import Row

__all__ = ["MOST_UNREAD", "Intake", "Sender", "feed_pair"]

Socket = socket.socket
"""By another name, because the intake has a property called socket."""

_SPACE: Final = socket.CMSG_SPACE(4) if RIGHTS else 0
_MOST: Final = 128
"""Bytes of an address: the longest is IPv6 with a zone."""
MOST_UNREAD: Final = 140_000
"""Bytes that travel with a connection: the longest head and what came with it. Linux lets some
200,000 be on their way."""
_FRAME: Final = struct.Struct("!HH")
"""On Windows: length of the address and of the shared socket, which follow."""


def feed_pair() -> tuple[socket.socket, socket.socket]:
    """Sending and receiving end. One message is one connection, where the system can keep
    messages apart: only Linux does so for connections, others for datagrams."""
    if not RIGHTS:
        ends = socket.socketpair()
    else:
        try:
            ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:
            ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in ends:
        end.setblocking(False)
    return ends


class Sender:
    """The sending end for one member and one listening socket. Owner: the thread that accepts; of
    a way back any thread, because a message leaves whole (not on Windows, where there is none)."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.peer = 0
        """Process id of the member (Windows)."""

    def send(self, connection: socket.socket, address: Any) -> bool:
        """Hand an accepted connection over; the caller closes its own end of it afterwards.

        False: too many wait there already. Raises OSError where the system has not the means.
        """
        text = f"{address[0]} {address[1]}".encode() if isinstance(address, tuple) else b"-"
        if type(address) is tuple and len(address) == 3:  # with bytes that were read already
            text += b"\0" + address[2]
        try:
            if RIGHTS:
                rights = array.array("i", [connection.fileno()])
                self._sock.sendmsg([text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            else:
                self._send_shared(text, share(connection, self.peer))
        except BlockingIOError:
            return False
        except OSError as exc:
            # What a full queue is called elsewhere, and too many descriptors in flight.
            if exc.errno in (errno.ENOBUFS, getattr(errno, "ETOOMANYREFS", -1)):
                return False
            raise
        return True

    def _send_shared(self, text: bytes, shared: bytes) -> None:
        frame = _FRAME.pack(len(text), len(shared)) + text + shared
        sent = self._sock.send(frame)
        if sent < len(frame):  # a stream: the rest must follow
            self._sock.setblocking(True)
            try:
                self._sock.sendall(frame[sent:])
            finally:
                self._sock.setblocking(False)

    def close(self) -> None:
        """Close the sending end."""
        self._sock.close()


class Intake:
    """The receiving end, as the engine sees a listening socket. Any thread may accept."""

    def __init__(
        self,
        sock: Socket,
        family: int,
        server: tuple[str, str],
        row: Row | None,
        role: str = "tls",
        *,
        returning: bool = False,
    ) -> None:
        """`family`: that of the connections; `server`, `role`: see ListeningSocket; `row`: where
        what is taken is counted, if somebody wants to know; `returning`: connections may come with
        bytes that were read from them."""
        sock.setblocking(False)
        self._sock = sock
        self._row = row
        self.family = family
        self.type = socket.SOCK_STREAM
        self.proto = 0
        self.server = server
        self.role = role
        self._most = _MOST + MOST_UNREAD if returning else _MOST
        self.ended = False
        """The other end sends nothing any more."""
        self._reading = threading.Lock()
        self._rest = b""
        """Part of a frame (Windows); under `_reading`."""

    @property
    def socket(self) -> Any:
        """Itself: what the engine asks of a listening socket is here."""
        return self

    def fileno(self) -> int:
        """Descriptor number."""
        return self._sock.fileno()

    def accept(self) -> tuple[Socket, Any]:
        """The next connection and the address of its client, with what was read of it as a third
        part if something was.

        BlockingIOError when none waits; OSError (EMFILE) when this process has no descriptor left.
        """
        connection, text = self._take_rights() if RIGHTS else self._take_shared()
        if self._row is not None:
            self._row.take()
        if connection is None:
            if self._row is not None:
                self._row.close()
            raise OSError(errno.EMFILE, "too many open files: an accepted connection is lost")
        name, read, unread = text.partition(b"\0")
        try:
            host, _, port = name.decode().partition(" ")
            if read:
                return connection, (host, int(port), unread)
            return connection, (host, int(port)) if port else ""
        except ValueError:
            connection.close()
            raise OSError(errno.EBADMSG, "a connection came without an address") from None

    def _take_rights(self) -> tuple[Socket | None, bytes]:
        text, rights, _, _ = self._sock.recvmsg(self._most, _SPACE, CLOEXEC)
        numbers = array.array("i")
        for level, kind, data in rights:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
        # One belongs to a message; who sends otherwise leaves no descriptors here.
        for number in numbers[1:] if text else numbers:
            os.close(number)
        if not text:
            self.ended = True
            raise BlockingIOError  # the accepting process is gone
        if not numbers:
            return None, text
        return Socket(self.family, self.type, 0, fileno=numbers[0]), text

    def _take_shared(self) -> tuple[Socket | None, bytes]:
        with self._reading:
            # Never more than this frame: the poller has to report what is left.
            self._fill(_FRAME.size)
            before, behind = _FRAME.unpack_from(self._rest)
            self._fill(_FRAME.size + before + behind)
            frame, self._rest = self._rest, b""
        return unshare(frame[_FRAME.size + before :]), frame[_FRAME.size : _FRAME.size + before]

    def _fill(self, size: int) -> None:
        while len(self._rest) < size:
            piece = self._sock.recv(size - len(self._rest))
            if not piece:
                raise BlockingIOError  # the accepting process is gone
            self._rest += piece

    def close(self) -> None:
        """Close the receiving end."""
        self._sock.close()
