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
from benchmarks.extrapolate import fit
from benchmarks.machine import conditions
from benchmarks.rounds import NOISY, say
from benchmarks.servers import KEEP_ALIVE, Contestant, Server, python, version_of
from benchmarks.steps import STEPS
from benchmarks.trial import ROOT, Running, TrialError, get, serve

__all__ = ["APPS", "App", "Callers", "Sample", "Sharing", "Taken", "callers", "run", "summarise"]

FURTHER = (16, 64)  # threads to which the cost is extrapolated
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
        App("flask", "benchmarks.apps.flask_json:app", "/made", False, "flask"),
        App("flask-cached", "benchmarks.apps.flask_json:app", "/json", False, "flask"),
        App("django", "benchmarks.apps.django_json:app", "/made", False, "django"),
        App("django-cached", "benchmarks.apps.django_json:app", "/json", False, "django"),
        App("asgi-plain", "benchmarks.apps.asgi_plain:app", "/", True),
        App("starlette", "benchmarks.apps.starlette_json:app", "/made", True, "starlette"),
        App("starlette-cached", "benchmarks.apps.starlette_json:app", "/json", True, "starlette"),
        App("fastapi", "benchmarks.apps.fastapi_json:app", "/made", True, "fastapi"),
        App("fastapi-cached", "benchmarks.apps.fastapi_json:app", "/json", True, "fastapi"),
    )
}


@dataclass(frozen=True, slots=True)
class Taken:
    """What a short run of a group gave. Immutable."""

    rate: float
    """Requests per second, of all together."""
    cpu_us: float
    """Processor time of all processes for one request."""
    disturbed: float
    """Without sockets: the share of the time in which a thread could have run but got no processor.
    With them: processors' worth of foreign work, as far as the system counts it."""
    waited: float
    """Without sockets: the share in which threads waited for something."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One short run: so many threads in each of so many processes. Immutable."""

    app: str
    step: str
    threads: int
    processes: int
    round: int
    taken: Taken


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
    waited: float
    """The share of its time in which the one copy's threads waited."""
    quiet: int
    """Samples without foreign work; only they count where there are enough."""
    samples: int


class Group(Protocol):
    """Processes that can be measured for so many seconds."""

    def measure(self, seconds: float) -> Taken:
        """Keep it busy for so long."""
        ...


class Callers:
    """Processes of `benchmarks.calls`. Owner: the thread that made it."""

    def __init__(self, children: Sequence[subprocess.Popen[str]]) -> None:
        self._children = children
        self.pids = [child.pid for child in children]

    def measure(self, seconds: float) -> Taken:
        """Have all threads call for so long."""
        self.start(seconds)
        return self.finish()

    def start(self, seconds: float) -> None:
        """Let all threads begin to call."""
        for child in self._children:
            assert child.stdin is not None
            child.stdin.write(f"{seconds}\n")
            child.stdin.flush()

    def finish(self) -> Taken:
        """What came of it, when they are done."""
        tallies = [_line_of(child) for child in self._children]
        calls = sum(tally["calls"] for tally in tallies)
        cpu = sum(tally["cpu"] for tally in tallies)
        rate = sum(tally["rate"] for tally in tallies)
        waited = statistics.fmean(tally["waited"] for tally in tallies)
        return Taken(rate, cpu / calls * 1e6, max(t["delayed"] for t in tallies), waited)


def _line_of(child: subprocess.Popen[str]) -> dict[str, float]:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise TrialError(f"the calling process ended with status {child.wait()}")
    found: dict[str, float] = json.loads(line)
    return found


@contextmanager
def callers(app: App, step: str, threads: int, processes: int) -> Iterator[Callers]:
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
            yield Callers(children)
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

    def measure(self, seconds: float) -> Taken:
        pids = [pid for server in self._running for pid in server.pids()]
        spent, own, busy = procs.cpu_seconds(pids), _generators_cpu(), procs.host_cpu().busy
        began = time.monotonic()
        generators = [wrk.start(load) for load in self._loads]
        results = [
            wrk.finish(process, load) for process, load in zip(generators, self._loads, strict=True)
        ]
        spent = procs.cpu_seconds(pids) - spent
        others = procs.host_cpu().busy - busy - spent - (_generators_cpu() - own)
        elapsed = time.monotonic() - began
        if not all(result.valid for result in results):
            raise TrialError("wrong or missing answers under load")
        requests = sum(result.requests for result in results)
        rate = sum(result.rate for result in results)
        return Taken(rate, spent / requests * 1e6, max(others, 0.0) / elapsed, 0.0)


def _generators_cpu() -> float:
    """Processor seconds of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _server(app: App, step: str) -> Server:
    def argv(name: str, threads: int) -> list[str]:
        count = str(threads)
        cores = ["--loops", count] if app.asynchronous else ["--workers", count]
        return python(
            *("-m", "nogilserve", name, "--bind", "127.0.0.1:0", "--keep-alive", KEEP_ALIVE),
            *("--no-master", "--runtime", "threads", "--threads", count, *cores),
            *STEPS[step].options(app.path),
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
                taken = group.measure(options.duration)
                yield Sample(app.name, step, shape[0], shape[1], turn, taken)


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
    quiet = [pair for pair in pairs if max(sample.taken.disturbed for sample in pair) <= NOISY]
    pairs = quiet if len(quiet) >= ENOUGH else pairs
    return Sharing(
        app,
        step,
        workers,
        statistics.median(one.taken.cpu_us for one, _ in pairs),
        statistics.median(many.taken.cpu_us for _, many in pairs),
        statistics.median(one.taken.rate for one, _ in pairs),
        statistics.median(many.taken.rate for _, many in pairs),
        statistics.median(one.taken.cpu_us / many.taken.cpu_us for one, many in pairs),
        statistics.median(many.taken.rate / one.taken.rate for one, many in pairs),
        statistics.median(one.taken.waited for one, _ in pairs),
        len(quiet),
        len(shared),
    )


def _further(rows: Sequence[Sharing]) -> str:
    """What the law says for more threads than were measured; "" where there are too few points."""
    found = []
    for app in dict.fromkeys(row.app for row in rows):
        losses = {row.workers: row.loss for row in rows if row.app == app}
        if sum(workers > 1 for workers in losses) > 1:
            law = fit(losses)
            figures = [f"{law.serial * 100:.2f} %", f"{law.pairs * 100:.3f} %"]
            found.append([app, *figures, *(f"{law.loss(n):.2f}" for n in FURTHER)])
    if not found:
        return ""
    header = ("application", "s", "k", *(f"loss at {n}" for n in FURTHER))
    return "Extrapolated (Universal Scalability Law):\n\n" + report.table(header, found) + "\n"


HEADER = (
    *("application", "workers", "one copy, µs", "copies, µs", "cost", "one copy, req/s"),
    *("copies, req/s", "loss", "waited", "quiet"),
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
                f"{row.waited * 100:.1f} %",
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
    if not options.no_sockets and (other := [n for n in options.steps if not STEPS[n].option]):
        say(f"nogilserve has no {', '.join(other)}: only with --no-sockets")
        return 2
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
        lines.append(_further([row for row in rows if row.step == step]))
    lines.append(
        f"{len(samples)} samples of {options.duration:g} s; quiet: without foreign work."
        " Where there are enough of those, only they count."
    )
    text = "\n".join([*lines, *failures])
    print(text)
    kind = "sharing-calls" if options.no_sockets else "sharing"
    payload: dict[str, object] = {"summary": rows, "failures": failures, "samples": samples}
    report.save(options, kind, setting, payload, text, _panels(rows))
    return 0
