"""One stream: a request and its response on a connection that it shares with others."""

from collections import deque
from typing import Any, Protocol

from nogilserve.messages import Request
from nogilserve.protocols.http2.codes import DEFAULT_WINDOW

__all__ = ["Piece", "Stream"]


class Piece(Protocol):
    """Bytes that are not in memory, such as a range of a file: whoever sends fetches them."""

    def __len__(self) -> int: ...

    def split(self, count: int) -> "Piece":
        """Take the first `count` bytes off."""


class Stream:
    """Owner: the connection's; whoever may use that."""

    __slots__ = (
        "credit",
        "ended",
        "expected",
        "gone",
        "grown",
        "id",
        "most",
        "owner",
        "pending",
        "queued",
        "receive_window",
        "received",
        "request",
        "scheduled",
        "send_window",
        "sent",
        "sent_end",
        "tail",
        "unwanted",
    )

    def __init__(self, number: int, send_window: int) -> None:
        self.id = number
        self.owner: Any = None
        """What the engine has to do with it."""
        self.request: Request | None = None
        self.expected = -1
        """Content-Length; -1 where none was given."""
        self.received = 0
        """Bytes of the body."""
        self.most = 0
        """Bytes it may have; 0: no limit."""
        self.ended = False
        """The peer has said all."""
        self.receive_window = DEFAULT_WINDOW
        self.credit = 0
        """Bytes taken and not given back to the peer's window."""
        self.grown = False
        """That was made larger than it was in the beginning."""
        self.send_window = send_window
        self.pending: deque[memoryview | Piece] = deque()
        """What is still to be sent, …"""
        self.queued = 0
        """… in bytes."""
        self.tail: bytes | None = None
        """After it: a field section, b"" for the end alone, None: more is to come."""
        self.sent = 0
        """Bytes of the body that were put into frames."""
        self.sent_end = False
        self.scheduled = False
        """Among those that have something to send."""
        self.unwanted = False
        """What still comes of the body is thrown away."""
        self.gone = False
        """Reset, by either side, or lost with its connection."""
