"""HTTP/2 on a core: one session for each connection, whose streams run in any number of threads."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nogilserve.engine.connection import Connection
    from nogilserve.engine.core import Core

__all__ = ["begin"]


def begin(core: "Core", connection: "Connection", data: bytes) -> bool:
    """Go on with HTTP/2 on a connection of which `data` was read. As `Entry.on_event`: False: the
    core was lost. Imports what it takes at the first such connection."""
    from nogilserve.engine.http2.session import Session

    session = Session(core, connection)
    core.table[connection.fd] = session
    return session.begin(core, data)
