"""What runs the application: runtime, cores and threads."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nogilserve.config.declare import computed, option
from nogilserve.config.kinds import choice, integer

__all__ = ["WORK", "Work", "processors"]

WORK: Final = "Threads and cores"


def processors(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Processors this process may use: affinity and the CPU quota of its container, at least 1."""
    count = os.process_cpu_count() or 1
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return count
    if not (quota.isdigit() and period.isdigit() and int(period)):
        return count
    return max(1, min(count, -(-int(quota) // int(period))))


def _default_threads() -> int:
    return max(16, 4 * processors())


@dataclass(frozen=True)
class Work:
    """The part of Config about what runs the application."""

    threads: int = option(
        computed(_default_threads),
        "--threads",
        integer(1, 4096),
        """Threads that may be inside the application at once, in the whole process. A thread that
        waits for a database costs no processor time.""",
        section=WORK,
        metavar="N",
        default_text="4 for each processor, at least 16 and at least --workers",
    )
    workers: int = option(
        computed(processors),
        "-w --workers",
        integer(1, 1024),
        """Cores: places that read requests, call the application and write responses; not
        processes, and not threads of the application. At most --threads.""",
        section=WORK,
        metavar="N",
        default_text="$WEB_CONCURRENCY, else 1 for each processor; at most --threads",
    )
    runtime: str = option(
        "auto",
        "--runtime",
        choice("auto", "threads", "subinterpreters", "processes"),
        """What carries the cores: threads share one copy of the application, subinterpreters and
        processes have one copy for each core. auto takes threads where the GIL stays off, else
        what this Python and the application can do.""",
        section=WORK,
        metavar="NAME",
    )
    poller: str = option(
        "auto",
        "--poller",
        choice("auto", "epoll", "kqueue", "poll", "select"),
        "How the system is asked which sockets are ready; auto takes the best there is.",
        section=WORK,
        metavar="NAME",
    )
