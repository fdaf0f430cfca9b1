"""What threads and cores are doing now, as plain data: for the status page, metrics and commands.

Everything here reads what other threads write, without a lock: values are slightly old, and what
belongs together may be of different moments. Nothing is changed, and nobody waits.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic
from typing import Any, Final, Protocol

from nogilserve.config import Config, all_sites
from nogilserve.engine.connection import Connection
from nogilserve.engine.core import Core
from nogilserve.engine.counters import Counters, total
from nogilserve.engine.meter import Inside, Meter, Observe, sums
from nogilserve.engine.records import Recorder
from nogilserve.engine.takeover import Successor

__all__ = ["Look", "inside_of", "look_at_cores", "observe_of", "oldest", "request_of", "totals_of"]

Look = dict[str, Any]
"""{"totals": what only grows, "now": how things are}; both can be added up by `sums.merged`."""

_MOST: Final = 200
"""Requests inside the application that are listed, the oldest first."""
_TARGET: Final = 500
"""Characters of a target that are shown."""

# As `engine.connection` numbers them.
_CORE_STATES: Final = ("idle", "reading", "writing", "closing", "closing")


def observe_of(config: Config) -> Observe | None:
    """What the engine is to count of requests; None where nobody looks."""
    if not config.observed:
        return None
    return Observe(config.metrics_route, _sites(config), ids=config.slow > 0)


def _sites(config: Config) -> Callable[[], Callable[[str, str], str]] | None:
    """What names the site of a request, where there are several."""
    if not all_sites(config):
        return None
    from nogilserve.sites.gateway import Found
    from nogilserve.sites.places import router_of, settings_of_sites

    pairs = settings_of_sites(config)
    router = router_of(pairs)
    names = [site.name for site, _ in pairs]

    def made() -> Callable[[str, str], str]:
        find = Found(router).index

        def name(authority: str, path: str) -> str:
            index = find(authority, path)
            return names[index] if index >= 0 else ""

        return name

    return made


class Counting(Protocol):
    """What a core of either engine has to be read."""

    counters: Counters

    @property
    def record(self) -> Recorder | None:
        """Its recorder, where somebody wants to know of requests."""


def _meter(core: Counting) -> Meter | None:
    return core.record.meter if core.record is not None else None


def totals_of(cores: Iterable[Counting]) -> dict[str, Any]:
    """What cores have counted."""
    known = list(cores)
    meters = [meter for core in known if (meter := _meter(core)) is not None]
    counters = total(core.counters for core in known)
    return {"counters": counters, **(sums(meters) if meters else {})}


def inside_of(cores: Iterable[Counting]) -> list[tuple[int, int, Inside]]:
    """What is inside the application: key (of the thread or the task), identifier of the thread."""
    return [
        (key, getattr(core, "thread", key), inside)
        for core in cores
        if (meter := _meter(core)) is not None
        for key, inside in meter.inside.copy().items()
    ]


def request_of(
    key: int, inside: Inside, now: float, *, where: str, core: int, task: bool
) -> dict[str, Any]:
    """A request inside the application. `where`: the name of its thread; `task`: it is one."""
    request, began, client, request_id, _ = inside
    path, mark, query = request.target[:_TARGET].partition("?")
    return {
        "key": key,
        "method": request.method,
        "path": path,
        "query": mark + query,
        "seconds": max(now - began, 0.0),
        "client": client[0] if client else "",
        "id": request_id,
        "thread": where,
        "core": core,
        "task": task,
    }


def oldest(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that are inside for longest."""
    return sorted(requests, key=lambda item: -float(item["seconds"]))[:_MOST]


def look_at_cores(
    cores: Sequence[Core], threads: Sequence[threading.Thread], connections: int
) -> Look:
    """The thread engine. `threads`: those that run requests; `connections`: how many are open."""
    now = monotonic()
    names = {thread.ident: thread.name for thread in threads}
    requests: list[dict[str, Any]] = []
    states: Counter[str] = Counter()
    drivers: dict[int, Core] = {}
    rows = []
    for core in cores:
        meter = _meter(core)
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
        "now": {
            "threads": len(lanes),
            "busy": sum(lane["state"] == "application" for lane in lanes),
            "open": connections,
            "connections": dict(states),
            "in_flight": len(requests),
            "inside": oldest(requests),
            "lanes": lanes,
            "cores": rows,
        },
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
