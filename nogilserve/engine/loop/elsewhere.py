"""As `engine.elsewhere`, on an event loop: connections that go to another process."""

from nogilserve.engine.elsewhere import head_of
from nogilserve.engine.loop.connection import HttpConnection
from nogilserve.engine.loop.limited import LimitedHttpConnection
from nogilserve.messages import Request

__all__ = ["LimitedReturningHttpConnection", "ReturningHttpConnection"]


class _Returning(HttpConnection):
    """What is different. Owner: as of HttpConnection."""

    __slots__ = ()

    def _begin(self, request: Request) -> None:
        elsewhere = self.core.elsewhere
        known = elsewhere is not None and request.authority in elsewhere.known
        if known or not self._given_back(request):
            super()._begin(request)

    def _given_back(self, request: Request) -> bool:
        """Whether the request was for another process, which has the connection now."""
        elsewhere = self.core.elsewhere
        if elsewhere is None or elsewhere.is_mine(request):
            return False
        if self.core.proxies.preambles or self.transport.get_write_buffer_size():
            return False  # said to this process only, or not all of the last response has left
        protocol = self.protocol
        rest = protocol.take_trailing()
        sock = self.transport.get_extra_info("socket")
        if not elsewhere.give(sock, head_of(request) + rest, self.own[2]):
            protocol.receive_data(rest)
            return False  # the gateway says that it is misdirected
        self._close()
        return True


class ReturningHttpConnection(_Returning):
    """A connection that may turn out to be another process's. Owner: as of HttpConnection."""

    __slots__ = ()


class LimitedReturningHttpConnection(_Returning, LimitedHttpConnection):
    """The same, counted while it is open. Owner: as of HttpConnection."""

    __slots__ = ()
