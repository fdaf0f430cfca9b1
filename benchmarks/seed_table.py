"""`seed`: the table that Caddy Snake publishes, with its own application and load.

`GET /hello` of Flask and of FastAPI over 100 kept connections: gunicorn or uvicorn behind Caddy,
Caddy Snake, and nogilserve. Each is measured in several settings; one of them gives everybody the
same number of workers, and of all the one with the most requests per second is its best.
"""

import argparse
import os
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import pinning, report
from benchmarks.chart import Bar, Panel
from benchmarks.machine import conditions
from benchmarks.report import Summary, summarise
from benchmarks.rounds import Plan, say
from benchmarks.servers import BACKLOG, KEEP_ALIVE, Contestant, Server
from benchmarks.targets import VERDICT_HEADER, Ratio, Verdict, verdict, verdict_rows
from benchmarks.trial import ROOT, Measurement
from benchmarks.workloads import Workload

__all__ = ["Entry", "Field", "best_of", "entries", "expected", "run"]

FASTER = {"Flask": 3.5, "FastAPI": 2.5}
"""How many times Caddy Snake's requests per second are wanted."""
SMALLER = 0.5
"""The share of its memory that is allowed."""
FAMILIES = ("behind Caddy", "Caddy Snake", "nogilserve")
ORDER = [(framework, family) for framework in FASTER for family in FAMILIES]
OVERHEAD = 4.0
PACKAGES = ("flask", "fastapi", "gunicorn", "uvicorn", "uvloop", "httptools")


def _is_hello(body: bytes) -> bool:
    return b'"Hello, World!"' in body


WORKLOADS = {
    framework: Workload(
        f"seed-{framework.lower()}",
        f"{framework}, GET /hello",
        f"benchmarks.apps.seed_{framework.lower()}:app",
        lambda: "/hello",
        _is_hello,
        requires=framework.lower(),
    )
    for framework in FASTER
}

# What both kinds of Caddy are told: HTTP/1 as wrk speaks it, nothing on disk, no logs.
CADDY = """{
	admin off
	auto_https off
	servers {
		protocols h1
	}
}
http://127.0.0.1:%d {
	bind 127.0.0.1
	%s
}
"""
SNAKE = """python {
		module_%s "%s"
		working_dir "%s"
		venv "%s"
		workers %d
	}"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One server in one setting."""

    framework: str
    family: str
    """One of FAMILIES."""
    server: Server
    workers: int
    equal: bool
    """Whether everybody has this many workers."""

    @property
    def contestant(self) -> Contestant:
        """For the rounds."""
        return Contestant(self.server, self.workers)


@dataclass(frozen=True, slots=True)
class Field:
    """What the servers are made with."""

    folder: Path
    """For Caddyfiles and sockets; it outlives the servers."""
    gil_python: str
    """In whose environment others run; "" where there is none: then on ours."""
    cores: int
    skipped: list[str] = field(default_factory=list)

    @property
    def python(self) -> str:
        """The interpreter of gunicorn and uvicorn."""
        return self.gil_python or sys.executable

    def snake(self) -> Path | None:
        """Caddy Snake's program, where its package is installed."""
        if not self.gil_python:
            return None
        environment = Path(self.gil_python).parent.parent
        return next(environment.glob("lib/python*/site-packages/caddysnake-cli"), None)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def _caddyfile(folder: Path, site: str) -> Path:
    port = _free_port()
    file = folder / f"Caddyfile-{port}"
    file.write_text(CADDY % (port, site))
    return file


def _run(program: str, file: Path) -> list[str]:
    """Caddy with a Caddyfile, keeping what it writes beside it."""
    home = [f"{name}={file.parent}" for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME")]
    return ["env", *home, program, "run", "--config", str(file), "--adapter", "caddyfile"]


def _behind_caddy(
    where: Field, backend: Callable[[str, int, str], list[str]]
) -> Callable[[str, int], list[str]]:
    """Caddy with a server behind it on a unix socket, which is the fastest way between them."""

    def argv(app: str, workers: int) -> list[str]:
        file = _caddyfile(where.folder, "reverse_proxy unix/%s")
        upstream = file.with_suffix(".sock")
        file.write_text(file.read_text() % upstream)
        server = shlex.join(backend(app, workers, str(upstream)))
        # Caddy becomes the process that is started, the server its child.
        return ["sh", "-c", f"{server} & exec {shlex.join(_run('caddy', file))}"]

    return argv


def _gunicorn(path: str, threads: int) -> Callable[[str, int, str], list[str]]:
    def backend(app: str, workers: int, upstream: str) -> list[str]:
        return [
            *(path, "-W", "ignore", "-m", "gunicorn", app, "--bind", f"unix:{upstream}"),
            *("--workers", str(workers), "--worker-class", "gthread", "--threads", str(threads)),
            *("--backlog", BACKLOG, "--keep-alive", KEEP_ALIVE, "--log-level", "warning"),
            "--no-control-socket",
        ]

    return backend


def _uvicorn(path: str) -> Callable[[str, int, str], list[str]]:
    def backend(app: str, workers: int, upstream: str) -> list[str]:
        return [
            *(path, "-W", "ignore", "-m", "uvicorn", app, "--uds", upstream),
            *("--workers", str(workers), "--loop", "uvloop", "--http", "httptools"),
            *("--ws", "none", "--no-access-log", "--log-level", "warning"),
            *("--backlog", BACKLOG, "--timeout-keep-alive", KEEP_ALIVE, "--no-proxy-headers"),
        ]

    return backend


def _snake(where: Field, program: Path, interface: str) -> Callable[[str, int], list[str]]:
    def argv(app: str, workers: int) -> list[str]:
        environment = Path(where.gil_python).parent.parent
        site = SNAKE % (interface, app, ROOT, environment, workers)
        return _run(str(program), _caddyfile(where.folder, site))

    return argv


def _nogilserve(*more: str) -> Callable[[str, int], list[str]]:
    def argv(app: str, workers: int) -> list[str]:
        return [
            *(sys.executable, "-W", "ignore", "-m", "nogilserve", app, "--bind", "127.0.0.1:0"),
            *("--workers", str(workers), "--keep-alive", KEEP_ALIVE, *more),
        ]

    return argv


def entries(where: Field) -> list[Entry]:
    """Everybody in every setting; what cannot take part is named in `where.skipped`."""
    cores = where.cores
    found: list[Entry] = []

    def add(
        framework: str,
        family: str,
        name: str,
        argv: Callable[[str, int], list[str]],
        why: str,
        *workers: int,
    ) -> None:
        server = Server(name, (), argv, why)
        found.extend(Entry(framework, family, server, n, n == cores) for n in workers)

    def add_once(
        framework: str, name: str, argv: Callable[[str, int], list[str]], why: str
    ) -> None:
        found.append(Entry(framework, "nogilserve", Server(name, (), argv, why), cores, False))

    if shutil.which("caddy"):
        for threads, why in ((4, "as in Caddy Snake's own table"), (1, "no switches of threads")):
            argv = _behind_caddy(where, _gunicorn(where.python, threads))
            name = f"gunicorn --threads {threads} + Caddy"
            server = Server(name, (), argv, f"gthread on a unix socket behind Caddy: {why}")
            equal = threads == 4
            found.append(Entry("Flask", "behind Caddy", server, cores, equal))
        add(
            *("FastAPI", "behind Caddy", "uvicorn + Caddy"),
            _behind_caddy(where, _uvicorn(where.python)),
            "uvloop and httptools, on a unix socket behind Caddy, no access log",
            *(cores, cores * 2),
        )
    else:
        where.skipped.append("caddy is not installed (Debian: apt-get install caddy)")
    program = where.snake()
    if program is None:
        where.skipped.append(
            "Caddy Snake left out: no Python with the GIL that has it (--gil-python; ./dev bench"
            " makes one)"
        )
    else:
        why = "a Caddyfile, so without the compression that its own command line always adds"
        for framework, interface in (("Flask", "wsgi"), ("FastAPI", "asgi")):
            argv = _snake(where, program, interface)
            note = why + ("; uvloop is its default" if interface == "asgi" else "")
            add(framework, "Caddy Snake", "Caddy Snake", argv, note, cores, cores * 2)
    add(
        *("Flask", "nogilserve", "nogilserve"),
        _nogilserve("--threads", str(cores)),
        "one process with a master; as many threads as workers",
        cores,
    )
    add_once("Flask", "nogilserve, its default threads", _nogilserve(), "as it comes")
    add(
        *("FastAPI", "nogilserve", "nogilserve"),
        _nogilserve("--loops", str(cores), "--loop", "uvloop"),
        "one process with a master; as many event loops as workers, uvloop",
        cores,
    )
    add_once(
        *("FastAPI", "nogilserve on asyncio"),
        _nogilserve("--loops", str(cores), "--loop", "asyncio"),
        "the same with the loop that Python has",
    )
    return found


def best_of(rows: Sequence[Summary], found: Sequence[Entry]) -> dict[tuple[str, str], Summary]:
    """Of each framework and family the setting with the most requests per second."""
    best: dict[tuple[str, str], Summary] = {}
    for entry in found:
        for row in rows:
            if row.contestant != entry.contestant.label or not row.trials:
                continue
            if row.workload != WORKLOADS[entry.framework].name:
                continue
            key = (entry.framework, entry.family)
            if key not in best or row.rate > best[key].rate:
                best[key] = row
    return dict(sorted(best.items(), key=lambda item: ORDER.index(item[0])))


def _equal(rows: Sequence[Summary], found: Sequence[Entry]) -> dict[tuple[str, str], Summary]:
    return best_of(rows, [entry for entry in found if entry.equal])


def _rate(trial: Measurement) -> float:
    return trial.rate


def _memory(trial: Measurement) -> float:
    return trial.pss_bytes / 2**20


def _verdicts(
    chosen: dict[str, dict[tuple[str, str], Summary]],
    found: Sequence[Entry],
    trials: Sequence[Measurement],
) -> list[Verdict]:
    by_label = {(e.framework, e.contestant.label): e.contestant for e in found}
    verdicts = []
    for words, rows in chosen.items():
        for framework, limit in FASTER.items():
            pair = [rows.get((framework, family)) for family in ("nogilserve", "Caddy Snake")]
            if None in pair:
                continue
            ours, theirs = (by_label[framework, row.contestant] for row in pair if row)
            work = WORKLOADS[framework].name
            about = f"{framework}, {words}: nogilserve : Caddy Snake"
            verdicts += [
                verdict(
                    Ratio(f"req/s, {about}", ours, theirs, work, _rate, "/s", limit, True), trials
                ),
                verdict(
                    Ratio(f"memory, {about}", ours, theirs, work, _memory, " MiB", SMALLER, False),
                    trials,
                ),
            ]
    return verdicts


HEADER = ("server", "req/s", "CPU µs/req", "average ms", "p99 ms", "PSS MiB", "spread", "trials")


def _row(name: str, row: Summary, trials: Sequence[Measurement]) -> list[str]:
    own = [
        t
        for t in trials
        if (t.workload, t.contestant) == (row.workload, row.contestant) and t.valid
    ]
    return [
        name,
        f"{row.rate:,.0f}",
        f"{row.cpu_us:.0f}",
        f"{report.median(own, lambda t: t.mean_us) / 1000:.2f}",
        f"{row.p99_us / 1000:.2f}",
        f"{row.pss_bytes / 2**20:.0f}",
        f"{row.rate_spread * 100:.0f} %" if row.trials > 1 else "-",
        f"{row.trials}" + (f" ({row.invalid} invalid)" if row.invalid else ""),
    ]


def _panels(framework: str, rows: dict[tuple[str, str], Summary], words: str) -> list[Panel]:
    own = [row for (name, _), row in rows.items() if name == framework]

    def bars(value: Callable[[Summary], float], form: str) -> list[Bar]:
        return [Bar(_short(r), value(r), form.format(value(r)), ours=r.ours) for r in own]

    return [
        Panel(f"{framework}, {words}: requests/s", bars(lambda r: r.rate, "{:,.0f}")),
        Panel("CPU µs per request (less is better)", bars(lambda r: r.cpu_us, "{:,.0f}")),
        Panel("memory, MiB (less is better)", bars(lambda r: r.pss_bytes / 2**20, "{:,.0f}")),
    ]


def _short(row: Summary) -> str:
    name = row.server
    if name.startswith("gunicorn"):
        return "gunicorn + Caddy"
    return "nogilserve" if row.ours else name


def expected(options: argparse.Namespace) -> float:
    """Seconds the whole takes, about."""
    return float(14 * options.rounds * (options.duration + OVERHEAD))


def run(options: argparse.Namespace) -> int:
    """Measure, judge, print and write results/seed.*; 1 if nothing of ours was valid."""
    pinning.apply(options)
    setting = conditions([Server("", PACKAGES, lambda *_: [], "")])
    setting["gil_python"] = bool(options.gil_python)
    with tempfile.TemporaryDirectory(prefix="nogilserve-seed-") as folder:
        where = Field(Path(folder), options.gil_python or "", pinning.server_processors())
        found = entries(where)
        for line in where.skipped:
            say(line)
        pairs = [(WORKLOADS[entry.framework], entry.contestant) for entry in found]
        plan = Plan.of(pairs, options)
        trials = plan.run()
    setting["load_average_after"] = os.getloadavg()
    summaries = summarise(trials)
    equal, best = _equal(summaries, found), best_of(summaries, found)
    titles = {
        f"{where.cores} workers each": equal,
        "everybody's best setting": best,
    }
    lines = [f"# The table of Caddy Snake\n\n{report.footer(setting)}\n"]
    charts: list[list[Panel]] = []
    for words, rows in titles.items():
        cells = [
            _row(f"{framework} + {row.contestant}", row, trials)
            for (framework, _), row in rows.items()
        ]
        lines.append(f"## {words}\n\n{report.table(HEADER, cells)}\n")
        charts += [_panels(framework, rows, words) for framework in FASTER]
    names = {work.name: framework for framework, work in WORKLOADS.items()}
    every = [_row(f"{names[r.workload]} + {r.contestant}", r, trials) for r in summaries]
    lines.append(f"## All settings\n\n{report.table(HEADER, every)}\n")
    verdicts = _verdicts(titles, found, trials)
    if verdicts:
        lines.append(f"## Targets\n\n{report.table(VERDICT_HEADER, verdict_rows(verdicts))}\n")
    lines += [report.noise_line(trials), "", *where.skipped, *plan.failures, "\nSettings:\n"]
    lines += [f"- {e.framework}, {e.contestant.label}: {e.server.notes}." for e in found]
    text = "\n".join(lines)
    print(text)
    chosen = {
        words: [
            {"framework": f, "family": n, "contestant": r.contestant} for (f, n), r in s.items()
        ]
        for words, s in titles.items()
    }
    payload: dict[str, object] = {"tables": chosen, "verdicts": verdicts}
    payload |= {"skipped": where.skipped, "failures": plan.failures}
    payload |= {"summary": summaries, "trials": trials}
    report.save(options, "seed", setting, payload, text, charts)
    return 0 if any(row.trials and row.ours for row in summaries) else 1
