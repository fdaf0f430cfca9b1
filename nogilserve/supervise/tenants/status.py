"""What the master of tenants says of itself."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nogilserve import __version__
from nogilserve.supervise.tenants.household import Household

if TYPE_CHECKING:
    from nogilserve.supervise.tenants.master import TenantMaster

__all__ = ["status"]


def status(master: "TenantMaster", houses: Sequence[Household], now: float) -> dict[str, Any]:
    """The whole server as plain data, its tenants as far as they are among `houses`."""
    config, holdings = master.config, master.holdings
    return {
        "pid": os.getpid(),
        "version": __version__,
        "app": config.app,
        "addresses": holdings.labels,
        "ready": not master.stopping and not master.drained,
        "drained": master.drained,
        "stopping": bool(master.stopping),
        **(holdings.admin.facts if holdings.admin is not None else {}),
        "generations": [
            line | {"tenant": house.name} for house in houses for line in house.report(now)
        ],
        "tenants": [
            {
                "name": house.name,
                "key": house.key(0),
                "state": str(entry.state),
                "idle": now - entry.used,
                "directory": house.directory,
                "generations": house.report(now),
            }
            for house in houses
            if (entry := master.table.entries.get(house.tenant)) is not None
        ],
    }
