"""What event loops are doing now, as plain data; see `looking`."""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, Final

from nogilserve.engine.loop.core import LoopCore
from nogilserve.engine.loop.states import CLOSED, CLOSING, DRAINING, HEAD, LINGER, RUNNING, UPGRADED
from nogilserve.runtimes.looking import Look, now_of, request_of, totals_of

__all__ = ["look_at_loops"]

_STATES: Final = {
    HEAD: "idle",
    RUNNING: "running",
    LINGER: "closing",
    CLOSING: "closing",
    CLOSED: "closing",
    UPGRADED: "websocket",
    DRAINING: "reading",
}


def look_at_loops(
    cores: Sequence[LoopCore],
    threads: Sequence[threading.Thread],
    connections: int,
    refused: Mapping[str, int],
) -> Look:
    """The event loops. `refused`: what was refused before it reached a loop."""
    now = monotonic()
    names = {thread.ident: thread.name for thread in threads}
    requests: list[dict[str, Any]] = []
    states: Counter[str] = Counter()
    lanes, rows = [], []
    for core in cores:
        meter = core.record.meter if core.record is not None else None
        running = {} if meter is None else meter.inside.copy()
        where = names.get(core.thread, "")
        own = [
            request_of(key, inside, now, where=where, core=core.index, task=True)
            for key, inside in running.items()
        ]
        requests += own
        for client in list(core.clients):
            states[_STATES.get(getattr(client, "state", UPGRADED), "websocket")] += 1
        lanes.append(_loop_lane(core, where, own))
        rows.append(_loop(core))
    totals = totals_of(cores)
    for reason, count in refused.items():
        found = totals["counters"]["refused"]
        found[reason] = found.get(reason, 0) + count
    return {
        "totals": totals,
        "now": now_of(lanes, connections, states, requests) | {"loops": rows},
    }


def _loop(core: LoopCore) -> dict[str, Any]:
    return {
        "loop": core.index,
        "connections": len(core.clients),
        "calls": core.active,
        "requests": core.counters.requests,
        "lag": core.ping(),
        "blocked": core.blocked,
    }


def _loop_lane(core: LoopCore, name: str, requests: list[dict[str, Any]]) -> dict[str, Any]:
    lane: dict[str, Any] = {
        "name": name,
        "key": core.thread,
        "core": core.index,
        "state": "application" if requests else "polling",
    }
    if requests:
        longest = max(requests, key=lambda item: float(item["seconds"]))
        more = f" and {len(requests) - 1} more" if len(requests) > 1 else ""
        lane["what"] = f"{longest['method']} {longest['path']}{more}"
        lane["seconds"] = longest["seconds"]
    silence = core.silence()
    if core.beating and silence > 0:
        lane |= {"state": "blocked", "seconds": silence}
    return lane
