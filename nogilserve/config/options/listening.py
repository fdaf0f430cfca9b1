"""Where to listen."""

import re
from dataclasses import dataclass
from typing import Final

from nogilserve.config.addresses import DEFAULT_HOST, DEFAULT_PORT, Bind, parse_bind
from nogilserve.config.declare import group, option
from nogilserve.config.kinds import FLAG, OCTAL, TEXT, Kind, choice, integer

__all__ = ["ADDRESS", "HOST", "LISTENING", "PORT", "Listening", "Shorthand"]

LISTENING: Final = "Listening"


_DIGITS: Final = re.compile(r"[0-9]{1,5}")
_V6: Final = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%[\w.-]+)?")
_NAME: Final = re.compile(r"[A-Za-z0-9_.*-]*")


def _parse_port(value: str) -> int:
    if "://" in value:
        raise ValueError(
            "Kubernetes and Docker put such a value there for a service called nogilserve: give "
            "that another name, or set enableServiceLinks: false"
        )
    if not _DIGITS.fullmatch(value) or int(value) > 65535:
        raise ValueError
    return int(value)


def _parse_host(value: str) -> str:
    host = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    if not host:
        raise ValueError("it is empty")
    if not _V6.fullmatch(host) and not _NAME.fullmatch(host):
        raise ValueError
    return "" if host == "*" else host


ADDRESS: Final = Kind("HOST:PORT, :PORT, [IPV6]:PORT, unix:PATH or fd://NUMBER", parse_bind, str)
HOST: Final = Kind(
    "a host name or an address (0.0.0.0 for every IPv4 interface)",
    _parse_host,
    lambda host: host or "*",
)
PORT: Final = Kind("a whole number from 0 to 65535", _parse_port, str, (int,))


@group
class Listening:
    """The part of Config about sockets."""

    binds: tuple[Bind, ...] = option(
        (Bind("tcp", DEFAULT_HOST, DEFAULT_PORT),),
        "-b --bind -l --listen",
        ADDRESS,
        """Listen here: HOST:PORT, :PORT (every interface), [IPV6]:PORT, unix:PATH, fd://NUMBER.
        Port 0 lets the system choose. Repeatable.""",
        section=LISTENING,
        metavar="ADDRESS",
        many=True,
        default_text="sockets passed by systemd, else 0.0.0.0:$PORT, else 127.0.0.1:8000",
    )
    uds_permissions: int = option(
        0o660,
        "--uds-permissions --unix-socket-perms",
        OCTAL,
        "Mode of unix sockets, octal.",
        section=LISTENING,
        metavar="MODE",
    )
    backlog: int = option(
        2048,
        "--backlog",
        integer(1, 65535),
        "Connections the system may hold before they are accepted.",
        section=LISTENING,
        metavar="N",
    )
    http: str = option(
        "auto",
        "--http",
        choice("auto", "1", "2"),
        """Versions of HTTP that are spoken. auto: HTTP/1, and HTTP/2 with clients that choose it
        as they set up TLS, or that begin with it. 1 or 2: that one only.""",
        section=LISTENING,
    )
    h2c_upgrade: bool = option(
        False,
        "--h2c-upgrade",
        FLAG,
        """Go on with HTTP/2 where a client without TLS asks for it by an Upgrade field. Proxies in
        front must not pass that field on from their clients.""",
        section=LISTENING,
    )


@dataclass(frozen=True, slots=True)
class Shorthand:
    """Other ways to write `--bind`; `load` folds them into `Config.binds`."""

    host: str = option(
        DEFAULT_HOST,
        "--host",
        HOST,
        "Listen on this address, with --port.",
        section=LISTENING,
        metavar="HOST",
        default_text=f"{DEFAULT_HOST}; 0.0.0.0 where $PORT decides",
    )
    port: int = option(
        DEFAULT_PORT,
        "--port",
        PORT,
        "Listen on this port, with --host.",
        section=LISTENING,
        metavar="PORT",
        default_text=f"$PORT, else {DEFAULT_PORT}",
    )
    uds: str = option(
        "",
        "--uds --unix-socket",
        TEXT,
        "Listen on this unix socket.",
        section=LISTENING,
        metavar="PATH",
    )
    fd: int = option(
        -1,
        "--fd",
        integer(0, 99999),
        "Listen on this inherited descriptor.",
        section=LISTENING,
        metavar="NUMBER",
    )
