"""A sampling profiler: where all threads of this interpreter are, looked at many times."""

import threading
from collections import Counter
from time import monotonic, sleep
from typing import Any, Final

from nogilserve.stacks import Place, Stack, stacks, unreadable

__all__ = ["sample"]

_RATE: Final = 97
"""Looks per second, if these are cheap enough; no divisor of what programs do regularly."""
_SHARE: Final = 0.05
"""Of the time, what looking may take at most."""
_MOST: Final = 20000
"""Different stacks that are kept."""
_WAITING: Final = frozenset(
    (
        *("wait", "wait_for", "select", "poll", "accept", "acquire", "join", "run_forever"),
        *("recv", "recv_into", "recv_fds", "_piece", "park", "await_turn", "_worker"),
    )
)
"""Functions in which a thread of the server waits for something to do."""
_SERVER: Final = (
    *("/nogilserve/engine/", "/nogilserve/runtimes/", "/nogilserve/supervise/"),
    *("/nogilserve/observe/", "/nogilserve/prepare/collecting.py", "/nogilserve/tls/"),
    *("/threading.py", "/selectors.py", "/socket.py"),
    *("/concurrent/futures/thread.py", "/asyncio/base_events.py"),
)
_KEEPERS: Final = ("/nogilserve/supervise/", "/engine/scheduler.py")
"""Where threads are that only look after others."""


def sample(seconds: float, stop: threading.Event | None = None) -> dict[str, Any]:
    """Look for that long: {"folded": looks by stack, "samples": looks, "seconds": …}.

    A stack is "thread;function (file:line);…", the outermost call first. Threads of the server that
    wait for work are left out. The calling thread is not looked at.
    """
    folded: Counter[str] = Counter()
    own = threading.get_ident()
    began = now = monotonic()
    looks = 0
    while now < began + seconds and not (stop is not None and stop.is_set()):
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for ident, stack in stacks().items():
            if ident != own and stack and not _idle(stack):
                line = _fold(names.get(ident, "thread"), stack)
                if line in folded or len(folded) < _MOST:
                    folded[line] += 1
        looks += 1
        cost = monotonic() - now
        sleep(max(1 / _RATE - cost, cost * (1 / _SHARE - 1), 0))
        now = monotonic()
    return {
        "folded": dict(folded),
        "samples": looks,
        "seconds": now - began,
        "problems": [problem] if (problem := unreadable()) else [],
    }


def _idle(stack: Stack) -> bool:
    """Whether the thread waits for work in the server's own code, or only looks after others."""
    file = stack[-1][0].replace("\\", "/")
    if any(part in file for part in _KEEPERS):
        return True
    if stack[-1][2].rpartition(".")[2] not in _WAITING:
        return False
    return all(any(part in place[0].replace("\\", "/") for part in _SERVER) for place in stack[-3:])


def _fold(name: str, stack: Stack) -> str:
    return ";".join([name.replace(";", ","), *(_short(place) for place in stack)])


def _short(place: Place) -> str:
    file, line, function = place
    parts = file.replace("\\", "/").rsplit("/", 2)
    return f"{function} ({'/'.join(parts[-2:])}:{line})".replace(";", ",")
