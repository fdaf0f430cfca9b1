"""What the threads' engine is doing now, as plain data; see `looking`."""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, Final

from nogilserve.engine.connection import Connection
from nogilserve.engine.core import Core
from nogilserve.engine.takeover import Successor
from nogilserve.runtimes.looking import Look, now_of, request_of, totals_of

__all__ = ["look_at_cores"]

# As `engine.connection` numbers them.
_CORE_STATES: Final = ("idle", "reading", "writing", "closing", "closing")


def look_at_cores(
    cores: Sequence[Core], threads: Sequence[threading.Thread], connections: int
) -> Look:
    """The cores. `threads`: those that run requests; `connections`: how many are open."""
    now = monotonic()
    names = {thread.ident: thread.name for thread in threads}
    requests: list[dict[str, Any]] = []
    states: Counter[str] = Counter()
    drivers: dict[int, Core] = {}
    rows = []
    for core in cores:
        meter = core.record.meter if core.record is not None else None
        running = {} if meter is None else meter.inside.copy()
        for key, inside in running.items():
            where = names.get(key, "")
            requests.append(request_of(key, inside, now, where=where, core=core.index, task=False))
        for entry in list(core.table.values()):
            if isinstance(entry, Successor):
                states["http2" if entry.running() or entry.connection.busy else "idle"] += 1
            elif isinstance(entry, Connection):
                states["running" if entry.busy else _CORE_STATES[entry.state]] += 1
        if core.lock.locked():
            drivers[core.driver] = core
        rows.append(_core(core, len(running)))
    inside_of = {item["key"]: item for item in requests}
    lanes = [_lane(thread, inside_of, drivers) for thread in threads if thread.is_alive()]
    return {
        "totals": totals_of(cores),
        "now": now_of(lanes, connections, states, requests) | {"cores": rows},
    }


def _core(core: Core, running: int) -> dict[str, Any]:
    counters = core.counters
    return {
        "core": core.index,
        "connections": core.connections,
        "queue": core.backlog(),
        "calls": running,
        "requests": counters.requests,
        "hand_offs": counters.hand_offs,
        "steals": counters.steals,
        "held": core.held,
    }


def _lane(
    thread: threading.Thread,
    inside: Mapping[int, Mapping[str, Any]],
    drivers: Mapping[int, Core],
) -> dict[str, Any]:
    """What one thread is doing."""
    lane: dict[str, Any] = {"name": thread.name, "key": thread.ident, "state": "parked"}
    request = inside.get(thread.ident or 0)
    core = drivers.get(thread.native_id or 0)
    if request is not None:
        lane |= {
            "state": "application",
            "what": f"{request['method']} {request['path']}",
            "seconds": request["seconds"],
            "core": request["core"],
        }
    elif core is not None:
        lane |= {"state": "polling" if core.parked else "serving", "core": core.index}
    return lane
