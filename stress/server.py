"""The server of one round, in a process of its own: threads, gateway and sockets as users run them.

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
from dataclasses import dataclass
from time import monotonic
from typing import Any

from nogilserve.engine.settings import Settings
from nogilserve.gateways.wsgi import WsgiGateway
from nogilserve.runtimes.contract import Served
from nogilserve.runtimes.threads import ThreadRuntime
from stress.application import application

STOP_SECONDS = 20.0


@dataclass(frozen=True)
class Listening:
    """A listening socket as the runtime wants it."""

    socket: socket.socket
    server: tuple[str, str]
    role: str = "tls"


def state(runtime: ThreadRuntime) -> dict[str, Any]:
    """What the invariants are about."""
    return runtime.snapshot() | {
        "threads": threading.active_count(),
        "descriptors": len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0,
    }


def main() -> None:
    """`python -m stress.server THREADS CORES POLLER KEEP_ALIVE`"""
    threads, cores, poller, keep_alive = sys.argv[1:]
    faulthandler.enable()
    # The errors on purpose need not be read; what the engine says must be.
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("nogilserve.error").setLevel(logging.CRITICAL)
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        sys.setswitchinterval(1e-5)
    records: list[int] = []
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        listener.setblocking(False)
        settings = Settings(
            threads=int(threads),
            cores=int(cores),
            gateway=lambda: WsgiGateway(application, "stress").run,
            poller=poller,
            keep_alive=float(keep_alive),
            write_timeout=10.0,
            body_timeout=10.0,
            record=lambda record: records.append(record.status),
        )
        host, port = listener.getsockname()
        runtime = ThreadRuntime(settings, Served("stress", "wsgi", "runtime threads"))
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
