"""What the project set out to reach with ASGI, judged from the trials of `asgi`.

Every server takes part with the setting that is best for the figure in question: the contestant
with the best median. Ratios are then taken within each round (see `targets`).
"""

from collections.abc import Callable, Sequence

from benchmarks.asgi_servers import ASGI_SERVERS
from benchmarks.report import Summary, summarise
from benchmarks.servers import Contestant
from benchmarks.targets import Ratio, Verdict, verdict
from benchmarks.trial import Measurement

__all__ = ["figures"]

LOOPS = 2
"""Of the process that serves FastAPI, and uvicorn's processes."""


def _rate(row: Summary | Measurement) -> float:
    return row.rate


def _cpu(row: Summary | Measurement) -> float:
    return row.cpu_us


def _memory(row: Summary | Measurement) -> float:
    return row.pss_bytes / 2**20


def figures(trials: Sequence[Measurement]) -> list[Verdict]:
    """One verdict for each figure whose contestants took part."""
    rows = [row for row in summarise(trials) if row.trials]
    found = []
    for ratio in (*_hello(rows), *_fastapi(rows), *_websocket(rows)):
        if ratio is not None:
            found.append(verdict(ratio, trials))
    return found


def _best(
    rows: Sequence[Summary], workload: str, names: Sequence[str], lowest: bool
) -> Contestant | None:
    """Of these servers ([]: all the others) the contestant with the best median."""
    mine = [
        row
        for row in rows
        if row.workload == workload and (row.server in names if names else not row.ours)
    ]
    if not mine:
        return None
    row = min(mine, key=_cpu) if lowest else max(mine, key=_rate)
    return Contestant(ASGI_SERVERS[row.server], row.threads)


def _ratio(
    rows: Sequence[Summary],
    title: str,
    workload: str,
    ours: str,
    peers: Sequence[str],
    limit: float,
    lowest: bool,
) -> Ratio | None:
    mine = _best(rows, workload, [ours], lowest)
    theirs = _best(rows, workload, peers, lowest)
    if mine is None or theirs is None:
        return None
    value: Callable[[Measurement], float] = _cpu if lowest else _rate
    unit = " µs" if lowest else "/s"
    target = f"{title}, {mine.label} : {theirs.label}"
    return Ratio(target, mine, theirs, workload, value, unit, limit, not lowest)


def _hello(rows: Sequence[Summary]) -> list[Ratio | None]:
    uvloop, asyncio = "nogilserve-uvloop", "nogilserve-asyncio"
    return [
        _ratio(rows, "hello, CPU/request", "hello", uvloop, ["granian"], 0.75, True),
        _ratio(rows, "hello, req/s", "hello", uvloop, [], 1.15, False),
        _ratio(rows, "hello, CPU/request", "hello", asyncio, [], 1.0, True),
        _ratio(rows, "hello, req/s", "hello", asyncio, [], 1.0, False),
    ]


def _fastapi(rows: Sequence[Summary]) -> list[Ratio | None]:
    ours = Contestant(ASGI_SERVERS["nogilserve-uvloop"], LOOPS)
    theirs = Contestant(ASGI_SERVERS["uvicorn"], LOOPS)
    there = {row.contestant for row in rows if row.workload == "fastapi"}
    if not {ours.label, theirs.label} <= there:
        return []
    pair = f"{ours.label} : {theirs.label}"
    return [
        Ratio(f"FastAPI, CPU/request, {pair}", ours, theirs, "fastapi", _cpu, " µs", 1.0, False),
        Ratio(f"FastAPI, PSS, {pair}", ours, theirs, "fastapi", _memory, " MiB", 0.5, False),
    ]


def _websocket(rows: Sequence[Summary]) -> list[Ratio | None]:
    return [
        _ratio(rows, f"{name}, CPU/message", name, "nogilserve-uvloop", [], 1.0, True)
        for name in ("ws-64", "ws-64k")
    ]
