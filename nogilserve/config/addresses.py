"""Where to listen: the grammar of `--bind`. Resolves no name and opens no socket."""

import re
from contextlib import suppress
from typing import Final, Literal

from nogilserve.values import Value

__all__ = [
    "DEFAULT_HOST",
    "DEFAULT_PORT",
    "Bind",
    "parse_bind",
    "redirect_bind",
]

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8000

_DIGITS: Final = re.compile(r"[0-9]{1,5}")
_BRACKETS: Final = re.compile(r"\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\](?::(.*))?", re.DOTALL)
_NAME: Final = re.compile(r"[A-Za-z0-9_.*-]*")
_SCHEME: Final = re.compile(r"(tcp|http|https|ssl|fd):(?://)?(.*)", re.DOTALL)


class Bind(Value):
    """One address to listen on. Immutable; which fields count depends on `kind`."""

    kind: Literal["tcp", "unix", "fd"]
    host: str = ""
    """A name or an address without brackets; "" means every interface, IPv4 and IPv6."""
    port: int = 0
    """0: the system chooses."""
    path: str = ""
    """Of a unix socket, relative to the working directory."""
    fd: int = -1
    """A descriptor that was inherited and is listening already."""
    role: Literal["tls", "plain", "redirect"] = "tls"
    """What is spoken: TLS where there are certificates, else plain HTTP; always plain HTTP; plain
    HTTP that says where HTTPS is."""

    def __str__(self) -> str:
        """The text `parse_bind` turns into this value again."""
        if self.kind == "unix":
            return f"unix:{self.path}"
        if self.kind == "fd":
            return f"fd://{self.fd}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_bind(value: str) -> Bind:
    """Read an address; ValueError says what is wrong with it."""
    if value.startswith("unix:"):
        return _unix(value.removeprefix("unix:"))
    if value.startswith("fd://"):
        digits = value.removeprefix("fd://")
        if not _DIGITS.fullmatch(digits):
            raise ValueError("behind fd:// comes the number of a descriptor")
        return Bind("fd", fd=int(digits))
    value = value.removeprefix("tcp://")
    if match := _SCHEME.fullmatch(value):
        raise ValueError(_without_scheme(match[1], match[2].rstrip("/")))
    if "://" in value:
        rest = value.partition("://")[2].rstrip("/")
        raise ValueError(f"write the address alone: {rest}")
    if not value:
        raise ValueError("it is empty")
    if "/" in value or value.endswith(".sock"):
        raise ValueError(f"a unix socket is written unix:{value}")
    return _tcp(value)


def _without_scheme(scheme: str, rest: str) -> str:
    """What to write instead of tcp:80, http://localhost or fd:3."""
    if scheme == "fd":
        return f"write fd://{rest}"
    if _DIGITS.fullmatch(rest):
        return f"write {DEFAULT_HOST}:{rest}, or :{rest} for every interface"
    return f"write the address alone: {rest}"


def _unix(path: str) -> Bind:
    path = path.removeprefix("//")  # unix:///run/app.sock, as curl and Docker write it
    if not path or "\0" in path:
        raise ValueError("behind unix: comes a path")
    return Bind("unix", path=path)


def _tcp(value: str) -> Bind:
    if match := _BRACKETS.fullmatch(value):
        return Bind("tcp", match[1], DEFAULT_PORT if match[2] is None else _port(match[2]))
    if value.count(":") > 1:
        raise ValueError(f"an IPv6 address needs brackets: {_bracketed(value)}")
    host, colon, port = value.partition(":")
    if not colon and _DIGITS.fullmatch(value):
        return Bind("tcp", DEFAULT_HOST, _port(value))
    if not _NAME.fullmatch(host):
        raise ValueError(f"{host!r} is neither a host name nor an address")
    # "*" is what Apache and others write for every interface.
    return Bind("tcp", "" if host == "*" else host, _port(port) if colon else DEFAULT_PORT)


def _bracketed(value: str) -> str:
    """What is probably meant by an IPv6 address with or without a port, but without brackets."""
    from ipaddress import IPv6Address  # for a message

    host, _, port = value.rpartition(":")
    # ::1:8000 is an address too; one whose last group looks like a port is rarely meant.
    if len(port) > 1 and _DIGITS.fullmatch(port):
        with suppress(ValueError):
            return f"[{IPv6Address(host)}]:{port}"
    return f"[{value}]:{DEFAULT_PORT}"


def _port(value: str) -> int:
    if not _DIGITS.fullmatch(value) or int(value) > 65535:
        raise ValueError(f"{value!r} is no port: a whole number from 0 to 65535")
    return int(value)


def redirect_bind(value: str, beside: Bind) -> Bind:
    """Where `--redirect-http` listens: a port alone is on the interface of `beside`."""
    if _DIGITS.fullmatch(value):
        host = beside.host if beside.kind == "tcp" else DEFAULT_HOST
        return Bind("tcp", host, int(value), role="redirect")
    found = parse_bind(value)
    return Bind(found.kind, found.host, found.port, found.path, found.fd, "redirect")
