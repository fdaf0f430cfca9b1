"""The server of one round, in a process of its own: engine, gateway and sockets as users run them.

It obeys lines on standard input and answers each with a line of JSON: `state`, `stacks`
(of all threads, to standard error), `stop`.
"""

import faulthandler
import json
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from nogilserve.engine.loop.core import LoopSettings
from nogilserve.engine.settings import Settings
from nogilserve.gateways.wsgi import WsgiGateway
from nogilserve.messages import RequestRecord
from nogilserve.runtimes.contract import Served
from nogilserve.runtimes.eventloops import loop_factory
from nogilserve.runtimes.loops import LoopOptions, LoopRuntime
from nogilserve.runtimes.threads import ThreadRuntime
from stress.application import application, asgi

STOP_SECONDS = 20.0


@dataclass(frozen=True)
class Listening:
    """A listening socket as the runtime wants it."""

    socket: socket.socket
    server: tuple[str, str]
    role: str = "tls"


def on_threads(shape: Sequence[str], note: Callable[[RequestRecord], None]) -> ThreadRuntime:
    """The thread runtime."""
    threads, cores, poller, keep_alive = shape
    settings = Settings(
        threads=int(threads),
        cores=int(cores),
        gateway=lambda: WsgiGateway(application, "stress").run,
        poller=poller,
        keep_alive=float(keep_alive),
        write_timeout=10.0,
        body_timeout=10.0,
        record=note,
    )
    return ThreadRuntime(settings, Served("stress", "wsgi", "runtime threads"))


def on_loops(shape: Sequence[str], note: Callable[[RequestRecord], None]) -> LoopRuntime:
    """The runtime of event loops, as many as the other one has cores."""
    threads, cores, poller, keep_alive = shape
    settings = LoopSettings(
        keep_alive=float(keep_alive), write_timeout=10.0, body_timeout=10.0, record=note
    )
    name, make = loop_factory("auto" if int(threads) % 2 else "asyncio", poller)
    options = LoopOptions(
        settings,
        make_loop=make,
        loop_name=name,
        loops=int(cores),
        find_bound=lambda _: [],
        lifespan="off",
        threads=int(threads),
        poller=poller,
        late=0.0,
    )
    return LoopRuntime(asgi, Served("stress", "asgi", "runtime threads"), options)


def state(runtime: Any) -> dict[str, Any]:
    """What the invariants are about."""
    seen: dict[str, Any] = runtime.snapshot()
    folder = "/proc/self/fd"
    return seen | {
        "threads": threading.active_count(),
        "descriptors": len(os.listdir(folder)) if os.path.isdir(folder) else 0,
    }


def main() -> None:
    """`python -m stress.server wsgi|asgi THREADS CORES POLLER KEEP_ALIVE`"""
    engine, *shape = sys.argv[1:]
    faulthandler.enable()
    # The errors on purpose need not be read; what the engine says must be.
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("nogilserve.error").setLevel(logging.CRITICAL)
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        sys.setswitchinterval(1e-5)
    records: list[int] = []
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        listener.setblocking(False)
        build = on_threads if engine == "wsgi" else on_loops
        runtime = build(shape, lambda record: records.append(record.status))
        host, port = listener.getsockname()
        runtime.start([Listening(listener, (host, str(port)))])
        print(json.dumps({"port": port} | state(runtime)), flush=True)
        for line in sys.stdin:
            answer = state(runtime)
            if line == "stacks\n":
                runtime.dump_stacks()
            elif line == "stop\n":
                runtime.drain()
                ended = runtime.join(monotonic() + STOP_SECONDS)
                if not ended:
                    runtime.dump_stacks()
                answer = runtime.snapshot() | {"ended": ended, "records": len(records)}
            print(json.dumps(answer), flush=True)
            if line == "stop\n":
                break
    os._exit(0)  # threads that did not end must not keep the process


if __name__ == "__main__":
    main()
