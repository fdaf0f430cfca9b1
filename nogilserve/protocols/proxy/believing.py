"""What the engines are told about proxies."""

from nogilserve.errors import ProtocolError
from nogilserve.protocols.proxy.forwarded import FIELDS, OriginReader
from nogilserve.protocols.proxy.proxyprotocol import Preamble
from nogilserve.protocols.proxy.trust import Trust

__all__ = ["ProxyRules"]


class ProxyRules:
    """Whom to believe what; by default nobody anything. Not changed after it was made."""

    __slots__ = ("_fields", "_headers", "_preamble", "_required", "preambles")

    def __init__(
        self,
        headers_from: tuple[str, ...] = (),
        fields: tuple[str, ...] = FIELDS[:3],
        protocol_from: tuple[str, ...] = (),
        *,
        protocol_required: bool = False,
    ) -> None:
        """`headers_from`: networks, as `Trust` takes them, whose header `fields` are believed;
        `protocol_from`: those that may, or must, send a PROXY header. Empty turns either off.
        """
        self._headers = Trust(headers_from) if headers_from else None
        self._fields = fields
        self._preamble = Trust(protocol_from)
        self._required = protocol_required
        self.preambles = bool(protocol_from)
        """Whether `preamble` has to be asked."""

    def reader(self) -> OriginReader | None:
        """A reader of header fields for one core, None where they are not believed."""
        return None if self._headers is None else OriginReader(self._headers, self._fields)

    def is_proxy(self, address: str, *, announced: bool) -> bool:
        """Whether the address is a proxy's, and so that of many clients. `announced`: a load
        balancer has named it as that of its client, so that only header fields are left to it."""
        if self._headers is not None and self._headers.peer(address):
            return True
        return not announced and self._preamble.peer(address)

    def preamble(self, peer: tuple[str, str] | None) -> Preamble | None:
        """What reads the beginning of a new connection, None where HTTP begins at once.

        Raises ProtocolError where the peer may not connect.
        """
        if self._preamble.peer(peer[0] if peer else None):
            return Preamble(required=self._required)
        if self._required:
            raise ProtocolError(403, "connections are taken from the load balancer only")
        return None
