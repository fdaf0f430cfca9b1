"""`contention`: where an application that several threads call loses time, by C symbol and by line.

The same calls are watched in one process with several threads, and in one of as many processes with
one thread each. What takes longer per call in the first is what its threads contend for: a count, a
lock, a stopped world. `perf` says in which C function, a sampler
that reads the process's memory from outside in which line of Python; neither needs anything from
the application.
"""

import argparse
import importlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import calls, pinning, procs, report
from benchmarks.machine import conditions
from benchmarks.rounds import say
from benchmarks.sharing import APPS, App, Callers, Taken, callers
from benchmarks.trial import TrialError

__all__ = ["Growth", "Inside", "growth", "parse_symbols", "run"]

FREQUENCY = 1999  # samples of perf per second of processor time; prime, so that no rhythm is met
PAUSE = 0.004  # seconds between two looks at the lines
STOPPED = 0.05  # seconds to wait for a process to stand still
ATTACH = 0.3  # seconds until perf has found all threads
DEADLINE = 60  # seconds for perf to write its answer
TOP = 25  # rows of a table
IDLE = ("_take", "_work", "main")  # functions of `calls` in which threads only wait
SHORT = 3  # parts of a path that say which file it is


@dataclass(frozen=True, slots=True)
class Inside:
    """What was seen of one process: microseconds per call. Immutable."""

    threads: int
    processes: int
    cpu_us: float
    waited: float
    switches: float
    """Voluntary context switches per call: each is a wait for somebody."""
    symbols: dict[str, float]
    """Processor time by C function; empty without perf."""
    lines: dict[str, float]
    """Time, waiting included, by innermost line of Python; empty where it cannot be read."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What a place takes per call in copies and in the one copy, in microseconds. Immutable."""

    place: str
    before: float
    after: float

    @property
    def more(self) -> float:
        """What sharing adds."""
        return self.after - self.before


def growth(before: dict[str, float], after: dict[str, float]) -> list[Growth]:
    """All places, those that grow most first."""
    places = before.keys() | after.keys()
    found = [Growth(place, before.get(place, 0.0), after.get(place, 0.0)) for place in places]
    return sorted(found, key=lambda one: (-one.more, one.place))


def parse_symbols(lines: Iterable[str]) -> Counter[str]:
    """Samples by function in the output of `perf script -F ip,sym`, without compilers' suffixes."""
    found: Counter[str] = Counter()
    for line in lines:
        words = line.split()
        if words:
            found[words[1].partition(".")[0] if len(words) > 1 else "?"] += 1
    return found


def _symbols(crew: Callers, seconds: float) -> Counter[str]:
    """Samples of perf while the crew calls for so long."""
    with tempfile.TemporaryDirectory(prefix="nogilserve-perf-") as folder:
        data = str(Path(folder) / "perf.data")
        watch = ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(FREQUENCY), "-o", data]
        crew.start(seconds + 2 * ATTACH)
        time.sleep(ATTACH)
        subprocess.run(
            [*watch, "-p", str(crew.pids[0]), "--", "sleep", f"{seconds:.2f}"],
            stderr=subprocess.DEVNULL,
            timeout=DEADLINE,
            check=False,
        )
        crew.finish()
        script = subprocess.run(
            ["perf", "script", "-i", data, "-F", "ip,sym"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DEADLINE,
            check=False,
        )
    return parse_symbols(script.stdout.splitlines())


def _stands_still(pid: int) -> bool:
    """Whether all threads of a process that was told to stop have done so."""
    deadline = time.monotonic() + STOPPED
    while time.monotonic() < deadline:
        states = [
            (task / "stat").read_text().rpartition(")")[2].split()[0]
            for task in Path(f"/proc/{pid}/task").iterdir()
        ]
        if all(state in "Tt" for state in states):
            return True
    return False


def _lines(crew: Callers, seconds: float) -> Counter[str]:
    """Innermost lines of the calling threads, seen while the process stands still for a moment."""
    try:
        remote = importlib.import_module("_remote_debugging")  # 3.14 and later
    except ImportError:
        return Counter()
    pid = crew.pids[0]
    found: Counter[str] = Counter()
    unwinder = remote.RemoteUnwinder(pid, all_threads=True)
    crew.start(seconds)
    end = time.monotonic() + seconds * 0.9
    while time.monotonic() < end:
        time.sleep(PAUSE)
        os.kill(pid, signal.SIGSTOP)
        try:
            threads = unwinder.get_stack_trace() if _stands_still(pid) else []
        except (OSError, RuntimeError, SystemError, UnicodeDecodeError):
            continue  # something was half-way
        finally:
            os.kill(pid, signal.SIGCONT)
        found.update(place for thread in threads if (place := _place(thread.frame_info)))
    crew.finish()
    return found


def _place(frames: Sequence[tuple[str, int, str]]) -> str:
    """Where a thread is, "" where it does not call the application."""
    path, line, function = frames[0][:3] if frames else ("", 0, "")
    # Only the innermost frames are surely there: the chain ends where C called Python.
    if not path or (path == calls.__file__ and function.rpartition(".")[2] in IDLE):
        return ""
    return f"{'/'.join(Path(path).parts[-SHORT:])}:{line} {function}"


def _per_call(samples: Counter[str], us: float) -> dict[str, float]:
    total = sum(samples.values())
    return {place: count / total * us for place, count in samples.items()}


def look(app: App, step: str, threads: int, processes: int, seconds: float) -> Inside:
    """Watch one process: how much it does, then in which lines and in which C functions."""
    with callers(app, step, threads, processes) as crew:
        before = procs.switches(crew.pids)
        taken: Taken = crew.measure(seconds)
        switched = procs.switches(crew.pids) - before
        lines = _lines(crew, seconds)
        symbols = _symbols(crew, seconds) if shutil.which("perf") else Counter[str]()
    return Inside(
        threads,
        processes,
        taken.cpu_us,
        taken.waited,
        switched.voluntary / (taken.rate * seconds),
        _per_call(symbols, taken.cpu_us),
        _per_call(lines, taken.cpu_us / (1 - max(taken.waited, 0.0))),
    )


def _table(title: str, copies: dict[str, float], shared: dict[str, float]) -> str:
    rows = growth(copies, shared)[:TOP]
    header = (title, "copies, µs", "one copy, µs", "more, µs", "ratio")
    return report.table(
        header,
        [
            [
                row.place.replace("|", "\\|"),
                f"{row.before:.2f}",
                f"{row.after:.2f}",
                f"{row.more:.2f}",
                f"{row.after / row.before:.2f}" if row.before else "-",
            ]
            for row in rows
        ],
    )


def _text(app: App, copies: Inside, shared: Inside) -> str:
    head = report.table(
        ("processes of threads", "CPU µs per call", "waited", "waits per call"),
        [
            [
                f"{i.processes} of {i.threads}",
                f"{i.cpu_us:.2f}",
                f"{i.waited * 100:.1f} %",
                f"{i.switches:.3f}",
            ]
            for i in (copies, shared)
        ],
    )
    parts = [f"## {app.name}", head]
    if copies.symbols:
        parts.append(_table("C function", copies.symbols, shared.symbols))
    if copies.lines:
        parts.append(_table("innermost line", copies.lines, shared.lines))
    return "\n\n".join(parts) + "\n"


def run(options: argparse.Namespace) -> int:
    """Look at each application shared and in copies; 1 if none could be looked at."""
    pinning.apply(options)
    setting = conditions()
    insides: dict[str, list[Inside]] = {}
    parts = []
    failures = []
    for name in options.apps:
        say(name)
        app = APPS[name]
        try:
            pair = [
                look(app, options.step, threads, options.threads // threads, options.duration)
                for threads in (1, options.threads)
            ]
        except TrialError as exc:
            failures.append(f"{name} failed: {exc}")
            continue
        insides[name] = pair
        parts.append(_text(app, *pair))
    title = f"# Contention of {options.threads} threads in one copy, {options.step}"
    text = "\n".join([f"{title}\n\n{report.footer(setting)}\n", *parts, *failures])
    print(text)
    setting["load_average_after"] = os.getloadavg()
    payload: dict[str, object] = {"apps": insides, "failures": failures}
    report.save(options, "contention", setting, payload, text, [])
    return 0 if insides else 1
