"""Which addresses are meant: the grammar of `--forwarded-allow-ips` and its like."""

from ipaddress import ip_interface
from typing import Final

from nogilserve.config.kinds import Kind

__all__ = ["NETWORK"]


def _parse(value: str) -> str:
    """The normal spelling of an address, a network, "unix" or "*"; ValueError if it is none."""
    if value.lower() in ("*", "unix"):
        return value.lower()
    if value.startswith("[") and value.endswith("]"):
        value = value[1:-1]
    if not value.isascii() or "%" in value:
        raise ValueError
    try:
        interface = ip_interface(value)
    except ValueError:
        if value.replace("-", "").replace(".", "").isalpha():
            raise ValueError("names are not looked up: write addresses") from None
        raise ValueError from None
    network = interface.network
    if "/" in value and interface.ip != network.network_address:
        raise ValueError(f"write {network}, or {interface.ip} for the one address")
    return str(network) if network.num_addresses > 1 else str(interface.ip)


NETWORK: Final = Kind(
    "addresses such as 10.0.0.1 or ::1, networks such as 10.0.0.0/8, unix, or *", _parse, str
)
