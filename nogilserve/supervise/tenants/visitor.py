"""A connection that no tenant has yet: what the front process knows of it."""

import contextlib
import socket
from typing import Any, Final

from nogilserve.config.templates import Tenant

__all__ = ["Visitor"]

_PEEK: Final = 65536 + 1024
"""Bytes looked at: the longest head, and a little of what precedes it."""
_FIRST: Final = 0.001
_LONGEST: Final = 0.05
_LINGER_BYTES: Final = 1 << 20


class Visitor:
    """Owner: the front's thread."""

    __slots__ = (
        "address",
        "answered",
        "at",
        "deadline",
        "door",
        "origin",
        "pause",
        "said",
        "sock",
        "unread",
    )

    def __init__(
        self,
        sock: socket.socket,
        address: Any,
        door: int,
        deadline: float,
        unread: bytes = b"",
        origin: Tenant = (),
    ) -> None:
        """`door`: the number of the listening socket it came through; `unread`: bytes that were
        read from it already, by `origin`, which it was not for."""
        self.sock = sock
        self.address = address
        self.door = door
        self.deadline = deadline
        """Until when it must have said what it wants; later, until when it may linger."""
        self.unread = unread
        self.origin = origin
        self.at = deadline
        """When to look at it next."""
        self.pause = _FIRST
        self.answered = False
        """It was turned away; what it still sends is thrown away."""
        self.said = 0
        """Bytes thrown away."""

    def peek(self) -> bytes | None:
        """What it has sent so far, without taking it; None at its end. Raises BlockingIOError."""
        if self.unread:
            return self.unread
        try:
            data = self.sock.recv(_PEEK, socket.MSG_PEEK)
        except BlockingIOError:
            raise
        except OSError:
            return None
        return data or None

    def wait(self, now: float) -> None:
        """More is needed: look again soon. The bytes that wait keep the socket readable."""
        self.at = min(now + self.pause, self.deadline)
        self.pause = min(self.pause * 2, _LONGEST)

    def wait_longest(self, now: float) -> None:
        """Ask again, after a while, the one that has given it back."""
        self.origin = ()
        self.at = now + _LONGEST

    def turn_away(self, answer: bytes, until: float) -> bool:
        """Send an answer, and that nothing follows. False: it is gone already."""
        self.answered = True
        self.deadline = self.at = until
        try:
            if answer:
                self.sock.send(answer)
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        return self.discard()

    def discard(self) -> bool:
        """Throw away what it still sends: closing with bytes unread would take the answer from it
        (RFC 9112 §9.6). False: it has ended, or sends too much."""
        with contextlib.suppress(BlockingIOError):
            try:
                while self.said < _LINGER_BYTES:
                    data = self.sock.recv(65536)
                    if not data:
                        return False
                    self.said += len(data)
            except BlockingIOError:
                return True
            except OSError:
                return False
        return self.said < _LINGER_BYTES

    def close(self) -> None:
        """End it."""
        self.sock.close()
