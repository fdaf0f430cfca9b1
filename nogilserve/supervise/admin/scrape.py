"""What metrics are made of: everything that the master and its generations know, added up."""

import os
from collections.abc import Mapping
from typing import Any

from nogilserve.engine.meter import BOUNDS
from nogilserve.observe.status import Processes, children
from nogilserve.runtimes.sums import merged
from nogilserve.supervise.admin.backend import Answer, Backend
from nogilserve.tls.inquiry import Inquiry

__all__ = ["processes_of", "scrape"]


def scrape(backend: Backend, processes: Processes) -> dict[str, Any]:
    """See `observe.metrics.render`."""
    status = backend.ask("status")
    answer = backend.ask("look")
    looks = answer.get("answers", {})
    keeper = Inquiry.from_environment()
    return {
        "status": status,
        "totals": merged(
            [answer.get("past", {}), *(look.get("totals", {}) for look in looks.values())]
        ),
        "now": merged(look.get("now", {}) for look in looks.values()),
        "bounds": BOUNDS,
        "processes": processes.look(processes_of(status)),
        "certificates": keeper.report() if keeper is not None else [],
    }


def processes_of(status: Answer) -> dict[int, Mapping[str, Any]]:
    """The processes of a server by their ids, with what each is."""
    found: dict[int, Mapping[str, Any]] = {}
    if "pid" in status:
        found[status["pid"]] = {"role": "master", "generation": 0}
    for generation in status.get("generations", ()):
        number = generation["number"]
        for pid in children(generation["pid"]):
            found[pid] = {"role": "member", "generation": number}
        found[generation["pid"]] = {"role": "generation", "generation": number}
    found.setdefault(os.getpid(), {"role": "admin", "generation": 0})
    return found
