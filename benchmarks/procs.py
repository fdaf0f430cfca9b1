"""What the kernel says about a tree of processes: processor time, memory, context switches.

Everything is read from /proc (Linux). A process that ends while it is read counts as gone, not
as an error: servers start and stop helpers of their own.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "HostCpu",
    "Switches",
    "cpu_seconds",
    "cpu_split",
    "host_cpu",
    "listening_ports",
    "pss_bytes",
    "switches",
    "threads",
    "tree",
]

PROC = Path("/proc")
TICK = os.sysconf("SC_CLK_TCK")
LISTEN = "0A"  # TCP_LISTEN in the `st` column of /proc/PID/net/tcp


@dataclass(frozen=True, slots=True)
class Switches:
    """Context switches since the threads began."""

    voluntary: int
    """A thread waited for something: each one ends in a wake-up."""
    involuntary: int
    """The scheduler took the processor away."""

    def __sub__(self, other: "Switches") -> "Switches":
        return Switches(self.voluntary - other.voluntary, self.involuntary - other.involuntary)


@dataclass(frozen=True, slots=True)
class HostCpu:
    """Processor time of the whole machine since boot, in seconds."""

    busy: float
    steal: float
    """Time another guest of the host had instead of us (part of `busy`)."""


def _stat_fields(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat behind the name (which may hold spaces and brackets)."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _all_pids() -> Iterator[int]:
    for name in os.listdir(PROC):
        if name.isdigit():
            yield int(name)


def tree(root: int) -> list[int]:
    """`root` and all its living descendants."""
    children: dict[int, list[int]] = {}
    for pid in _all_pids():
        fields = _stat_fields(pid)
        if fields is not None and fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(pid)
    found = [root]
    for pid in found:  # grows while it is walked
        found.extend(children.get(pid, ()))
    return found


def _process_cpu(pid: int) -> float:
    """Seconds of processor time (user and system) of all threads, ended ones included.

    The processor clock of a process (clock_getcpuclockid(3)) has nanoseconds where
    /proc/PID/stat has ticks of 10 ms; both are the same account.
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        user, system = _process_split(pid)
        return user + system


def _process_split(pid: int) -> tuple[float, float]:
    fields = _stat_fields(pid)
    if fields is None:
        return 0.0, 0.0
    return int(fields[11]) / TICK, int(fields[12]) / TICK


def cpu_seconds(pids: list[int]) -> float:
    """Processor time of these processes, in seconds."""
    return sum(_process_cpu(pid) for pid in pids)


def cpu_split(pids: list[int]) -> tuple[float, float]:
    """User and system seconds of these processes, in steps of one clock tick."""
    splits = [_process_split(pid) for pid in pids]
    return sum(user for user, _ in splits), sum(system for _, system in splits)


def host_cpu() -> HostCpu:
    """What all processors together have done since boot (proc(5), the "cpu" line)."""
    fields = [int(f) for f in (PROC / "stat").read_text().splitlines()[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return HostCpu((user + nice + system + irq + softirq + steal) / TICK, steal / TICK)


def pss_bytes(pids: list[int]) -> int:
    """Proportional set size: private pages, and a fair share of those that are shared."""
    total = 0
    for pid in pids:
        try:
            lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def threads(pids: list[int]) -> int:
    """Number of threads of these processes."""
    return sum(1 for _ in _task_folders(pids))


def _task_folders(pids: list[int]) -> Iterator[Path]:
    for pid in pids:
        try:
            yield from (PROC / str(pid) / "task").iterdir()
        except OSError:
            continue


def switches(pids: list[int]) -> Switches:
    """Context switches of all living threads of these processes."""
    voluntary = involuntary = 0
    for folder in _task_folders(pids):
        try:
            lines = (folder / "status").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith("voluntary_ctxt_switches:"):
                voluntary += int(line.split()[1])
            elif line.startswith("nonvoluntary_ctxt_switches:"):
                involuntary += int(line.split()[1])
    return Switches(voluntary, involuntary)


def _open_files(pid: int) -> Iterator[str]:
    try:
        names = os.listdir(PROC / str(pid) / "fd")
    except OSError:
        return
    for name in names:
        try:
            yield os.readlink(PROC / str(pid) / "fd" / name)
        except OSError:  # closed since the folder was listed
            continue


def listening_ports(pids: list[int]) -> set[int]:
    """TCP ports (IPv4) on which these processes listen.

    It lets every server be started on port 0: no port is guessed, none can be taken meanwhile.
    """
    inodes = {
        link[8:-1] for pid in pids for link in _open_files(pid) if link.startswith("socket:[")
    }
    try:
        rows = (PROC / str(pids[0]) / "net" / "tcp").read_text().splitlines()[1:]
    except OSError:
        return set()
    ports: set[int] = set()
    for row in rows:
        fields = row.split()
        if fields[3] == LISTEN and fields[9] in inodes:
            ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports
