"""Which addresses are proxies that may be believed."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

__all__ = ["Trust"]


class Trust:
    """A set of networks. Not changed after it was made; share it freely."""

    __slots__ = ("_anyone", "_networks", "unix")

    def __init__(self, networks: Iterable[str]) -> None:
        """`networks`: addresses and networks, "unix" for unix sockets, "*" for every peer.

        Raises ValueError for anything else.
        """
        names = set(networks)
        self._anyone = "*" in names
        self.unix = "unix" in names
        """Whether those on unix sockets are proxies."""
        self._networks: tuple[IPv4Network | IPv6Network, ...] = tuple(
            ip_network(name) for name in sorted(names - {"*", "unix"})
        )

    def peer(self, address: str | None) -> bool:
        """Whether the other end of a connection may be believed; None: of a unix socket."""
        if self._anyone:
            return True
        if address is None:
            return self.unix
        return self.names(address)

    def names(self, address: str) -> bool:
        """Whether a network that was named has this address, however it became known.

        "*" does not count: it says that whoever connects is a proxy, not that everybody is whom
        that proxy names. Else clients could choose their address at the left of X-Forwarded-For.
        """
        if not self._networks:
            return False
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped  # an IPv4 peer of a socket that listens on both
        return any(parsed in network for network in self._networks)
