"""What has taken the place of an HTTP/1 connection in its core's table."""

from nogilserve.engine.connection import Connection
from nogilserve.engine.core import Core

__all__ = ["Successor"]


class Successor:
    """Owner: the thread that holds the core."""

    __slots__ = ("connection",)

    connection: Connection
    """Whose socket it is; closed with this."""

    def running(self) -> list[str]:
        """The requests inside the application, "GET /path" each. Any thread."""
        raise NotImplementedError

    def stop(self, core: Core) -> bool:
        """The engine stops: serve what was begun. As `Entry.on_event`."""
        raise NotImplementedError
