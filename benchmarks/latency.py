"""`latency`: how long requests wait beside slow ones, during a reload, and beside a blocked one.

Requests come by a timetable (`openload`), far below what the servers can do, so that waits are the
server's and not a queue's. Three scenes, for WSGI and for ASGI servers that have them:

- mixed: others keep asking for something slow (WSGI: twelve connections for a sleep of 50 ms; ASGI:
  one connection for 10 ms of computing in `async def`);
- reload: SIGHUP in the middle;
- blocked: one request sleeps for two seconds, in one of two threads (WSGI) or in `async def`.
"""

import argparse
import json
import os
import signal
import statistics
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchmarks import openload, pinning, report, wrk
from benchmarks.chart import Bar, Panel
from benchmarks.machine import conditions
from benchmarks.openload import Outcome, Timetable, percentile
from benchmarks.rounds import say
from benchmarks.servers import BACKLOG, KEEP_ALIVE, Contestant, Server
from benchmarks.trial import Running, TrialError, background, check, get, serve, settle
from benchmarks.workloads import ASGI_WORKLOADS, WORKLOADS, Background, Workload

__all__ = ["SCENES", "SERVERS", "Latency", "expected", "run"]

BLOCK = 2000  # milliseconds
SLOW = Background("/sleep?50", 12)
COMPUTING = 10.0  # milliseconds
CONNECTIONS = 32
WARM_UP = 0.5  # seconds
AT = 0.3  # the share of the time after which something happens


@dataclass(frozen=True, slots=True)
class Scene:
    """What the server is troubled with meanwhile."""

    name: str
    title: str
    threads: dict[str, int]
    """Of each interface: threads (WSGI) or event loops (ASGI) of every server."""


SCENES = {
    scene.name: scene
    for scene in (
        Scene("mixed", "beside slow requests", {"wsgi": 16, "asgi": 2}),
        Scene("reload", "during a reload", {"wsgi": 4, "asgi": 2}),
        Scene("blocked", "while one request blocks for 2 s", {"wsgi": 2, "asgi": 2}),
    )
}


@dataclass(frozen=True, slots=True)
class Latency:
    """What one trial gave; times in milliseconds."""

    scene: str
    interface: str
    server: str
    answered: int
    failed: int
    resent: int
    unanswered: int
    p50: float
    p99: float
    p999: float
    longest: float
    happened: bool
    """Whether the scene took place: another process answers after the reload, the block ended."""

    @property
    def bad(self) -> bool:
        """Whether requests were lost, or the scene did not take place."""
        return bool(self.failed or self.unanswered or not self.happened)


def _python(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "ignore", *arguments]


def _nogilserve_wsgi(app: str, threads: int) -> list[str]:
    return _python(
        *("-m", "nogilserve", app, "--bind", "127.0.0.1:0", "--threads", str(threads)),
        *("--keep-alive", KEEP_ALIVE),
    )


def _nogilserve_asgi(app: str, loops: int) -> list[str]:
    return _python(
        *("-m", "nogilserve", app, "--bind", "127.0.0.1:0", "--loop", "uvloop"),
        *("--loops", str(loops), "--workers", str(loops), "--keep-alive", KEEP_ALIVE),
    )


def _granian(interface: str) -> Callable[[str, int], list[str]]:
    def argv(app: str, threads: int) -> list[str]:
        wsgi = interface == "wsgi"
        workers, blocking = (1, threads) if wsgi else (threads, 1)
        more = ["--blocking-threads", str(blocking)] if wsgi else ["--loop", "uvloop"]
        return _python(
            *("-m", "granian", app, "--interface", interface, "--host", "127.0.0.1"),
            *("--port", "0", "--workers", str(workers), "--runtime-threads", "1", *more),
            *("--http", "1", "--no-ws", "--backlog", BACKLOG, "--log-level", "warning"),
        )

    return argv


def _gunicorn(app: str, threads: int) -> list[str]:
    return _python(
        *("-m", "gunicorn", app, "--bind", "127.0.0.1:0", "--workers", "1"),
        *("--worker-class", "gthread", "--threads", str(threads), "--backlog", BACKLOG),
        *("--keep-alive", KEEP_ALIVE, "--log-level", "warning", "--no-control-socket"),
    )


def _waitress(app: str, threads: int) -> list[str]:
    return _python(
        *("-m", "waitress", "--listen=127.0.0.1:0", f"--threads={threads}"),
        *(f"--backlog={BACKLOG}", "--connection-limit=1000", "--asyncore-use-poll", app),
    )


def _uvicorn(app: str, loops: int) -> list[str]:
    return _python(
        *("-m", "uvicorn", app, "--host", "127.0.0.1", "--port", "0", "--workers", str(loops)),
        *("--loop", "uvloop", "--http", "httptools", "--ws", "none", "--no-access-log"),
        *("--log-level", "warning", "--backlog", BACKLOG, "--timeout-keep-alive", KEEP_ALIVE),
    )


@dataclass(frozen=True, slots=True)
class _Taker:
    """A server that takes part in scenes."""

    interface: str
    server: Server
    scenes: tuple[str, ...] = tuple(SCENES)


ALIKE = "one process, as many threads as the others"
TAKERS = (
    _Taker("wsgi", Server("nogilserve", (), _nogilserve_wsgi, "one process with a master")),
    _Taker("wsgi", Server("granian", ("granian",), _granian("wsgi"), f"one worker; {ALIKE}")),
    _Taker("wsgi", Server("gunicorn", ("gunicorn",), _gunicorn, f"gthread, one worker; {ALIKE}")),
    _Taker(
        "wsgi",
        Server("waitress", ("waitress",), _waitress, f"no reload; {ALIKE}"),
        ("mixed", "blocked"),
    ),
    _Taker(
        "asgi",
        Server("nogilserve", ("uvloop",), _nogilserve_asgi, "two event loops of one process"),
    ),
    _Taker(
        "asgi",
        Server("granian", ("granian", "uvloop"), _granian("asgi"), "two workers, one process"),
    ),
    _Taker(
        "asgi",
        Server("uvicorn", ("uvicorn", "uvloop", "httptools"), _uvicorn, "two processes"),
    ),
)


SERVERS = list(dict.fromkeys(taker.server.name for taker in TAKERS))


def _workload(scene: str, interface: str) -> Workload:
    """Hello, with what keeps asking for slow things."""
    hello = (WORKLOADS if interface == "wsgi" else ASGI_WORKLOADS)["hello"]
    slow = None
    if scene == "mixed":
        slow = SLOW if interface == "wsgi" else Background(f"/fib?{_fib()}", 1)
    return Workload("hello", hello.title, hello.app, hello.path, hello.check, background=slow)


def _fib() -> int:
    # As the workload cpu finds it, ten times as much: each step of n is 1.6 times the work.
    base = int(WORKLOADS["cpu"].path().partition("?")[2])
    return base + round(4.8 * (COMPUTING / 10))


def _pid(running: Running) -> object:
    try:
        return json.loads(get(running.port, "/about")[1])["pid"]
    except (OSError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class _Event:
    """What happens in the middle of a trial, and how to see afterwards that it did."""

    happen: Callable[[], None]
    happened: Callable[[], bool]


def _reload(running: Running) -> _Event:
    before = _pid(running)
    return _Event(
        lambda: os.kill(running.process.pid, signal.SIGHUP),
        lambda: _pid(running) not in (None, before),
    )


def _block(running: Running) -> _Event:
    answers: list[bytes] = []

    def ask() -> None:
        try:
            answers.append(get(running.port, f"/sleep?{BLOCK}")[1])
        except OSError as exc:
            say(f"the blocking request failed: {exc}")

    thread = threading.Thread(target=ask)

    def happened() -> bool:
        thread.join(BLOCK / 1000 + 5)
        return answers == [b"slept"]

    return _Event(thread.start, happened)


EVENTS = {"reload": _reload, "blocked": _block}


def _trial(scene: Scene, taker: _Taker, options: argparse.Namespace) -> Latency:
    workload = _workload(scene.name, taker.interface)
    contestant = Contestant(taker.server, scene.threads[taker.interface])
    with serve(contestant, workload.app) as running:
        check(running, workload)
        settle(running)
        ordinary = Timetable(running.port, workload.path(), options.rate, WARM_UP, CONNECTIONS)
        openload.run(ordinary)
        event = EVENTS[scene.name](running) if scene.name in EVENTS else None
        events = {options.duration * AT: event.happen} if event else {}
        with background(running, workload, options.duration):
            outcome = openload.run(replace(ordinary, seconds=options.duration), events)
        happened = event is None or event.happened()
    return _latency(scene.name, taker, outcome, happened)


def _latency(scene: str, taker: _Taker, outcome: Outcome, happened: bool) -> Latency:
    waits = outcome.waits
    p50, p99, p999 = (percentile(waits, share) * 1000 for share in (0.5, 0.99, 0.999))
    return Latency(
        scene,
        taker.interface,
        taker.server.name,
        len(waits),
        outcome.failed,
        outcome.resent,
        outcome.unanswered,
        p50,
        p99,
        p999,
        max(waits, default=0.0) * 1000,
        happened,
    )


def _middle(found: Sequence[Latency]) -> Latency:
    """One line for the rounds of a server in a scene: medians, and sums of what was lost."""
    first = found[0]

    def middle(value: Callable[[Latency], float]) -> float:
        return statistics.median(value(one) for one in found)

    return Latency(
        first.scene,
        first.interface,
        first.server,
        sum(one.answered for one in found),
        sum(one.failed for one in found),
        sum(one.resent for one in found),
        sum(one.unanswered for one in found),
        middle(lambda one: one.p50),
        middle(lambda one: one.p99),
        middle(lambda one: one.p999),
        max(one.longest for one in found),
        all(one.happened for one in found),
    )


HEADER = (
    *("server", "p50 ms", "p99 ms", "p99.9 ms", "longest ms", "answered"),
    *("failed", "unanswered", "sent again", ""),
)


def _row(one: Latency) -> list[str]:
    missing = {"reload": "no new process meanwhile", "blocked": "the block failed"}
    return [
        one.server,
        f"{one.p50:.2f}",
        f"{one.p99:.1f}",
        f"{one.p999:.1f}",
        f"{one.longest:.0f}",
        f"{one.answered}",
        f"{one.failed}",
        f"{one.unanswered}",
        f"{one.resent}",
        "" if one.happened else missing.get(one.scene, ""),
    ]


def _panel(title: str, rows: Sequence[Latency]) -> Panel:
    bars = [
        Bar(
            row.server,
            row.p999,
            f"{row.p999:,.1f}" + (f", {row.failed + row.unanswered} lost" if row.bad else ""),
            ours=row.server == "nogilserve",
            bad=row.bad,
        )
        for row in rows
    ]
    return Panel(title, bars)


def _chosen(options: argparse.Namespace) -> list[tuple[Scene, _Taker]]:
    return [
        (SCENES[name], taker)
        for name in options.scenes
        for taker in TAKERS
        if name in taker.scenes and taker.server.name in options.servers
        if not taker.server.missing()
    ]


def expected(options: argparse.Namespace) -> float:
    """Seconds the whole takes, about."""
    return float(len(_chosen(options)) * options.rounds * (options.duration + 4.5))


def run(options: argparse.Namespace) -> int:
    """Measure, print and write results/latency.*; 1 if a scene of ours lost requests."""
    pinning.apply(options)
    setting = conditions([taker.server for taker in TAKERS])
    found: list[Latency] = []
    failures: list[str] = []
    pairs = _chosen(options)
    say(f"latency: {options.rate} requests a second, about {expected(options):.0f} s in all")
    for _ in range(options.rounds):
        for scene, taker in pairs:
            head = f"{taker.interface} {scene.name} {taker.server.name}"
            try:
                one = _trial(scene, taker, options)
            except (TrialError, wrk.WrkError, OSError) as exc:
                failures.append(f"{head} failed: {exc}")
                say(failures[-1])
                continue
            found.append(one)
            say(f"{head}: p99 {one.p99:.1f} ms, p99.9 {one.p999:.1f} ms, {one.failed} failed")
    setting["load_average_after"] = os.getloadavg()
    lines = [f"# Latency\n\n{report.footer(setting)}\n"]
    lines.append(
        f"{options.rate} requests a second over {CONNECTIONS} connections, by timetable.\n"
    )
    rows: list[Latency] = []
    charts: list[list[Panel]] = []
    for name in options.scenes:
        panels = []
        for interface in ("wsgi", "asgi"):
            groups: dict[str, list[Latency]] = {}
            for one in found:
                if (one.scene, one.interface) == (name, interface):
                    groups.setdefault(one.server, []).append(one)
            middles = [_middle(group) for group in groups.values()]
            if not middles:
                continue
            rows += middles
            title = f"{interface.upper()}, {SCENES[name].title}"
            lines.append(f"## {title}\n\n{report.table(HEADER, [_row(r) for r in middles])}\n")
            panels.append(_panel(f"{title}: p99.9, ms", middles))
        charts.append(panels)
    lines += [*failures, "\nSettings:\n"]
    used = {(row.interface, row.server) for row in rows}
    lines += [
        f"- {t.interface}, {t.server.name}: {t.server.notes}."
        for t in TAKERS
        if (t.interface, t.server.name) in used
    ]
    text = "\n".join(lines)
    print(text)
    payload: dict[str, object] = {"rate": options.rate, "failures": failures}
    payload |= {"summary": rows, "trials": found}
    report.save(options, "latency", setting, payload, text, charts)
    ours = [row for row in rows if row.server == "nogilserve"]
    return 1 if not ours or any(row.bad for row in ours) else 0
