"""What a server spends its time on, seen by `perf`: top functions, waiting, system calls.

Two readings of one short run under load: samples of the processor clock with call chains, and
counts of system calls. Both are optional: without perf, or without the right to use it, the
report says so and goes on.
"""

import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "CONTENTION",
    "SYSTEM_CALLS",
    "Profile",
    "counting",
    "digest",
    "parse_counts",
    "parse_samples",
    "sample",
    "unavailable",
]

FREQUENCY = 997  # samples per second of processor time; prime, so that no rhythm is met
ATTACH = 0.3  # seconds until perf has found all threads
DEADLINE = 60  # seconds for perf to write its answer

CONTENTION: dict[str, tuple[str, ...]] = {
    "locks (PyMutex slow path, semaphores, futex)": (
        "_PyMutex_LockTimed",
        "_PyMutex_LockSlow",
        "PyMutex_Lock",
        "_PyParkingLot_",
        "_PySemaphore_",
        "do_futex",
    ),
    "critical sections that had to wait": ("_PyCriticalSection_BeginSlow",),
    "reference counts of objects of other threads": (
        "_Py_brc_",
        "_Py_DecRefShared",
        "_Py_MergeZeroLocalRefcount",
        "_Py_ExplicitMergeRefcount",
        "_Py_TryIncRefShared",
    ),
    "stopping the world": ("stop_the_world", "_PyEval_StopTheWorld", "_PyThreadState_Suspend"),
    "garbage collection": ("gc_collect_main", "gc_collect_internal"),
    "giving up the processor": ("do_sched_yield",),
    "polling": ("do_epoll_wait",),
    "sending": ("__sys_sendto", "__sys_sendmsg"),
    "receiving": ("__sys_recvfrom",),
}
"""Shares of samples with one of these (prefixes of function names) anywhere in their chain."""

SYSTEM_CALLS = (
    *("futex", "epoll_wait", "epoll_ctl", "recvfrom", "sendto", "sendmsg", "accept4", "read"),
    *("write", "sched_yield"),
)


@dataclass(frozen=True, slots=True)
class Profile:
    """Shares are of all samples, 0 to 1."""

    samples: int
    top: list[tuple[str, float]]
    """The functions most samples were in, kernel functions marked with [k]."""
    shares: dict[str, float]


def unavailable() -> str:
    """Why there can be no profile; "" when there can."""
    if shutil.which("perf") is None:
        return "no profile: perf is not on PATH (Debian: `apt-get install linux-perf`)"
    return ""


def parse_samples(lines: Iterable[str]) -> Iterator[list[str]]:
    """The call chains in the output of `perf script -F ip,sym,dso`, innermost function first."""
    chain: list[str] = []
    for line in lines:
        words = line.split()
        if not words:
            if chain:
                yield chain
            chain = []
            continue
        name = words[1] if len(words) > 1 else "?"
        kernel = words[-1].startswith("([") and "kernel" in words[-1]
        chain.append(f"{name.partition('+')[0]} [k]" if kernel else name.partition("+")[0])
    if chain:
        yield chain


def digest(chains: Iterable[Sequence[str]], top: int = 20) -> Profile:
    """Count where the samples were."""
    own: Counter[str] = Counter()
    groups: Counter[str] = Counter()
    total = 0
    for chain in chains:
        total += 1
        own[chain[0]] += 1
        for group, prefixes in CONTENTION.items():
            if any(name.startswith(prefixes) for name in chain):
                groups[group] += 1
    scale = 1 / max(total, 1)
    return Profile(
        total,
        [(name, count * scale) for name, count in own.most_common(top)],
        {group: groups[group] * scale for group in CONTENTION},
    )


def parse_counts(text: str) -> dict[str, int]:
    """System call counts in the output of `perf stat -x,`."""
    counts: dict[str, int] = {}
    for line in text.splitlines():
        fields = line.split(",")
        if len(fields) > 2 and "sys_enter_" in fields[2] and fields[0].isdigit():
            counts[fields[2].partition("sys_enter_")[2]] = int(fields[0])
    return counts


def _perf(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["perf", *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=DEADLINE,
        check=False,
    )


def sample(pids: Sequence[int], seconds: float) -> Profile | str:
    """Watch processes that are under load; a sentence when perf refuses."""
    target = ",".join(map(str, pids))
    with tempfile.TemporaryDirectory(prefix="nogilserve-perf-") as folder:
        data = str(Path(folder) / "perf.data")
        options = ("-e", "cpu-clock", "-F", str(FREQUENCY), "-g", "-p", target, "-o", data)
        try:
            recorded = _perf("record", *options, "--", "sleep", f"{seconds:.2f}")
            if recorded.returncode:
                return f"no profile: perf record said {recorded.stderr.strip()[-200:]!r}"
            script = _perf("script", "-i", data, "-F", "ip,sym,dso")
        except subprocess.TimeoutExpired:
            return f"no profile: perf did not end within {DEADLINE} s"
    return digest(parse_samples(script.stdout.splitlines()))


@contextmanager
def counting(pids: Sequence[int], counts: dict[str, int]) -> Iterator[None]:
    """Count the system calls of the processes for the length of the block, into `counts`.

    Where perf may not count them (no tracepoints, no right to), `counts` stays empty.
    """
    events = ",".join(f"syscalls:sys_enter_{name}" for name in SYSTEM_CALLS)
    process = subprocess.Popen(
        ["perf", "stat", "-x,", "-e", events, "-p", ",".join(map(str, pids))],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    try:
        time.sleep(ATTACH)
        yield
    finally:
        process.send_signal(signal.SIGINT)  # perf prints what it has counted and ends
        try:
            _, text = process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            _, text = process.communicate()
        counts |= parse_counts(text)
