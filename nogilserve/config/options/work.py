"""What runs the application: runtime, cores and threads, and how it is prepared."""

import os
import re
from pathlib import Path
from typing import Final

from nogilserve.config.declare import computed, group, option
from nogilserve.config.kinds import Kind, choice, integer

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


_STEPS: Final = ("freeze", "defer", "immortal")
_WARMUP: Final = re.compile(r"([a-z0-9.-]+(:[0-9]+)?)?/[!-~]*")


def _parse_steps(value: str) -> str:
    if value.lower() in ("auto", "none"):
        return value.lower()
    wanted = [name.strip() for name in value.lower().split(",")]
    if not set(wanted) <= set(_STEPS):
        raise ValueError
    return ",".join(name for name in _STEPS if name in wanted)


def _parse_warmup(value: str) -> str:
    if not _WARMUP.fullmatch(value) or value.startswith("//") or "#" in value:
        raise ValueError
    return value


_PREPARE: Final = Kind(
    "auto, none, or some of freeze, defer, immortal, separated by commas", _parse_steps, str
)
_ASK: Final = Kind(
    "a path such as /shop, or a host and a path: example.com/shop", _parse_warmup, str
)


@group
class _Serving:
    """What runs the application."""

    threads: int = option(
        computed(_default_threads),
        "--threads",
        integer(1, 4096),
        """Threads that may be inside a WSGI application at once, in the whole process. A thread
        that waits for a database costs no processor time. For ASGI, each event loop has as many for
        asyncio.to_thread.""",
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


@group
class _Preparing:
    """What is done to the application before it is served, and to its garbage meanwhile."""

    prepare: str = option(
        "auto",
        "--prepare",
        _PREPARE,
        """What is done to objects once the application is started: freeze has garbage collections
        leave them alone; defer has collections find their references, immortal freezes them and
        keeps them for ever, so that threads need not count them (free-threaded CPython 3.14). auto
        does as much of that as this Python can: all three on free-threaded CPython 3.14.""",
        section=WORK,
        metavar="STEP,STEP",
    )
    warmup: tuple[str, ...] = option(
        (),
        "--warmup",
        _ASK,
        """Ask every core for this path some times before accepting, so that the first clients find
        everything ready. Repeatable.""",
        section=WORK,
        metavar="PATH",
        many=True,
    )
    gc: str = option(
        "auto",
        "--gc",
        choice("auto", "default", "idle", "off"),
        """When garbage is collected: default is as Python does, idle in moments without a request
        (and at the latest after a minute), off never. auto is as Python does, but sooner where it
        looks at new objects only (see --prepare freeze).""",
        section=WORK,
        metavar="WHEN",
    )


@group
class Work(_Preparing, _Serving):
    """The part of Config about what runs the application, and how."""
