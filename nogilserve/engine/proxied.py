"""The side of a connection that knows whom requests come from: its peer, or whom a proxy names."""

import socket

from nogilserve.engine.core import Core
from nogilserve.engine.exchange import HttpExchange
from nogilserve.errors import ProtocolError
from nogilserve.messages import Request
from nogilserve.protocols.proxy import Announced, OriginReader

__all__ = ["ProxiedExchange"]


class ProxiedExchange(HttpExchange):
    """Owner: the thread that holds the core; while a request runs, the thread that runs it."""

    __slots__ = ("judged", "origins", "own")

    def __init__(
        self,
        core: Core,
        sock: socket.socket,
        client: tuple[str, str] | None,
        server: tuple[str, str],
    ) -> None:
        HttpExchange.__init__(self, core, sock, client, server)
        self.own = (client, self.scheme, server)
        """Client, scheme and server of the connection itself."""
        origins = core.origins
        self.origins: OriginReader | None = (
            origins if origins is not None and origins.trusts(client) else None
        )
        """Reads whom requests come from; None where the peer is no proxy that is believed."""
        self.judged: Request | None = None
        """The request that client, scheme and server are those of now. Heads that are the same byte
        for byte are one object, which need not be judged again."""

    def announce(self, core: Core, announced: Announced) -> None:
        """Before the first request: a load balancer says whose connection it is."""
        _, scheme, server = self.own
        server = announced.server if announced.client else server
        self.own = (announced.client, "https" if announced.tls else scheme, server)
        self.client, self.scheme, self.server = self.own
        # The client is the peer now: its header fields are not those of the load balancer.
        origins = core.origins
        trusted = origins is not None and origins.trusts(announced.client)
        self.origins = origins if trusted else None

    def judge(self, core: Core, request: Request | None) -> Request | None:
        """Take over what the proxy tells of a request; the request as it was sent to the proxy.

        Raises ProtocolError, with the connection's own client in force.
        """
        if request is None or self.origins is None:
            return request
        try:
            judged = self.origins.judge(request, *self.own)
        except ProtocolError:
            self.request = request
            if core.record is not None:
                self._begin_record()
            raise
        self.judged = request if judged.request is request else None
        self.client, self.scheme, self.server = judged.client, judged.scheme, judged.server
        return judged.request
