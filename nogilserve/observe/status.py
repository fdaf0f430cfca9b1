"""Memory, processor time and descriptors of processes: from /proc, elsewhere by psutil."""

import importlib.util
import os
from collections.abc import Mapping
from time import monotonic
from typing import Any, Final

__all__ = ["Processes", "children"]

_PROC: Final = os.path.isdir("/proc/self/task")
_TICKS: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_PSUTIL: Final = importlib.util.find_spec("psutil") is not None
_FAMILY: Final = 64
"""Descendants of a process that are looked at."""


class Processes:
    """Looks at processes and remembers their processor time. Owner: one thread at a time."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[float, float]] = {}

    def look(self, pids: Mapping[int, Mapping[str, Any]]) -> list[dict[str, Any]]:
        """One entry per process that is there: "pid", "rss" (bytes), "cpu_seconds", "cpu" (share
        of a processor since the last look), "threads", "fds", and what `pids` says of it."""
        now = monotonic()
        found = []
        seen: dict[int, tuple[float, float]] = {}
        for pid, more in pids.items():
            facts = _of_proc(pid) if _PROC else _of_psutil(pid)
            if facts is None:
                continue
            used = facts["cpu_seconds"]
            then, before = self._before.get(pid, (now, used))
            seen[pid] = now, used
            facts["cpu"] = (used - before) / (now - then) if now > then else 0.0
            found.append({"pid": pid, **more, **facts})
        self._before = seen
        return found


def children(pid: int) -> list[int]:
    """The descendants of a process: the members of a generation, and what an application starts."""
    if not _PROC:
        return []
    found: list[int] = []
    waiting = [pid]
    while waiting and len(found) < _FAMILY:
        try:
            with open(f"/proc/{waiting[0]}/task/{waiting[0]}/children") as file:
                more = [int(number) for number in file.read().split()]
        except (OSError, ValueError):
            more = []
        found += more
        waiting = waiting[1:] + more
    return found


def _of_proc(pid: int) -> dict[str, Any] | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    try:
        files: int | None = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        files = None
    return {
        "cpu_seconds": (int(stat[11]) + int(stat[12])) / _TICKS,
        "threads": int(stat[17]),
        "rss": int(stat[21]) * _PAGE,
        "fds": files,
    }


def _of_psutil(pid: int) -> dict[str, Any] | None:
    if not _PSUTIL:
        return None
    import psutil

    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        files = process.num_fds() if hasattr(process, "num_fds") else None
        return {
            "cpu_seconds": times.user + times.system,
            "threads": process.num_threads(),
            "rss": process.memory_info().rss,
            "fds": files,
        }
    except psutil.Error:
        return None
