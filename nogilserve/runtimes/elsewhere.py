"""From the configuration to what the engines are told of requests that are for other processes."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from nogilserve.config import Config

if TYPE_CHECKING:
    from nogilserve.engine.elsewhere import Elsewhere

__all__ = ["elsewhere_of"]


def elsewhere_of(config: Config) -> "Callable[[], Elsewhere] | None":
    """Makes what tells a core, or a loop, which requests are for others; None where none is."""
    if config.tenant is None:
        return None
    from nogilserve.engine.elsewhere import Elsewhere
    from nogilserve.runtimes.tenants import WAY_BACK, by_host, mine_of

    mine, hosts = mine_of(config), by_host(config)
    return lambda: Elsewhere(mine, WAY_BACK.give, by_host=hosts)
