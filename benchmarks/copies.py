"""`copies`: cores by threads of one process beside cores by copies of the application.

Throughput, tail and memory at 1, 2, 4, 8, 16 threads of one process against as many processes; then
the memory of larger applications alone. Others run on the interpreter that suits them: where a
Python with the GIL is named, gunicorn and uvicorn run on that, because it is what N copies are for.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import pinning, procs, report, wrk
from benchmarks.chart import Curve, Graph
from benchmarks.machine import conditions
from benchmarks.report import Summary, summarise
from benchmarks.rounds import Plan, say
from benchmarks.servers import BACKLOG, KEEP_ALIVE, Contestant, Server, version_of
from benchmarks.trial import TrialError, check, generate, load_of, serve, settle
from benchmarks.workloads import ASGI_WORKLOADS, WORKLOADS, Workload

__all__ = ["COPIED", "WAYS", "Footprint", "expected", "run"]

Argv = Callable[[str, int], list[str]]
MEMORY_SECONDS = 2
OURS = "nogilserve threads"
PACKAGES = ("gunicorn", "uvicorn", "uvloop", "httptools", "django", "numpy")

COPIED: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        WORKLOADS["hello"],
        WORKLOADS["flask"],
        ASGI_WORKLOADS["fastapi"],
        Workload(
            "django",
            "a Django site with its admin, a page of a template",
            "benchmarks.apps.django_pages:app",
            lambda: "/page",
            lambda body: body.count(b"<tr") == ROWS,
            requires="django",
        ),
        Workload(
            "model",
            "100 MB of loaded objects, of which each request reads some",
            "benchmarks.apps.model:app",
            lambda: "/predict",
            lambda body: 0 < json.loads(body)["score"] < 1,
        ),
    )
}
ROWS = 20
ASGI = ("fastapi",)


@dataclass(frozen=True, slots=True)
class Way:
    """How an application gets onto several cores."""

    name: str
    argv: Callable[[str], Argv]
    """Of the interpreter."""
    notes: str
    asgi: bool | None = None
    """Whether it is for ASGI applications only (True), or only for others (False)."""
    gil: bool = False
    """Whether it would rather run on an interpreter with the GIL."""
    memory_only: bool = False
    """Left out where throughput is compared, because it has the same as another way."""
    requires: tuple[str, ...] = ()
    """Distributions that it needs, where it runs on this interpreter."""


def _python(path: str, *arguments: str) -> list[str]:
    return [path, "-W", "ignore", *arguments]


def _nogilserve(runtime: str) -> Callable[[str], Argv]:
    def of(path: str) -> Argv:
        def argv(app: str, cores: int) -> list[str]:
            loops = cores if runtime == "threads" else 1  # of each process
            return _python(
                *(path, "-m", "nogilserve", app, "--bind", "127.0.0.1:0"),
                *("--runtime", runtime, "--workers", str(cores), "--threads", str(cores)),
                *("--loops", str(loops), "--keep-alive", KEEP_ALIVE),
            )

        return argv

    return of


def _gunicorn(*more: str) -> Callable[[str], Argv]:
    def of(path: str) -> Argv:
        def argv(app: str, cores: int) -> list[str]:
            return _python(
                *(path, "-m", "gunicorn", app, "--bind", "127.0.0.1:0", "--workers", str(cores)),
                *("--worker-class", "gthread", "--threads", "1", "--backlog", BACKLOG),
                *("--keep-alive", KEEP_ALIVE, "--log-level", "warning", "--no-control-socket"),
                *more,
            )

        return argv

    return of


def _uvicorn(path: str) -> Argv:
    def argv(app: str, cores: int) -> list[str]:
        return _python(
            *(path, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", "0"),
            *("--workers", str(cores), "--loop", "uvloop", "--http", "httptools", "--ws", "none"),
            *("--no-access-log", "--log-level", "warning", "--backlog", BACKLOG),
            *("--timeout-keep-alive", KEEP_ALIVE, "--no-proxy-headers"),
        )

    return argv


WAYS = (
    Way(OURS, _nogilserve("threads"), "one process with N cores and N threads"),
    Way("nogilserve processes", _nogilserve("processes"), "N processes of one thread"),
    Way(
        "gunicorn",
        _gunicorn(),
        "N workers that each load the application; gthread with one thread",
        asgi=False,
        gil=True,
        requires=("gunicorn",),
    ),
    Way(
        "gunicorn --preload",
        _gunicorn("--preload"),
        "the application is loaded once and N workers are forked: memory is shared until it is"
        " written to, and reference counts are written by every reader",
        asgi=False,
        gil=True,
        memory_only=True,
        requires=("gunicorn",),
    ),
    Way(
        "uvicorn",
        _uvicorn,
        "N workers; uvloop and httptools",
        asgi=True,
        gil=True,
        requires=("uvicorn", "uvloop", "httptools"),
    ),
)


@dataclass(frozen=True, slots=True)
class Footprint:
    """The memory of one application by one way, in bytes of PSS."""

    workload: str
    way: str
    copies: int
    started: int
    """When all copies had been loaded."""
    loaded: int
    """After requests had touched them."""
    processes: int
    seconds: float
    """From the start until all copies had been loaded."""


def _contestant(way: Way, cores: int, options: argparse.Namespace) -> Contestant:
    path = options.gil_python if way.gil and options.gil_python else sys.executable
    return Contestant(Server(way.name, (), way.argv(path), way.notes), cores)


def _ways(workload: Workload, options: argparse.Namespace, *, memory: bool) -> list[Way]:
    """Those that can serve this application here, with what they need."""
    asgi = workload.name in ASGI
    return [
        way
        for way in WAYS
        if way.asgi in (None, asgi)
        and (memory or not way.memory_only)
        and (options.gil_python or all(version_of(name) for name in way.requires))
    ]


def _footprint(
    workload: Workload, contestant: Contestant, options: argparse.Namespace
) -> Footprint:
    began = time.monotonic()
    with serve(contestant, workload.app) as running:
        check(running, workload)
        settle(running)
        seconds = time.monotonic() - began
        pids = running.pids()
        started = procs.pss_bytes(pids)
        seconds_of_load = min(MEMORY_SECONDS, options.duration)
        load = load_of(running, workload, seconds_of_load, options.connections, 1)
        if not generate(load).valid:
            raise TrialError("wrk had errors")
        pids = running.pids()
        loaded = procs.pss_bytes(pids)
    return Footprint(
        workload.name,
        contestant.server.name,
        contestant.threads,
        started,
        loaded,
        len(pids),
        seconds,
    )


def _footprints(options: argparse.Namespace, failures: list[str]) -> list[Footprint]:
    found = []
    for workload in _available(options.memory):
        for way in _ways(workload, options, memory=True):
            for cores in options.counts:
                head = f"memory of {workload.name}, {way.name} x{cores}"
                try:
                    one = _footprint(workload, _contestant(way, cores, options), options)
                except (TrialError, wrk.WrkError) as exc:
                    failures.append(f"{head} failed: {exc}")
                    say(failures[-1])
                    break
                found.append(one)
                text = f"{one.started / 2**20:.0f} MiB, {one.loaded / 2**20:.0f} MiB after requests"
                say(f"{head}: {text}, {one.processes} processes, loaded in {one.seconds:.1f} s")
    return found


def _available(names: Sequence[str]) -> list[Workload]:
    chosen = []
    for name in names:
        workload = COPIED[name]
        if workload.requires and not version_of(workload.requires):
            say(f"{name} left out: {workload.requires} is not installed")
            continue
        chosen.append(workload)
    return chosen


def _speed_rows(rows: Sequence[Summary]) -> list[list[str]]:
    first = next((row for row in rows if row.server == OURS), rows[0])
    return [
        [
            row.server,
            f"{row.threads}",
            f"{row.rate:,.0f}" if row.trials else "-",
            f"{row.rate / first.rate:.2f}" if first.rate else "-",
            f"{row.cpu_us:.1f}",
            f"{row.p50_us / 1000:.2f}",
            f"{row.p99_us / 1000:.2f}",
            f"{row.pss_bytes / 2**20:.0f}",
            f"{row.trials}" + (f" ({row.invalid} invalid)" if row.invalid else ""),
        ]
        for row in rows
    ]


SPEED = ("by", "N", "req/s", "of one thread", "CPU µs/req", "p50 ms", "p99 ms", "PSS MiB", "trials")
MEMORY = ("by", "N", "processes", "MiB at start", "MiB after requests", "of one", "loaded in s")


def _memory_rows(rows: Sequence[Footprint]) -> list[list[str]]:
    one = next((row.loaded for row in rows if row.way == OURS), 0)
    return [
        [
            row.way,
            f"{row.copies}",
            f"{row.processes}",
            f"{row.started / 2**20:.0f}",
            f"{row.loaded / 2**20:.0f}",
            f"{row.loaded / one:.2f}" if one else "-",
            f"{row.seconds:.1f}",
        ]
        for row in rows
    ]


def _place(row: Footprint) -> tuple[str, int]:
    return row.way, row.copies


def _loaded(row: Footprint) -> float:
    return row.loaded / 2**20


def _graph[Row](
    title: str,
    counts: Sequence[int],
    rows: Sequence[Row],
    key: Callable[[Row], tuple[str, int]],
    value: Callable[[Row], float],
) -> Graph:
    """One curve for each way, over the counts."""
    found = {key(row): value(row) for row in rows}
    names = dict.fromkeys(name for name, _ in found)
    curves = [
        Curve(name, [found.get((name, count)) for count in counts], name == OURS) for name in names
    ]
    return Graph(title, [str(count) for count in counts], "threads, or copies", curves)


def _speed_graphs(title: str, counts: Sequence[int], rows: Sequence[Summary]) -> list[Graph]:
    def graph(name: str, value: Callable[[Summary], float]) -> Graph:
        valid = [row for row in rows if row.trials]
        return _graph(f"{title}: {name}", counts, valid, lambda r: (r.server, r.threads), value)

    return [
        graph("requests/s", lambda row: row.rate),
        graph("p99, ms", lambda row: row.p99_us / 1000),
        graph("memory, MiB", lambda row: row.pss_bytes / 2**20),
    ]


def expected(options: argparse.Namespace) -> float:
    """Seconds the whole takes, about."""
    speed = [way for w in _available(options.workloads) for way in _ways(w, options, memory=False)]
    memory = [way for w in _available(options.memory) for way in _ways(w, options, memory=True)]
    # Each process of a way that has many begins with half a second of importing.
    loading = sum(options.counts) * 0.5 / pinning.server_processors()
    each = len(options.counts) * (options.duration + 3.0) + loading
    once = len(options.counts) * (MEMORY_SECONDS + 2.5) + loading
    return float(len(speed) * options.rounds * each + len(memory) * once)


def run(options: argparse.Namespace) -> int:
    """Measure, print and write results/copies.*; 1 if nothing of ours was valid."""
    pinning.apply(options)
    setting = conditions([Server("", PACKAGES, lambda *_: [], "")])
    setting["gil_python"] = options.gil_python or ""
    setting["server_processors"] = pinning.server_processors()
    say(f"copies: about {expected(options):.0f} s in all")
    workloads = _available(options.workloads)
    pairs = [
        (workload, _contestant(way, count, options))
        for workload in workloads
        for way in _ways(workload, options, memory=False)
        for count in options.counts
    ]
    plan = Plan.of(pairs, options)
    trials = plan.run() if pairs else []
    failures = plan.failures
    footprints = _footprints(options, failures)
    setting["load_average_after"] = os.getloadavg()
    summaries = summarise(trials)
    lines = [f"# Threads and copies\n\n{report.footer(setting)}\n"]
    charts: list[list[Graph]] = []
    for workload in workloads:
        rows = [row for row in summaries if row.workload == workload.name]
        if rows:
            body = report.table(SPEED, _speed_rows(rows))
            lines.append(f"## {workload.name}: {workload.title}\n\n{body}\n")
            charts.append(_speed_graphs(workload.name, options.counts, rows))
    memory: list[Graph] = []
    for workload in _available(options.memory):
        found = [row for row in footprints if row.workload == workload.name]
        if found:
            body = report.table(MEMORY, _memory_rows(found))
            lines.append(f"## Memory of {workload.name}: {workload.title}\n\n{body}\n")
            title = f"{workload.name}: memory after requests, MiB"
            memory.append(
                _graph(
                    title,
                    options.counts,
                    found,
                    _place,
                    _loaded,
                )
            )
    charts.append(memory)
    lines += [report.noise_line(trials), "", *failures, "\nSettings:\n"]
    used = {row.server for row in summaries} | {row.way for row in footprints}
    lines += [f"- {way.name}: {way.notes}." for way in WAYS if way.name in used]
    text = "\n".join(lines)
    print(text)
    payload: dict[str, object] = {"counts": options.counts, "failures": failures}
    payload |= {"summary": summaries, "footprints": footprints, "trials": trials}
    report.save(options, "copies", setting, payload, text, charts)
    return 0 if any(row.trials and row.ours for row in summaries) or footprints else 1
