"""Responses that leave together, a few at a time, while many requests wait.

Each response that leaves wakes its client. A client on the same machine, such as a proxy, takes the
processor from the application then, and the application's next call finds cold caches: a
tenth of its time and more. So while requests wait in a queue, the system is told that more will
follow (MSG_MORE, tcp(7)), and after some responses that nothing does (TCP_NODELAY).

That is worth it for calls of some length only: behind long ones nobody should wait, and short ones
are over before the client runs.
"""

import socket
from time import monotonic
from typing import Final

__all__ = ["Corked", "pays", "push"]

_MOST: Final = 16
_SECONDS: Final = 0.002
"""After so many responses, or so long after the first call began, they leave when a call ends."""
_SHORT: Final = 0.00003
_LONG: Final = 0.0003
"""Seconds that requests take between which it pays."""
_SLOW: Final = 0.005
"""Seconds that a call takes after which …"""
_PAUSE: Final = 10
"""… nothing waits for this many times as long: there may be more of its kind."""
_MORE: Final = getattr(socket, "MSG_MORE", 0)


def pays(seconds: float) -> int:
    """What `send` is to be told while requests take so long on average: MSG_MORE, or 0."""
    return _MORE if _SHORT < seconds < _LONG else 0


class Corked:
    """Connections with a response that waits in the system. Owner: the thread that holds the core;
    any thread may `hurry`, for telling the system twice does no harm, nor does it before there is
    a response, and a socket that is closed by then says so itself."""

    __slots__ = ("_since", "_socks", "again")

    def __init__(self) -> None:
        self._socks: list[socket.socket] = []
        self._since = 0.0
        self.again = 0.0
        """When it may pay again (monotonic). A hint, any thread may write it."""

    def __bool__(self) -> bool:
        return bool(self._socks)

    def add(self, sock: socket.socket, now: float) -> None:
        """A response is about to be sent by `sock` with MSG_MORE; it is `now` (monotonic)."""
        if not self._socks:
            self._since = now
        self._socks.append(sock)

    def look(self, sock: socket.socket, now: float) -> None:
        """The call of the one added last is over. Have them leave if that is enough."""
        if not self._socks or self._socks[-1] is not sock:
            push(sock)  # another thread has driven meanwhile, and had those leave that it found
        if len(self._socks) >= _MOST or now - self._since > _SECONDS:
            self.push()

    def rest(self, seconds: float) -> bool:
        """A call took so long. Whether nothing is to wait for some time now. Any thread."""
        if seconds < _SLOW:
            return False
        self.again = monotonic() + seconds * _PAUSE
        return True

    def push(self) -> None:
        """Have all of them leave."""
        socks = self._socks
        for sock in socks:
            push(sock)
        socks.clear()

    def hurry(self) -> None:
        """The same for who does not hold the core, when its driver is inside a call for long. Any
        thread. Those that the driver adds meanwhile may be left out."""
        for sock in self._socks.copy():
            push(sock)


def push(sock: socket.socket) -> None:
    """Have what was sent with MSG_MORE leave. Any thread."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        pass  # closed, and so it has left
