"""Which addresses are proxies that may be believed."""

from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address, ip_network

__all__ = ["Trust"]


class Trust:
    """A set of networks. Not changed after it was made; share it freely."""

    __slots__ = ("_addresses", "_anyone", "_networks", "unix")

    def __init__(self, networks: Iterable[str]) -> None:
        """`networks`: addresses and networks, "unix" for unix sockets, "*" for every peer.

        Raises ValueError for anything else.
        """
        names = set(networks)
        self._anyone = "*" in names
        self.unix = "unix" in names
        """Whether those on unix sockets are proxies."""
        parsed = [ip_network(name) for name in sorted(names - {"*", "unix"})]
        self._addresses = frozenset(
            str(network[0]) for network in parsed if network.num_addresses == 1
        )
        """Single ones, as text: most often there are no others, and nothing has to be parsed."""
        self._networks = tuple(network for network in parsed if network.num_addresses > 1)

    def peer(self, address: str | None) -> bool:
        """Whether the other end of a connection may be believed; None: of a unix socket."""
        if self._anyone:
            return True
        if address is None:
            return self.unix
        return self.names(address)

    def names(self, address: str) -> bool:
        """Whether a network that was named has this address, however it became known.

        `address` is spelled as `str(ip_address(…))` does. "*" does not count: it says that whoever
        connects is a proxy, not that everybody is whom that proxy names. Else clients could choose
        their address at the left of X-Forwarded-For.
        """
        if address in self._addresses:
            return True
        if not self._networks and not address.startswith("::ffff:"):
            return False
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped  # an IPv4 peer of a socket that listens on both
            if str(parsed) in self._addresses:
                return True
        return any(parsed in network for network in self._networks)
