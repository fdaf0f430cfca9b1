"""What values about TLS may be."""

import re
from typing import Final

from nogilserve.config.addresses import parse_bind
from nogilserve.config.hostnames import ascii_host
from nogilserve.config.kinds import Kind

__all__ = [
    "CERT_NAME",
    "CERT_REQS",
    "CIPHERS",
    "HSTS",
    "INSECURE",
    "REDIRECT",
    "TLS_VERSION",
]

_DIGITS: Final = re.compile(r"[0-9]{1,5}")
_VERSIONS: Final = {
    "1.2": "1.2",
    "tls1.2": "1.2",
    "tlsv1.2": "1.2",
    "tlsv1_2": "1.2",
    "1.3": "1.3",
    "tls1.3": "1.3",
    "tlsv1.3": "1.3",
    "tlsv1_3": "1.3",
}
_REQS: Final = {
    "none": "none",
    "optional": "optional",
    "required": "required",
    # The numbers and names of Python's ssl, as gunicorn, uvicorn and hypercorn take them.
    "0": "none",
    "1": "optional",
    "2": "required",
    "cert_none": "none",
    "cert_optional": "optional",
    "cert_required": "required",
}
# RFC 6797 §6.1: directives, of which max-age is required.
_HSTS: Final = re.compile(
    r"max-age=[0-9]{1,10}(?:;\s*(?:includeSubDomains|preload))*", re.IGNORECASE
)
_CIPHERS: Final = re.compile(r"[A-Za-z0-9_+!:@=,. -]*")


def _version(value: str) -> str:
    found = _VERSIONS.get(value.lower())
    if found is None:
        if value.lower().replace("v", "").removeprefix("tls") in (
            "1",
            "1.0",
            "1.1",
            "ssl3",
            "ssl2",
        ):
            raise ValueError("older versions are broken")
        raise ValueError
    return found


def _reqs(value: str) -> str:
    try:
        return _REQS[value.lower()]
    except KeyError:
        raise ValueError from None


def _hsts(value: str) -> str:
    if value.lower() in ("", "off", "false", "no"):
        return ""
    if value.isdecimal() and value.isascii() and len(value) < 11:
        return f"max-age={value}"
    if not _HSTS.fullmatch(value):
        raise ValueError
    return value


def _ciphers(value: str) -> str:
    if not _CIPHERS.fullmatch(value):
        raise ValueError
    return value


def _name(value: str) -> str:
    """A host name or an address, in one spelling."""
    from ipaddress import ip_address

    try:
        return str(ip_address(value.strip("[]")))
    except ValueError:
        return ascii_host(value)


def _redirect(value: str) -> str:
    if not value or _DIGITS.fullmatch(value):
        if value and int(value) > 65535:
            raise ValueError("a port is at most 65535")
        return value
    return str(parse_bind(value))


TLS_VERSION: Final = Kind("1.2 or 1.3", _version, str, (float,))
CERT_REQS: Final = Kind("none, optional or required", _reqs, str, (int,))
HSTS: Final = Kind(
    'seconds, or directives such as "max-age=31536000; includeSubDomains"', _hsts, str, (int,)
)
CIPHERS: Final = Kind("names of ciphers as `openssl ciphers` takes them", _ciphers, str)
CERT_NAME: Final = Kind("a host name or an address", _name, str)
REDIRECT: Final = Kind("a port, or an address as --bind takes it", _redirect, str, (int,))
INSECURE: Final = Kind(
    "HOST:PORT, :PORT, [IPV6]:PORT, unix:PATH or fd://NUMBER",
    lambda text: str(parse_bind(text)),
    str,
)
