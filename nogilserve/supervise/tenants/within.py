"""What a tenant's own process does before it imports anything of the tenant."""

import os
import socket
from collections.abc import Sequence
from typing import Any, Final, cast

from nogilserve.config import Config
from nogilserve.config.envfile import parse_env_file
from nogilserve.config.reserved import why_reserved
from nogilserve.errors import ConfigError
from nogilserve.runtimes.intake import Intake
from nogilserve.runtimes.tenants import WAY_BACK
from nogilserve.sockets import Listener
from nogilserve.supervise.tenants.bounds import apply

__all__ = ["VARIABLE", "passed_on", "settle"]

VARIABLE: Final = "NOGILSERVE_TENANT"
"""Tells the application which tenant it is."""


def settle(config: Config, bounds: dict[str, Any]) -> None:
    """Take on its bounds and its variables. Files are read here, with the rights of the tenant.

    Raises ConfigError.
    """
    apply(bounds)
    before = frozenset(os.environ)
    for path in config.env_files:
        found = _variables(path)
        os.environ.update({name: text for name, text in found.items() if name not in before})
    os.environ.update(dict(config.env))
    os.environ[VARIABLE] = config.tenant.name if config.tenant else ""


def _variables(path: str) -> dict[str, str]:
    try:
        with open(path, encoding="utf-8") as file:
            found = dict(parse_env_file(file.read()))
    except OSError as error:
        raise ConfigError(f"option --env-file: {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise ConfigError(f"option --env-file: {path}: {error}") from None
    for name in found:
        why = why_reserved(name)
        if name.startswith("NOGILSERVE_"):
            why = "the server's settings are not the tenant's"
        if why:
            raise ConfigError(f"{name} cannot stand in {path}: {why}")
    return found


def passed_on(sockets: Sequence[socket.socket], places: Sequence[dict[str, Any]]) -> list[Listener]:
    """The ends at which connections come from the front, as listening sockets; the last of
    `sockets` is the way back. `places`: what they stand for, see `Household`."""
    listeners = []
    servers: list[tuple[str, str]] = []
    for sock, place in zip(sockets, places, strict=False):
        name, port = place["server"]
        servers.append((name, port))
        role = place["role"]
        intake = Intake(sock, place["family"], servers[-1], None, role, returning=True)
        sock = cast(socket.socket, intake)  # as far as the engine needs one
        listeners.append(Listener(sock, place["label"], servers[-1], inherited=True, role=role))
    WAY_BACK.lead(sockets[-1], servers)
    return listeners
