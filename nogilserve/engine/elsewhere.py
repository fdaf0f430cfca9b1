"""Connections whose next request is for another process: they go back with what was read.

Where each tenant has a process of its own, a connection that is kept, as proxies do, may bring
requests for several of them. What this process has read of such a request goes back together
with the socket, and whoever accepts gives both to the right one.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from nogilserve.engine.connection import Connection
from nogilserve.engine.core import Core
from nogilserve.engine.limited import LimitedConnection
from nogilserve.messages import Request

__all__ = ["Elsewhere", "LimitedReturningConnection", "ReturningConnection", "head_of"]

_KNOWN: Final = 64
"""Names kept that were found to be this process's."""


@dataclass(slots=True)
class Elsewhere:
    """Which requests are for others, and the way back. Owner: one core, or one loop."""

    mine: Callable[[Request], bool]
    """Whether a request is for this process."""
    give: Callable[[socket.socket, bytes, tuple[str, str]], bool]
    """Gives a connection back: the socket, what was read, `ListeningSocket.server`. False: it is
    not taken."""
    by_host: bool
    """The host alone decides, so that it need not be judged each time."""
    known: set[str] = field(default_factory=set)
    """Hosts, with their ports, that are this process's."""

    def is_mine(self, request: Request) -> bool:
        """Whether a request whose host is not known yet is for this process."""
        if not self.mine(request):
            return False
        if self.by_host and len(self.known) < _KNOWN:
            self.known.add(request.authority)
        return True


def head_of(request: Request) -> bytes:
    """A head that means the same as the one that was read."""
    lines = [f"{request.method} {request.target} HTTP/1.{request.minor}"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class _Returning(Connection):
    """What is different. Owner: as of Connection."""

    __slots__ = ()

    def _begin_body(self, core: Core) -> bool:
        return not self._given_back(core) and super()._begin_body(core)

    def run(self, core: Core) -> bool:
        """Give the request to the application, or the connection to whom it is for."""
        elsewhere = core.elsewhere
        if elsewhere is not None and self.request.authority in elsewhere.known:
            return super().run(core)
        return self._given_back(core) or super().run(core)

    def _given_back(self, core: Core) -> bool:
        """Whether the request was for another process, which has the connection now."""
        elsewhere, request = core.elsewhere, self.request
        if elsewhere is None or elsewhere.is_mine(request):
            return False
        if core.proxies.preambles:
            return False  # whose connection it is was said to this process only
        protocol = self.protocol
        rest = protocol.take_trailing()
        if not elsewhere.give(self.sock, head_of(request) + rest, self.own[2]):
            protocol.receive_data(rest)
            return False  # the gateway says that it is misdirected
        self._started = 0.0
        self.close(core)
        return True


class ReturningConnection(_Returning):
    """A connection that may turn out to be another process's. Owner: as of Connection."""

    __slots__ = ()


class LimitedReturningConnection(_Returning, LimitedConnection):
    """The same, counted while it is open. Owner: as of Connection."""

    __slots__ = ()
