"""Many applications by a template: how many, how long, and what each may use."""

import re
from typing import Final

from nogilserve.config.declare import group, option
from nogilserve.config.kinds import ACCOUNT, Kind, integer, seconds, size
from nogilserve.config.templates import Identity

__all__ = ["TENANTS", "Tenants"]

TENANTS: Final = "Tenants"

_MOST: Final = 4096
_YEAR: Final = 366 * 86400
_PROCESSORS: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,2})?|\.[0-9]{1,2}")


def _parse_processors(value: str) -> float:
    if not _PROCESSORS.fullmatch(value) or 0 < float(value) < 0.05:
        raise ValueError
    return float(value)


def _parse_pattern(value: str) -> str:
    name = value.lower().removesuffix(".")
    if not re.fullmatch(r"(?:\*\.)?[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*", name):
        raise ValueError
    return name


_SHARE: Final = Kind(
    "a number of processors such as 2 or 0.5, at least 0.05; 0 means no limit",
    _parse_processors,
    lambda value: f"{value:g}",
    (int, float),
)
_PATTERN: Final = Kind(
    "a host name without a port; *.example.com stands for one label", _parse_pattern, str
)


@group
class Tenants:
    """The part of Config that counts where APP, --working-dir or --venv has a placeholder."""

    max_tenants: int = option(
        128,
        "--max-tenants",
        integer(1, _MOST),
        """Tenants that may be loaded at once. For one more, the idle one that was used least
        recently is ended; if none is idle the answer is 503.""",
        section=TENANTS,
        metavar="N",
    )
    tenant_idle: float = option(
        1800.0,
        "--tenant-idle",
        seconds(0, _YEAR),
        "End a tenant that had nothing to do for this time; 0 means never.",
        section=TENANTS,
        metavar="SECONDS",
    )
    tenant_hosts: tuple[str, ...] = option(
        (),
        "--tenant-host",
        _PATTERN,
        """Hosts that tenants are looked for by, such as *.example.com; others are answered with
        404. Repeatable.""",
        section=TENANTS,
        metavar="HOST",
        many=True,
        commas=True,
        default_text="all",
    )
    tenant_memory: int = option(
        0,
        "--tenant-memory",
        size(16 * 1024**2, 1024**4, zero="no limit"),
        """Memory of a tenant: near it the tenant is started anew, beyond it allocating fails (a
        cgroup of its own where that is allowed, else RLIMIT_DATA).""",
        section=TENANTS,
        metavar="BYTES",
    )
    tenant_cpu: float = option(
        0.0,
        "--tenant-cpu",
        _SHARE,
        """Processors a tenant may use (a cgroup of its own where that is allowed, else whole
        processors that it is kept on).""",
        section=TENANTS,
        metavar="N",
    )
    tenant_user: str = option(
        "",
        "--tenant-user",
        ACCOUNT,
        """Run each tenant as this user; "owner" is whoever owns the tenant's directory. For a
        server that is started as root.""",
        section=TENANTS,
        metavar="USER",
        default_text="that of --user",
    )
    tenant: Identity | None = None
    """Which one is served. Set for its own process only."""
