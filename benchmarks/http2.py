"""HTTP/2 with prior knowledge, as h2load asks for it: nogilserve, hypercorn, Granian, h2corn.

Ten connections of ten streams by default; hello and a page of 10 KB. Rounds alternate, each
trial has a fresh server, and processor time is that of the whole process tree.
"""

import argparse
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import procs, report
from benchmarks.machine import conditions
from benchmarks.rounds import say
from benchmarks.servers import BACKLOG, KEEP_ALIVE, Contestant, Server, python
from benchmarks.trial import TrialError, serve
from benchmarks.wrk import WrkError

__all__ = ["HTTP2_SERVERS", "run"]

WSGI = "benchmarks.apps.pages:wsgi_app"
ASGI = "benchmarks.apps.pages:asgi_app"
PATHS = {"hello": "/", "10 KB": "/page"}

FINISHED = re.compile(r"finished in [\d.]+\w+, ([\d.]+) req/s")
SUCCEEDED = re.compile(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")


def _nogilserve_wsgi(app: str, threads: int) -> list[str]:
    return python(
        *("-m", "nogilserve", app, "--bind", "127.0.0.1:0", "--threads", str(max(threads, 16))),
        *("--workers", str(threads), "--keep-alive", KEEP_ALIVE, "--no-master"),
    )


def _nogilserve_asgi(app: str, loops: int) -> list[str]:
    return python(
        *("-m", "nogilserve", app, "--bind", "127.0.0.1:0", "--interface", "asgi"),
        *("--loops", str(loops), "--workers", str(loops)),
        *("--keep-alive", KEEP_ALIVE, "--no-master"),
    )


def _granian(interface: str) -> Callable[[str, int], list[str]]:
    def argv(app: str, threads: int) -> list[str]:
        count = (
            ("--workers", "1", "--blocking-threads", str(threads))
            if interface == "wsgi"
            else ("--workers", str(threads), "--loop", "uvloop")
        )
        return python(
            *("-m", "granian", app, "--interface", interface, "--host", "127.0.0.1"),
            *("--port", "0", "--runtime-threads", "1", *count, "--http", "auto", "--no-ws"),
            *("--backlog", BACKLOG, "--log-level", "warning"),
        )

    return argv


def _hypercorn(app: str, loops: int) -> list[str]:
    return python(
        *("-m", "hypercorn", "--bind", "127.0.0.1:0", "--workers", str(loops)),
        *("--worker-class", "uvloop", "--backlog", BACKLOG, "--keep-alive", KEEP_ALIVE),
        *("--log-level", "warning", app),
    )


def _h2corn(app: str, loops: int) -> list[str]:
    return python(
        *("-m", "h2corn", app, "--bind", "127.0.0.1:0", "--workers", "1"),
        *("--loop-threads", str(loops), "--loop", "uvloop", "--backlog", BACKLOG),
        "--no-access-log",
    )


HTTP2_SERVERS: dict[str, tuple[Server, str]] = {
    server.name: (server, app)
    for server, app in (
        (Server("nogilserve-wsgi", (), _nogilserve_wsgi, "one core for each thread"), WSGI),
        (Server("nogilserve-asgi", (), _nogilserve_asgi, "one event loop for each thread"), ASGI),
        (Server("granian-wsgi", ("granian",), _granian("wsgi"), "HTTP/2 by its default"), WSGI),
        (Server("granian-asgi", ("granian",), _granian("asgi"), "HTTP/2 by its default"), ASGI),
        (Server("hypercorn", ("hypercorn", "uvloop"), _hypercorn, "workers are processes"), ASGI),
        (Server("h2corn", ("h2corn", "uvloop"), _h2corn, "loops in threads"), ASGI),
    )
}


@dataclass(frozen=True, slots=True)
class Trial:
    """What one run of h2load gave."""

    contestant: str
    workload: str
    rate: float
    cpu_us: float
    """Processor time of the server per request."""
    requests: int
    failed: int


def _load(url: str, options: argparse.Namespace) -> tuple[float, int, int]:
    """Requests per second, requests, and how many of them failed."""
    command = ["h2load", "-c", str(options.connections), "-m", str(options.streams)]
    command += ["--duration", str(options.duration), "--warm-up-time", "1", url]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=options.duration + 60, check=False
    )
    finished, counts = FINISHED.search(done.stdout), SUCCEEDED.search(done.stdout)
    if done.returncode or finished is None or counts is None:
        raise TrialError(f"h2load said {(done.stdout + done.stderr)[-500:]!r}")
    requests, _, *failed = map(int, counts.groups())
    return float(finished[1]), requests, sum(failed)


def _trial(contestant: Contestant, app: str, workload: str, options: argparse.Namespace) -> Trial:
    with serve(contestant, app) as running:
        url = running.url(PATHS[workload])
        before, started = procs.cpu_seconds(running.pids()), time.monotonic()
        rate, requests, failed = _load(url, options)
        spent = procs.cpu_seconds(running.pids()) - before
        # The warm-up's requests are not among those counted, its processor time is.
        share = options.duration / max(time.monotonic() - started, options.duration)
        cpu = spent * share * 1e6 / max(requests, 1)
        return Trial(contestant.label, workload, rate, cpu, requests, failed)


def _median(trials: Sequence[Trial], value: Callable[[Trial], float]) -> float:
    return statistics.median(map(value, trials)) if trials else 0.0


def _table(trials: Sequence[Trial]) -> str:
    rows = []
    for workload in PATHS:
        names = dict.fromkeys(t.contestant for t in trials if t.workload == workload)
        for name in names:
            own = [t for t in trials if (t.workload, t.contestant) == (workload, name)]
            good = [t for t in own if not t.failed]
            figures = (_median(good, lambda t: t.rate), _median(good, lambda t: t.cpu_us))
            row = (f"{figures[0]:,.0f}", f"{figures[1]:,.1f}", f"{len(good)} of {len(own)}")
            rows.append((workload, name, *row))
    return report.table(("workload", "server", "requests/s", "CPU µs / request", "valid"), rows)


def run(options: argparse.Namespace) -> int:
    """Measure, and write results/http2.json and .md; exit status 1 when a server did not run."""
    if shutil.which("h2load") is None:
        raise WrkError("h2load is missing (Debian: apt-get install nghttp2-client)")
    chosen = []
    for name in options.servers:
        server, app = HTTP2_SERVERS[name]
        if missing := server.missing():
            say(f"{name}: left out, {', '.join(missing)} not installed")
        else:
            chosen.append((Contestant(server, options.threads), app))
    trials: list[Trial] = []
    failures = 0
    for number in range(options.rounds):
        for workload in PATHS:
            for contestant, app in chosen:
                try:
                    trial = _trial(contestant, app, workload, options)
                except TrialError as exc:
                    failures += 1
                    say(f"{contestant.label}, {workload}: {exc}")
                    continue
                trials.append(trial)
                say(f"round {number + 1}: {trial.contestant}, {workload}: {trial.rate:,.0f}/s")
    text = (
        f"h2load, {options.connections} connections of {options.streams} streams, prior knowledge,"
        f" medians of {options.rounds}\n\n{_table(trials)}"
    )
    print(text)
    machine = conditions([contestant.server for contestant, _ in chosen])
    report.save(options, "http2", machine, {"trials": trials}, text, [])
    return 1 if failures else 0
