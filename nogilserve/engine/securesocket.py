"""TLS over a non-blocking socket, with the face of a non-blocking socket.

OpenSSL reads and writes memory here, and the socket carries what comes out: so what a client
has sent ahead can be looked at first, several records cost one system call, and nothing that
was received waits unseen in a buffer the poller does not know.
"""

import socket
import ssl
import threading
from collections.abc import Sequence
from typing import Final

__all__ = ["LockedSecureSocket", "SecureSocket"]

_RECORD: Final = 16384
"""Bytes of plain text in one record at most (RFC 8446 §5.1)."""
_CHUNK: Final = 65536
"""Bytes encrypted before they are given to the system: what is not taken waits here."""
_RECV: Final = 65536

_MORE: Final = getattr(socket, "MSG_MORE", 0)


class SecureSocket:
    """A connection that speaks TLS, after its handshake.

    What `recv`, `send`, `sendmsg`, `shutdown` and `close` do is what those of a non-blocking
    socket do; `recv` gives everything that has come, whatever size was asked for. Owner: as of
    its connection, one thread at a time.
    """

    __slots__ = (
        "_cut",
        "_discarding",
        "_incoming",
        "_outgoing",
        "_sock",
        "_tls",
        "_unsent",
        "_withheld",
    )

    def __init__(
        self,
        sock: socket.socket,
        tls: ssl.SSLObject,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        unsent: memoryview,
    ) -> None:
        """`unsent`: what the system has not taken yet of the handshake."""
        self._sock = sock
        self._tls = tls
        self._incoming = incoming
        self._outgoing = outgoing
        self._unsent = unsent
        """Encrypted, and not taken by the system yet."""
        self._withheld = 0
        """1: the last byte in `_unsent` was not said to be sent, so that the caller comes back."""
        self._discarding = False
        """Our side is closed: what still comes is thrown away as it is."""
        self._cut = False
        """The end is to look like what it is: something is missing (RFC 8446 §6.1)."""

    def fileno(self) -> int:
        """Descriptor number."""
        return self._sock.fileno()

    # ---- from the client

    def recv(self, size: int, flags: int = 0) -> bytes:
        """What has come, b"" at the end. Raises BlockingIOError, other OSErrors."""
        data = self._sock.recv(_RECV)
        if self._discarding or not data:
            return data
        self._incoming.write(data)
        return self._read()

    def take_rest(self) -> bytes:
        """What has come together with the end of the handshake, b"" for nothing. Raises OSError."""
        if not self._incoming.pending:
            return b""
        try:
            return self._read()
        except BlockingIOError:
            return b""

    def _read(self) -> bytes:
        """Decrypt what is there. Raises BlockingIOError for less than a record, ssl.SSLError."""
        try:
            data = self._tls.read(_RECORD)
        except ssl.SSLWantReadError:
            self._send_alert()  # what asks for an answer of TLS itself: a renegotiation is refused
            raise BlockingIOError from None
        except ssl.SSLError:
            self._send_alert()
            raise
        if data and self._incoming.pending:  # b"": close_notify
            return self._read_on(data)
        return data

    def _read_on(self, first: bytes) -> bytes:
        """Several records: the poller does not tell of what is here already."""
        pieces = [first]
        try:
            while self._incoming.pending:
                piece = self._tls.read(_RECORD)
                if not piece:
                    self._announce_end()
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            self._send_alert()
        except ssl.SSLError:
            self._send_alert()
            raise
        return b"".join(pieces)

    def _announce_end(self) -> None:
        """Have the poller tell of the end, which came together with something else: the client may
        wait for ours before it ends the TCP connection."""
        try:
            self._sock.shutdown(socket.SHUT_RD)
        except OSError:
            pass  # it has ended already

    # ---- to the client

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:
        """Encrypt and send as much as the system takes; how much. Raises BlockingIOError.

        A record that has left in part cannot be taken back. It is kept, and all of it but its
        last byte said to be sent: so the caller comes back for that byte, and this goes on.
        """
        if self._unsent:
            self._flush(flags)
        size = len(data)
        sent = self._withheld
        self._withheld = 0
        if sent == size:
            return sent
        if size <= _CHUNK and not sent:
            self._tls.write(data)
            if self._push(flags):
                return size
            sent = size
        else:
            view = memoryview(data)
            while sent < size:
                chunk = view[sent : sent + _CHUNK]
                self._tls.write(chunk)
                sent += len(chunk)
                if not self._push(flags):
                    break
        if self._unsent:
            self._withheld = 1
            sent -= 1
            if not sent:
                raise BlockingIOError
        return sent

    def sendmsg(self, parts: Sequence[bytes | memoryview]) -> int:
        """As `send`, for several pieces."""
        total = 0
        last = len(parts) - 1
        for index, part in enumerate(parts):
            try:
                sent = self.send(part, _MORE if index < last else 0)
            except BlockingIOError:
                if not total:
                    raise
                break
            total += sent
            if sent < len(part):
                break
        return total

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """As of a socket. Any thread."""
        self._sock.setsockopt(level, option, value)

    def _push(self, flags: int = 0) -> bool:
        """Give the system what was encrypted. True: it has taken all of it."""
        data = self._outgoing.read()
        try:
            sent = self._sock.send(data, flags)
        except BlockingIOError:
            sent = 0
        if sent == len(data):
            return True
        self._unsent = memoryview(data)[sent:]
        return False

    def _flush(self, flags: int = 0) -> None:
        """Send what was kept. Raises BlockingIOError while something is left."""
        self._unsent = self._unsent[self._sock.send(self._unsent, flags) :]
        if self._unsent:
            raise BlockingIOError

    # ---- the end

    def _send_alert(self) -> None:
        """Tell the client, if it can be told, what OpenSSL has to say."""
        try:
            if not self._unsent and self._outgoing.pending:
                self._push()
        except OSError:
            pass

    def cut(self) -> None:
        """Have the connection end without a farewell: a response is incomplete."""
        self._cut = True

    def _say_goodbye(self) -> None:
        """Send close_notify, unless something stands in its way."""
        if self._cut or self._discarding or self._unsent:
            return
        try:
            self._tls.unwrap()
        except (ssl.SSLError, ValueError):
            pass  # the client's answer is not waited for
        self._send_alert()

    def shutdown(self, how: int) -> None:
        """Close our sending side; what still comes is not decrypted any more. Raises OSError."""
        self._say_goodbye()
        self._discarding = True
        self._sock.shutdown(how)

    def close(self) -> None:
        """Say goodbye and close; also to a client that has said so, and may read on to the end of
        a response which only that tells from a part of it (RFC 8446 §6.1)."""
        if self._sock.fileno() >= 0:
            self._say_goodbye()
        self._sock.close()

    def locked(self) -> "LockedSecureSocket":
        """The same connection for two threads: this object must not be used any more."""
        shared = LockedSecureSocket(
            self._sock, self._tls, self._incoming, self._outgoing, self._unsent
        )
        shared._withheld = self._withheld  # noqa: SLF001 - the same class, but for the lock
        return shared


class LockedSecureSocket(SecureSocket):
    """One thread may receive while another one sends. Any thread: everything is done under a
    lock, which no system call that can block is made under."""

    __slots__ = ("_lock",)

    def __init__(
        self,
        sock: socket.socket,
        tls: ssl.SSLObject,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        unsent: memoryview,
    ) -> None:
        super().__init__(sock, tls, incoming, outgoing, unsent)
        self._lock = threading.Lock()

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As of SecureSocket."""
        with self._lock:
            return SecureSocket.recv(self, size, flags)

    def take_rest(self) -> bytes:
        """As of SecureSocket."""
        with self._lock:
            return SecureSocket.take_rest(self)

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:
        """As of SecureSocket."""
        with self._lock:
            return SecureSocket.send(self, data, flags)

    def sendmsg(self, parts: Sequence[bytes | memoryview]) -> int:
        """As of SecureSocket, in one piece: other threads' bytes do not come between."""
        return self.send(b"".join(parts))

    def shutdown(self, how: int) -> None:
        """As of SecureSocket."""
        with self._lock:
            SecureSocket.shutdown(self, how)

    def close(self) -> None:
        """As of SecureSocket."""
        with self._lock:
            SecureSocket.close(self)
