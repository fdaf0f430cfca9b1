"""What a value of the options about observing may be."""

import ipaddress
import re
from typing import Final

from nogilserve.config.kinds import Kind

__all__ = ["ADMIN", "STATSD", "TOKEN", "endpoint", "is_loopback"]

_PORT: Final = re.compile(r"[0-9]{1,5}")
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_TOKEN: Final = re.compile(r"[!-~]{16,256}")
_HERE: Final = "127.0.0.1"


def endpoint(value: str) -> tuple[str, int]:
    """Host and port of "HOST:PORT"; an IPv6 address has brackets there, and none here."""
    host, _, port = value.rpartition(":")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parse(value: str, *, port_alone: bool) -> str:
    host, colon, port = value.rpartition(":")
    if not colon or not host:
        if not port_alone and not host:
            raise ValueError("the host is missing")
        host = _HERE
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise ValueError(f"{port!r} is no port")
    if host.startswith("[") and host.endswith("]"):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise ValueError(f"{host} is no IPv6 address") from None
    elif not _NAME.fullmatch(host):
        raise ValueError(
            "an IPv6 address needs brackets" if ":" in host else f"{host!r} is no host"
        )
    return f"{host}:{int(port)}"


def _parse_admin(value: str) -> str:
    return _parse(value, port_alone=True) if value else ""


def _parse_statsd(value: str) -> str:
    return _parse(value, port_alone=False) if value else ""


def _parse_token(value: str) -> str:
    if value and not _TOKEN.fullmatch(value):
        raise ValueError
    return value


ADMIN: Final = Kind(
    "PORT or HOST:PORT such as 9000, 127.0.0.1:9000 or [::1]:9000", _parse_admin, str
)
STATSD: Final = Kind("HOST:PORT such as 127.0.0.1:8125", _parse_statsd, str)
TOKEN: Final = Kind("16 to 256 printable ASCII characters without spaces", _parse_token, str)
