"""Connections whose clients are only told where HTTPS is. The gateway does that."""

from nogilserve.engine.connection import Connection
from nogilserve.engine.core import Core
from nogilserve.engine.limited import LimitedConnection

__all__ = ["LimitedRedirectingConnection", "RedirectingConnection"]


class RedirectingConnection(Connection):
    """Owner: as of Connection."""

    __slots__ = ()

    redirects = True

    def _begin_body(self, core: Core) -> bool:
        """No body is read: it has to be sent elsewhere."""
        self.protocol.keep_alive = False
        return True


class LimitedRedirectingConnection(RedirectingConnection, LimitedConnection):
    """Counted while it is open. Owner: as of Connection."""

    __slots__ = ()
