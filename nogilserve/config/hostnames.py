"""Host names as sites are found by: lower case, ASCII, without a port."""

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from nogilserve.config.kinds import Kind

__all__ = ["HOSTNAME", "ascii_host"]

_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_AMBIGUOUS: Final = frozenset("ßς\u200c\u200d")
"""Characters that IDNA 2003 and 2008 write differently: browsers and we might not agree."""


def ascii_host(name: str) -> str:
    """A name as it stands in a request: lower case, international labels as xn--… (RFC 5891).

    ValueError says what is wrong with it. A wildcard may be the first label.
    """
    if name.startswith("[") and name.endswith("]"):
        try:
            return f"[{IPv6Address(name[1:-1])}]"
        except AddressValueError:
            raise ValueError("in brackets stands an IPv6 address") from None
    if _AMBIGUOUS & set(name):
        raise ValueError("write it as browsers send it, beginning with xn--")
    text = name.lower().removesuffix(".")
    wild, rest = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    try:
        plain = rest.encode("idna").decode("ascii") if not rest.isascii() else rest
    except UnicodeError:
        raise ValueError("it is no host name") from None
    if len(plain) > 253 or not all(_LABEL.fullmatch(label) for label in plain.split(".")):
        if "*" in plain:
            raise ValueError("only the first label may be *, as in *.example.com")
        raise ValueError
    return wild + plain


def _parse(value: str) -> str:
    if value == "*":
        return value
    if "://" in value or "/" in value:
        raise ValueError("write the name alone; a path goes into path")
    head, colon, port = value.rpartition(":")
    if colon and (port.isdecimal() or not port) and not head.endswith(":") and "]" not in port:
        raise ValueError(f"ports are not compared: write {head}")
    return ascii_host(value)


HOSTNAME: Final = Kind("a host name such as example.com or *.example.com, or *", _parse, str)
