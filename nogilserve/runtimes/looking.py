"""What threads and cores are doing now, as plain data: for the status page, metrics and commands.

Everything here reads what other threads write, without a lock: values are slightly old, and what
belongs together may be of different moments. Nothing is changed, and nobody waits.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from nogilserve.config import Config, all_sites
from nogilserve.engine.counters import Counters, total
from nogilserve.engine.meter import Inside, Meter, Observe, sums
from nogilserve.engine.records import Recorder

__all__ = ["Look", "inside_of", "now_of", "observe_of", "request_of", "totals_of"]

Look = dict[str, Any]
"""{"totals": what only grows, "now": how things are}; both can be added up by `sums.merged`."""

_MOST: Final = 200
"""Requests inside the application that are listed, the oldest first."""
_TARGET: Final = 500
"""Characters of a target that are shown."""


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


def now_of(
    lanes: list[dict[str, Any]],
    connections: int,
    states: Mapping[str, int],
    requests: list[dict[str, Any]],
) -> dict[str, Any]:
    """What is going on: lanes, open connections and how many are in which state, and requests
    inside the application, those that are there for longest named."""
    return {
        "threads": len(lanes),
        "busy": sum(lane["state"] == "application" for lane in lanes),
        "open": connections,
        "connections": dict(states),
        "in_flight": len(requests),
        "inside": sorted(requests, key=lambda item: -float(item["seconds"]))[:_MOST],
        "lanes": lanes,
    }
