"""`sharing`: one copy of an application on N threads, beside N copies in processes of their own.

Both do the same work with the same server on the same processors, so what the one copy costs more
is what its threads do to each other: counts and locks that they share, stopped worlds, garbage
collected together. `--no-sockets` calls the applications in a loop, without any server.
"""

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from benchmarks import pinning, procs, report, wrk
from benchmarks.chart import Bar, Panel
from benchmarks.machine import conditions
from benchmarks.rounds import NOISY, say
from benchmarks.servers import KEEP_ALIVE, Contestant, Server, python, version_of
from benchmarks.steps import STEPS
from benchmarks.trial import ROOT, Running, TrialError, get, serve

__all__ = ["APPS", "Sample", "Sharing", "run", "summarise"]

ENOUGH = 3  # samples without foreign work that are worth more than all of them


@dataclass(frozen=True, slots=True)
class App:
    """An application that is shared. Immutable."""

    name: str
    app: str
    path: str
    asynchronous: bool
    requires: str = ""
    """The distribution that it needs."""


APPS: dict[str, App] = {
    app.name: app
    for app in (
        App("plain", "benchmarks.apps.plain:app", "/", False),
        App("flask", "benchmarks.apps.flask_json:app", "/json", False, "flask"),
        App("django", "benchmarks.apps.django_json:app", "/json", False, "django"),
        App("asgi-plain", "benchmarks.apps.asgi_plain:app", "/", True),
        App("starlette", "benchmarks.apps.starlette_json:app", "/json", True, "starlette"),
        App("fastapi", "benchmarks.apps.fastapi_json:app", "/json", True, "fastapi"),
    )
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One short run: so many threads in each of so many processes. Immutable."""

    app: str
    step: str
    threads: int
    processes: int
    rate: float
    """Requests per second, of all together."""
    cpu_us: float
    """Processor time of all processes for one request."""
    others_cpu: float
    """Processors' worth of time that somebody else used meanwhile."""
    round: int = 0


@dataclass(frozen=True, slots=True)
class Sharing:
    """Medians: one copy on `workers` threads beside as many copies. Immutable."""

    app: str
    step: str
    workers: int
    shared_us: float
    copies_us: float
    shared_rate: float
    copies_rate: float
    cost: float
    """Processor time per request with one copy over that with copies: the median of the rounds."""
    loss: float
    """The copies' requests per second over the one copy's, likewise."""
    quiet: int
    """Samples without foreign work; only they count where there are enough."""
    samples: int


class Group(Protocol):
    """Processes that can be measured for so many seconds."""

    def measure(self, seconds: float) -> tuple[float, float, float]:
        """Requests per second, microseconds of processor time for each, and the processor seconds
        of the load generators."""
        ...


class _Callers:
    """Processes of `benchmarks.calls`. Owner: the thread that made it."""

    def __init__(self, children: Sequence[subprocess.Popen[str]]) -> None:
        self._children = children

    def measure(self, seconds: float) -> tuple[float, float, float]:
        for child in self._children:
            assert child.stdin is not None
            child.stdin.write(f"{seconds}\n")
            child.stdin.flush()
        tallies = [_line_of(child) for child in self._children]
        calls = sum(tally["calls"] for tally in tallies)
        cpu = sum(tally["cpu"] for tally in tallies)
        return sum(tally["rate"] for tally in tallies), cpu / calls * 1e6, 0.0


def _line_of(child: subprocess.Popen[str]) -> dict[str, float]:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise TrialError(f"the calling process ended with status {child.wait()}")
    found: dict[str, float] = json.loads(line)
    return found


@contextmanager
def callers(app: App, step: str, threads: int, processes: int) -> Iterator[Group]:
    """So many processes that call the application on so many threads each, for the block."""
    argv = python("-m", "benchmarks.calls", app.app, "--path", app.path)
    argv += ["--threads", str(threads), "--step", step]
    with ExitStack() as stack, pinning.for_servers():
        children = [
            stack.enter_context(
                subprocess.Popen(
                    argv, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            )
            for _ in range(processes)
        ]
        try:
            for child in children:
                if _line_of(child)["gil"]:
                    say(f"{app.name}: the GIL is on")
            yield _Callers(children)
        finally:
            for child in children:
                child.kill()


class _Servers:
    """Servers under wrk, which has a process for each worker. Owner: the thread that made it."""

    def __init__(
        self, app: App, running: Sequence[Running], workers: int, options: argparse.Namespace
    ) -> None:
        self._running = running
        each = max(1, options.connections // workers)
        seconds = math.ceil(options.duration)
        self._loads = [
            wrk.Load(running[number % len(running)].url(app.path), each, seconds)
            for number in range(workers)
        ]

    def measure(self, seconds: float) -> tuple[float, float, float]:
        pids = [pid for server in self._running for pid in server.pids()]
        before = procs.cpu_seconds(pids)
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        generators = [wrk.start(load) for load in self._loads]
        results = [
            wrk.finish(process, load) for process, load in zip(generators, self._loads, strict=True)
        ]
        spent = procs.cpu_seconds(pids) - before
        if not all(result.valid for result in results):
            raise TrialError("wrong or missing answers under load")
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = ended.ru_utime + ended.ru_stime - children.ru_utime - children.ru_stime
        requests = sum(result.requests for result in results)
        return sum(result.rate for result in results), spent / requests * 1e6, own


def _server(app: App, step: str) -> Server:
    def argv(name: str, threads: int) -> list[str]:
        count = str(threads)
        cores = ["--loops", count] if app.asynchronous else ["--workers", count]
        return python(
            *("-m", "nogilserve", name, "--bind", "127.0.0.1:0", "--keep-alive", KEEP_ALIVE),
            *("--no-master", "--runtime", "threads", "--threads", count, *cores),
            *STEPS[step].options,
        )

    return Server("nogilserve", (), argv, "without a master")


@contextmanager
def servers(
    app: App, step: str, threads: int, processes: int, options: argparse.Namespace
) -> Iterator[Group]:
    """So many servers of so many threads each, warmed up, for the block."""
    contestant = Contestant(_server(app, step), threads)
    with ExitStack() as stack:
        with ThreadPoolExecutor(processes) as pool:
            starting = [serve(contestant, app.app) for _ in range(processes)]
            running = list(pool.map(stack.enter_context, starting))
        status, body = get(running[0].port, app.path)
        if status != 200 or not body:
            raise TrialError(f"wrong answer: {status} {body[:80]!r}")
        group = _Servers(app, running, threads * processes, options)
        group.measure(options.duration)
        yield group


def _measure(
    group: Group, app: App, step: str, shape: tuple[int, int], turn: int, seconds: float
) -> Sample:
    before, began = procs.host_cpu().busy, time.monotonic()
    rate, cpu_us, generators = group.measure(seconds)
    elapsed = time.monotonic() - began
    others = procs.host_cpu().busy - before - generators - rate * cpu_us / 1e6 * seconds
    return Sample(app.name, step, *shape, rate, cpu_us, max(others, 0.0) / elapsed, turn)


def _compare(app: App, workers: int, options: argparse.Namespace, turn: int) -> Iterator[Sample]:
    """One round of everything that has so many workers: all of it runs at once, one is asked."""
    shapes = [(workers, 1)] if workers == 1 else [(workers, 1), (1, workers)]
    start = callers if options.no_sockets else partial(servers, options=options)
    with ExitStack() as stack:
        groups = [
            (stack.enter_context(start(app, step, *shape)), step, shape)
            for step in options.steps
            for shape in shapes
        ]
        for number in range(options.turns):
            # Back and forth: nobody always follows the same neighbour.
            for group, step, shape in groups if number % 2 == 0 else reversed(groups):
                yield _measure(group, app, step, shape, turn, options.duration)


def summarise(samples: Sequence[Sample]) -> list[Sharing]:
    """One line for each application, step and number of workers, in order of appearance."""
    groups: dict[tuple[str, str, int], list[Sample]] = {}
    for sample in samples:
        key = (sample.app, sample.step, sample.threads * sample.processes)
        groups.setdefault(key, []).append(sample)
    return [_sharing(*key, found) for key, found in groups.items()]


def _sharing(app: str, step: str, workers: int, samples: Sequence[Sample]) -> Sharing:
    shared = [sample for sample in samples if sample.processes == 1]
    copies = [sample for sample in samples if sample.threads == 1]
    pairs = list(zip(shared, copies, strict=True))
    # Beside other work the threads seldom run at the same time, and share for free.
    quiet = [pair for pair in pairs if max(sample.others_cpu for sample in pair) <= NOISY]
    pairs = quiet if len(quiet) >= ENOUGH else pairs
    return Sharing(
        app,
        step,
        workers,
        statistics.median(one.cpu_us for one, _ in pairs),
        statistics.median(many.cpu_us for _, many in pairs),
        statistics.median(one.rate for one, _ in pairs),
        statistics.median(many.rate for _, many in pairs),
        statistics.median(one.cpu_us / many.cpu_us for one, many in pairs),
        statistics.median(many.rate / one.rate for one, many in pairs),
        len(quiet),
        len(shared),
    )


HEADER = (
    *("application", "workers", "one copy, µs", "copies, µs", "cost", "one copy, req/s"),
    *("copies, req/s", "loss", "quiet"),
)


def _table(rows: Sequence[Sharing]) -> str:
    return report.table(
        HEADER,
        [
            [
                row.app,
                f"{row.workers}",
                f"{row.shared_us:.1f}",
                f"{row.copies_us:.1f}",
                f"{row.cost:.3f}",
                f"{row.shared_rate:,.0f}",
                f"{row.copies_rate:,.0f}",
                f"{row.loss:.3f}",
                f"{row.quiet}/{row.samples}",
            ]
            for row in rows
        ],
    )


def _panels(rows: Sequence[Sharing]) -> list[list[Panel]]:
    panels = []
    for step in dict.fromkeys(row.step for row in rows):
        found = [row for row in rows if row.step == step and row.workers > 1]
        panels.append(
            [
                Panel(
                    f"{STEPS[step].title}: {title}",
                    [
                        Bar(f"{row.app} x{row.workers}", value - 1, f"{value:.2f}", ours=True)
                        for row in found
                        for value in [getattr(row, name)]
                    ],
                )
                for name, title in (
                    ("cost", "processor time, one copy over copies"),
                    ("loss", "requests/s, copies over one copy"),
                )
            ]
        )
    return panels


def run(options: argparse.Namespace) -> int:
    """Measure; 1 if nothing could be."""
    pinning.apply(options)
    setting = conditions()
    apps = [APPS[name] for name in options.apps]
    setting["versions"] = {a.requires: version_of(a.requires) for a in apps if a.requires}
    failures: list[str] = []
    samples: list[Sample] = []
    began = time.monotonic()
    for turn in range(options.rounds):
        for app in apps:
            if app.requires and not version_of(app.requires):
                failures.append(f"{app.name}: {app.requires} is not installed")
                continue
            for workers in options.threads:
                try:
                    samples += _compare(app, workers, options, turn)
                except (TrialError, wrk.WrkError) as exc:
                    failures.append(f"{app.name} x{workers} failed: {exc}")
            done = summarise([sample for sample in samples if sample.app == app.name])
            say(f"round {turn + 1} of {options.rounds}, {time.monotonic() - began:.0f} s")
            say(_table(done))
    if not samples:
        say("\n".join(failures))
        return 1
    setting["load_average_after"] = os.getloadavg()
    rows = summarise(samples)
    lines = [f"# What sharing one copy costs\n\n{report.footer(setting)}\n"]
    for step in options.steps:
        lines += [f"## {STEPS[step].title}\n", _table([r for r in rows if r.step == step]), ""]
    others = [sample.others_cpu for sample in samples]
    lines.append(
        f"{len(samples)} samples of {options.duration} s."
        f" Others used {statistics.median(others):.2f} processors meanwhile."
    )
    text = "\n".join([*lines, *failures])
    print(text)
    kind = "sharing-calls" if options.no_sockets else "sharing"
    payload: dict[str, object] = {"summary": rows, "failures": failures, "samples": samples}
    report.save(options, kind, setting, payload, text, _panels(rows))
    return 0
