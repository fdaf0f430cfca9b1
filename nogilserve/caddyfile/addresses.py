"""The addresses of sites: what is listened on, what is encrypted, which hosts are meant."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

__all__ = ["Address", "is_internal", "parse_address"]

_ADDRESS: Final = re.compile(
    r"(?:(?P<scheme>https?)://)?(?P<host>\[[^\]]*\]|[^:/]*)(?::(?P<port>[^/]*))?(?P<path>/.*)?"
)
_INTERNAL: Final = (".localhost", ".local", ".internal", ".home.arpa")


@dataclass(frozen=True, slots=True)
class Address:
    """One address of a site. Immutable."""

    text: str
    scheme: str
    """ "http", "https" or "" where it is not said."""
    host: str
    """ "" for every host."""
    port: str
    path: str
    """ "" or a prefix."""


def parse_address(text: str) -> Address | None:
    """Read an address; None where it is none, or one with placeholders."""
    match = _ADDRESS.fullmatch(text)
    if match is None or "{" in text:
        return None
    host = match["host"].lower()
    port = match["port"] or ""
    if port and not port.isdecimal():
        return None
    path = (match["path"] or "").removesuffix("*").rstrip("/")
    return Address(text, match["scheme"] or "", "" if host == "*" else host, port, path)


def is_internal(host: str) -> bool:
    """Whether no public authority gives a certificate for a host: Caddy then uses its own."""
    if host == "localhost" or host.endswith(_INTERNAL):
        return True
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
