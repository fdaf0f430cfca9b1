"""Whom requests of a connection come from: its peer, or whom a proxy names.

For the connections of both engines. A connection has `origins`, `own` and `judged`, see `Proxied`;
it sets them with `trusting` and calls `judge` for each request where `origins` is not None and the
request is not `judged`.
"""

from typing import Protocol

from nogilserve.errors import ProtocolError
from nogilserve.messages import Request
from nogilserve.protocols.proxy import Announced, Judged, OriginReader

__all__ = ["Own", "Proxied", "announce", "judge", "trusting"]

Own = tuple[tuple[str, str] | None, str, tuple[str, str]]
"""Client, scheme and server."""


class Proxied(Protocol):
    """A connection. Owner: as the connection says."""

    client: tuple[str, str] | None
    scheme: str
    server: tuple[str, str]
    """These three are those of the current request."""
    own: Own
    """They, of the connection itself."""
    origins: OriginReader | None
    """Reads what the peer tells; None where it is no proxy that is believed."""
    judged: Request | None
    """The request that client, scheme and server are those of. Heads that are the same byte for
    byte are one object, which need not be judged again."""

    def note_refused(self, request: Request) -> None:
        """The request will not reach the application."""


def trusting(reader: OriginReader | None, client: tuple[str, str] | None) -> OriginReader | None:
    """The core's `reader` where it is to read the requests of this client, else None."""
    return reader if reader is not None and reader.trusts(client) else None


def judge(connection: Proxied, request: Request) -> Request:
    """Take over what the proxy tells of a request; the request as it was sent to the proxy.

    Raises ProtocolError. For the answer to that, and to a head that cannot be read, the caller puts
    `client` back to `own`: it must not look like the request before.
    """
    reader = connection.origins
    assert reader is not None
    try:
        told: Judged = reader.judge(request, *connection.own)
    except ProtocolError:
        connection.note_refused(request)
        raise
    connection.judged = request if told.request is request else None
    connection.client, connection.scheme, connection.server = told[1:]
    return told.request


def announce(connection: Proxied, reader: OriginReader | None, announced: Announced) -> None:
    """Before the first request: a load balancer says whose connection it is (PROXY protocol)."""
    _, scheme, server = connection.own
    if announced.client is not None:
        server = announced.server
    if announced.tls:
        scheme = "https"
    connection.own = (announced.client, scheme, server)
    connection.client, connection.scheme, connection.server = connection.own
    # The client is the peer now: its header fields are not those of the load balancer.
    connection.origins = trusting(reader, announced.client)
