"""The PROXY protocol at the beginning of a connection, before HTTP."""

from typing import Final

from nogilserve.engine.connection import HEAD, Connection
from nogilserve.engine.core import Core
from nogilserve.engine.exchange import RECV
from nogilserve.engine.proxied import announce
from nogilserve.errors import ProtocolError
from nogilserve.protocols.proxy import Preamble

__all__ = ["Beginning", "begin"]

_STOP_SECONDS: Final = 1.0
"""How long a stopping engine waits for the header of a connection it has accepted."""


def begin(connection: Connection, core: Core) -> None:
    """Start a connection that a load balancer may have made for somebody. Raises OSError."""
    connection.start(core)
    if connection.state != HEAD:
        return  # one too many
    try:
        preamble = core.proxies.preamble(connection.client)
    except ProtocolError as exc:
        connection.refuse(core, exc)
        return
    if preamble is not None:
        core.table[connection.fd] = Beginning(connection, preamble)
    else:
        connection.go_ahead(core, b"")


class Beginning:
    """Stands in the core's table for its connection, until the header is read.

    Owner: the thread that holds the core. The connection's deadline, that of a request head,
    covers the header too.
    """

    __slots__ = ("_connection", "_preamble")

    def __init__(self, connection: Connection, preamble: Preamble) -> None:
        self._connection = connection
        self._preamble = preamble

    def on_event(self, core: Core, mask: int) -> bool:
        """The socket is ready. False: the core was lost."""
        connection, preamble = self._connection, self._preamble
        try:
            data = connection.sock.recv(RECV)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        core.counters.received += len(data)
        if not data and not preamble.started:
            connection.close(core)  # as a health check does
            return True
        try:
            if not preamble.receive(data):
                return True
        except ProtocolError as exc:
            core.table[connection.fd] = connection
            connection.refuse(core, exc)
            return True
        core.table[connection.fd] = connection
        if preamble.announced is not None:
            announce(connection, core.origins, preamble.announced)
            if not connection.is_welcome(core):
                return True
        return connection.go_ahead(core, preamble.rest)

    def stop(self, core: Core) -> bool:
        """The engine stops: what was accepted may still come, but not for long, unless the core is
        patient."""
        connection = self._connection
        if core.table.get(connection.fd) is not self:
            return connection.stop(core)  # the header has come since
        if core.patient:
            return True
        connection.deadline = min(connection.deadline, core.now + _STOP_SECONDS)
        core.wheel.enter(connection)
        return True

    def close(self, core: Core) -> None:
        """End the connection."""
        self._connection.close(core)
