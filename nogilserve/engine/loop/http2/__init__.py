"""HTTP/2 on an event loop: one session for each connection, a task for each of its streams."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nogilserve.engine.loop.connection import HttpConnection

__all__ = ["begin"]


def begin(connection: "HttpConnection", data: bytes) -> None:
    """Go on with HTTP/2 on a connection of which `data` was read. Imports what it takes at the
    first such connection."""
    from nogilserve.engine.loop.http2.session import Session

    Session(connection).begin(data)
