"""A core whose process may open only one more descriptor; run by a test, in a process of its own.

Prints what happened as JSON: after the limit was hit, and after it was raised again.
"""

import json
import os
import resource
import socket
from contextlib import ExitStack
from time import monotonic

from nogilserve.engine.acceptor import Acceptor
from nogilserve.engine.core import Core
from tests.engine.cores import Listening, make_cores

CLIENTS = 4


def state(core: Core) -> dict[str, object]:
    """What the test wants to know."""
    return {
        "accepted": core.counters.accepted,
        "refused": dict(core.counters.refused),
        "connections": core.connections,
        "turns": core.turns,
        "work": core.has_work(),
    }


def main() -> None:
    """Hit the limit, wait, raise the limit, go on."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.setblocking(False)
        [core] = make_cores(1)
        core.lock.acquire()
        Acceptor(Listening(listener), [core]).start(core)
        assert core.drive(home=False, until=monotonic() + 1)
        for _ in range(CLIENTS):
            stack.enter_context(socket.create_connection(listener.getsockname(), 10))
        lowest_free = os.dup(0)
        os.close(lowest_free)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 1, limits[1]))
        assert core.drive(home=False, until=monotonic() + 1)
        exhausted = state(core)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert core.drive(home=False, until=monotonic() + 1)
        paused = state(core)
        for item in core.wheel.expire(monotonic() + 3):
            item.on_deadline(core)
        assert core.drive(home=False, until=monotonic() + 1)
        print(json.dumps([exhausted, paused, state(core)]))


if __name__ == "__main__":
    main()
