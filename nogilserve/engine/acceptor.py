"""Accepting: every core watches every listening socket; connections go to the least loaded core."""

import errno
import socket
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from nogilserve.engine.connection import HEAD, Connection
from nogilserve.engine.core import Core
from nogilserve.engine.elsewhere import LimitedReturningConnection, ReturningConnection
from nogilserve.engine.exhaustion import PAUSE, reason_for, report_refusal
from nogilserve.engine.limited import LimitedConnection
from nogilserve.engine.preamble import begin
from nogilserve.engine.redirecting import LimitedRedirectingConnection, RedirectingConnection
from nogilserve.engine.roles import ENCRYPTED, REDIRECT, ListeningSocket
from nogilserve.engine.wheel import NEVER

__all__ = ["Acceptor"]

_AT_ONCE: Final = 32
"""Connections accepted before other events get their turn."""


class Acceptor:
    """One listening socket as one core sees it.

    Owner: the thread that holds the core. `adopt` may run on any core: it only reads what is not
    changed after `__init__`.
    """

    def __init__(self, listener: ListeningSocket, cores: Sequence[Core]) -> None:
        # The list of cores is read-only; the sockets of listeners accept in any thread.
        self._sock = listener.socket
        # Interned, so immortal: every request of every core puts them into its environ.
        self._name, self._port = map(sys.intern, listener.server)
        self._tcp = listener.socket.family != getattr(socket, "AF_UNIX", None)
        self._cores = cores
        self._kind = _kind_of(listener.role, cores[0])
        self._secure = listener.role == ENCRYPTED and cores[0].encryption is not None
        self.deadline = NEVER
        self.due = NEVER

    def start(self, core: Core) -> bool:
        """Watch the socket from now on."""
        fd = self._sock.fileno()
        core.table[fd] = self
        core.poller.register_listener(fd)
        return True

    def stop(self, core: Core) -> None:
        """Take what waits in the listen queue, then forget the socket."""
        fd = self._sock.fileno()
        if core.table.pop(fd, None) is self:
            if self.deadline == NEVER:
                core.poller.unregister(fd)
            self.deadline = NEVER
            while self._accept_some(core):
                pass

    def on_event(self, core: Core, mask: int) -> bool:
        """Connections wait."""
        self._accept_some(core)
        return True

    def on_deadline(self, core: Core) -> None:
        """The pause after exhaustion is over."""
        self.deadline = NEVER
        core.poller.register_listener(self._sock.fileno())

    def _accept_some(self, core: Core) -> bool:
        """Accept until nothing waits (False), or enough for one turn (True)."""
        for _ in range(_AT_ONCE):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return False
            except OSError as exc:
                if exc.errno == errno.EINVAL:
                    return False  # the listening socket was shut down (`Listener.refuse`)
                self._refused(core, exc)
                return False
            core.counters.accepted += 1
            target = self._cores[core.shares.assign(core.index)]
            if target is core:
                self.adopt(sock, address, core)
            else:
                target.submit(partial(self.adopt_moved, sock.detach(), address))
        return True

    def _refused(self, core: Core, exc: OSError) -> None:
        core.counters.refuse(reason_for(exc))
        if not report_refusal(exc):
            return
        # The socket stays readable: without a pause the core would spin.
        if core.table.get(self._sock.fileno()) is self:
            core.poller.unregister(self._sock.fileno())
            self.deadline = core.now + PAUSE
            core.wheel.enter(self)

    def adopt_moved(self, fd: int, address: Any, core: Core) -> bool:
        """As `adopt`, for a socket that another core has accepted.

        Socket and address are made anew: attributes whose values another thread has made are
        read slowly, and keep CPython from specialising the code that reads them.
        """
        listening = self._sock
        sock = socket.socket(listening.family, listening.type, listening.proto, fileno=fd)
        if self._tcp:
            address = (address[0].encode().decode(), *address[1:])
        return self.adopt(sock, address, core)

    def adopt(self, sock: socket.socket, address: Any, core: Core) -> bool:
        """Make an accepted socket a connection of `core`, whose driver runs this."""
        try:
            sock.setblocking(False)
            if self._tcp:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            sock.close()  # gone already
            core.shares.release(core.index)
            return True
        client = (address[0], str(address[1])) if self._tcp else None
        connection = self._kind(core, sock, client, (self._name, self._port))
        try:
            if core.proxies.preambles:
                begin(connection, core)
            else:
                connection.start(core)
                if type(address) is tuple and len(address) == 3:
                    # Of an intake: with bytes that were read from it already.
                    core.put_next(partial(_go_on, connection, address[2]))
                if (self._secure or core.only_http2) and connection.state == HEAD:
                    connection.go_ahead(core, b"")
        except OSError as exc:  # the poller does not take it
            core.counters.refuse(reason_for(exc))
            connection.close(core)
        return True


def _go_on(connection: Connection, unread: bytes, core: Core) -> bool:
    """Serve what was read before the connection came here. False: the core was lost."""
    return connection.state != HEAD or connection.go_ahead(core, unread)


def _kind_of(role: str, core: Core) -> type[Connection]:
    """What connections of a listening socket are. All cores have the same settings."""
    limited = core.admission is not None
    if role == ENCRYPTED and core.encryption is not None:
        # Python's ssl takes time and memory, which others need not pay.
        from nogilserve.engine.secure import LimitedSecureConnection, SecureConnection

        return LimitedSecureConnection if limited else SecureConnection
    if role == REDIRECT:
        return LimitedRedirectingConnection if limited else RedirectingConnection
    if core.elsewhere is not None:
        return LimitedReturningConnection if limited else ReturningConnection
    return LimitedConnection if limited else Connection
