"""`runtimes`: threads, subinterpreters and processes, on one or several interpreters.

The same workloads as in `wsgi`, the same number of cores each; what differs is how many copies of
the interpreter and of the application there are, and so memory.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import procs, report
from benchmarks.machine import conditions
from benchmarks.report import Summary, summarise
from benchmarks.rounds import Plan, say
from benchmarks.servers import KEEP_ALIVE, Contestant, Server, version_of
from benchmarks.workloads import WORKLOADS, Workload

__all__ = ["RUNTIMES", "Interpreter", "contestants_on", "find", "run"]

RUNTIMES = ("threads", "subinterpreters", "processes")

HEADER = (
    "runtime",
    "req/s",
    "ratio",
    "CPU µs/req",
    "ratio",
    "p99 ms",
    "PSS MiB",
    "ratio",
    "trials",
)

_ASK = """
import importlib.util, sys, sysconfig
build = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
missing = [n for n in sys.argv[1:] if importlib.util.find_spec(n) is None]
print("%d.%d.%d" % sys.version_info[:3] + build, *missing)
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that servers are started with."""

    path: str
    version: str
    """Such as 3.14.7, or 3.14.7t for a free-threaded build."""

    def runtimes(self) -> tuple[str, ...]:
        """What nogilserve has there."""
        minor = int(self.version.split(".")[1])
        return tuple(name for name in RUNTIMES if name != "subinterpreters" or minor >= 14)


def find(path: str, needed: Sequence[str]) -> Interpreter:
    """The interpreter at `path`; ValueError where it is none, or lacks modules."""
    executable = shutil.which(path)
    if executable is None:
        raise ValueError(f"{path}: there is no such program")
    ended = subprocess.run(
        [executable, "-c", _ASK, *needed], capture_output=True, text=True, check=False, timeout=60
    )
    if ended.returncode:
        raise ValueError(f"{path} is no Python: {ended.stderr.strip()[-200:]}")
    version, *missing = ended.stdout.split()
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}")
    return Interpreter(executable, version)


def contestants_on(interpreter: Interpreter, cores: int, threads: int) -> list[Contestant]:
    """nogilserve in each of its runtimes."""
    return [
        Contestant(_server(interpreter, name, cores), threads) for name in interpreter.runtimes()
    ]


def _server(interpreter: Interpreter, runtime: str, cores: int) -> Server:
    def argv(app: str, threads: int) -> list[str]:
        return [
            *(interpreter.path, "-W", "ignore", "-m", "nogilserve", app),
            *("--bind", "127.0.0.1:0", "--keep-alive", KEEP_ALIVE, "--no-master"),
            *("--runtime", runtime, "--workers", str(cores), "--threads", str(threads)),
        ]

    name = f"{interpreter.version} {runtime}"
    return Server(name, (), argv, "the default settings, without a master")


def master_line(interpreter: Interpreter) -> str:
    """What the master costs that a server has by default, as a line of the report."""
    app = "benchmarks.apps.plain:app"
    command = [interpreter.path, "-m", "nogilserve", app, "--bind", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if b"Listening" in line:
                    break
            size = procs.pss_bytes([process.pid])
        finally:
            process.terminate()
            process.stderr.read()
    return f"The master, which a server has by default: {size / 2**20:.1f} MiB (PSS) more.\n"


def _row(summary: Summary, first: Summary) -> list[str]:
    if not summary.trials:
        return [summary.server, *["-"] * 7, f"0 ({summary.invalid} invalid)"]
    return [
        summary.server,
        f"{summary.rate:,.0f}",
        f"{summary.rate / first.rate:.2f}" if first.rate else "-",
        f"{summary.cpu_us:.1f}",
        f"{summary.cpu_us / first.cpu_us:.2f}" if first.cpu_us else "-",
        f"{summary.p99_us / 1000:.2f}",
        f"{summary.pss_bytes / 2**20:.1f}",
        f"{summary.pss_bytes / first.pss_bytes:.2f}" if first.pss_bytes else "-",
        f"{summary.trials}",
    ]


def _tables(workloads: Sequence[Workload], summaries: Sequence[Summary]) -> list[str]:
    lines = []
    for workload in workloads:
        rows = [row for row in summaries if row.workload == workload.name]
        if rows:
            body = report.table(HEADER, [_row(row, rows[0]) for row in rows])
            lines.append(f"## {workload.name}: {workload.title}\n\n{body}\n")
    return lines


def run(options: argparse.Namespace) -> int:
    """Measure all runtimes of all interpreters in alternating rounds; 1 if nothing was valid."""
    setting = conditions()
    workloads = [WORKLOADS[name] for name in options.workloads]
    needed = ["h11", *(w.requires for w in workloads if w.requires)]
    try:
        interpreters = [find(path, needed) for path in options.pythons or [sys.executable]]
    except ValueError as exc:
        say(str(exc))
        return 2
    if missing := [name for name in needed if not version_of(name)]:
        say(f"not installed: {', '.join(missing)}")
        return 2
    contestants = [
        contestant
        for interpreter in interpreters
        for contestant in contestants_on(interpreter, options.cores, options.threads)
    ]
    plan = Plan.of([(w, c) for w in workloads for c in contestants], options)
    trials = plan.run()
    setting["load_average_after"] = os.getloadavg()
    summaries = summarise(trials)
    lines = [f"# Runtimes compared\n\n{report.footer(setting)}\n"]
    lines.append(f"{options.cores} cores, {options.threads} threads in all, ratios to the first.\n")
    lines += _tables(workloads, summaries)
    lines.append(master_line(interpreters[0]))
    lines += [report.noise_line(trials), *plan.failures]
    text = "\n".join(lines)
    print(text)
    charts = [
        report.panels([row for row in summaries if row.workload == w.name], w.title)
        for w in workloads
    ]
    versions = {Path(item.path).name: item.version for item in interpreters}
    payload: dict[str, object] = {"interpreters": versions, "failures": plan.failures}
    payload |= {"summary": summaries, "trials": trials}
    report.save(options, "runtimes", setting, payload, text, charts)
    return 0 if any(row.trials for row in summaries) else 1
