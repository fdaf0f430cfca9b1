"""A tenant's process answers for that tenant alone."""

import socket
from collections.abc import Callable, Sequence
from typing import Final

from nogilserve.config import Config
from nogilserve.messages import Request
from nogilserve.runtimes.intake import MOST_UNREAD, Sender
from nogilserve.sites.tenants.naming import Names

__all__ = ["WAY_BACK", "WayBack", "by_host", "mine_of"]


class WayBack:
    """To the process that accepts, for connections that are another tenant's.

    Set by the thread that starts the runtime, before anything is accepted; then any thread.
    """

    def __init__(self) -> None:
        self._sender: Sender | None = None
        self._doors: dict[tuple[str, str], int] = {}
        self.socket: socket.socket | None = None
        """The end that leads there, for members of a crew."""

    def lead(self, sock: socket.socket, servers: Sequence[tuple[str, str]]) -> None:
        """Use this socket from now on. `servers`: of the listening sockets, in order."""
        self.socket = sock
        self._sender = Sender(sock)
        self._doors = {server: door for door, server in enumerate(servers)}

    @property
    def servers(self) -> list[tuple[str, str]]:
        """Of the listening sockets, in order."""
        return list(self._doors)

    def give(self, sock: socket.socket, unread: bytes, server: tuple[str, str]) -> bool:
        """See `Elsewhere.give`."""
        if self._sender is None or len(unread) > MOST_UNREAD:
            return False
        try:
            return self._sender.send(sock, (str(self._doors.get(server, 0)), 0, unread))
        except OSError:
            return False


WAY_BACK: Final = WayBack()
"""That of this process."""


def by_host(config: Config) -> bool:
    """Whether the host alone tells tenants apart."""
    return config.tenant is not None and Names(config.tenant.naming).by_host


def mine_of(config: Config) -> Callable[[Request], bool]:
    """Whether a request is for the tenant that this process serves. Any thread."""
    assert config.tenant is not None
    names, tenant = Names(config.tenant.naming), config.tenant.tenant

    def mine(request: Request) -> bool:
        return names.find(request.authority, request.path) == tenant

    return mine
