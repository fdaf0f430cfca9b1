"""`python -m benchmarks.watching`: what it costs to watch a server, per request and while idle.

For each set of options a server is started, asked without pause over one connection for some
seconds, and its processor time (of the generation) divided by the requests. Then it is left
alone, with and without an open status page.
"""

import argparse
import http.client
import os
import socket
import sys
import threading
import time
from collections.abc import Sequence

from tests.support.server import Server, children_of

__all__ = ["main"]

TOKEN = "a-token-for-measuring"
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
AT_ONCE = 16
TICKS = os.sysconf("SC_CLK_TCK")

VARIANTS: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "--admin": ("--admin", "127.0.0.1:0", "--admin-token", TOKEN),
    "--admin, two --metrics-route": (
        *("--admin", "127.0.0.1:0", "--admin-token", TOKEN),
        *("--metrics-route", "/api", "--metrics-route", "/static"),
    ),
    "--slow 1s": ("--slow", "1s"),
    "--request-id": ("--request-id",),
    "--access-log": ("--access-log", "/dev/null"),
    "--access-log, --admin": (
        *("--access-log", "/dev/null", "--admin", "127.0.0.1:0", "--admin-token", TOKEN),
    ),
    "--trace (no SDK)": ("--trace",),
}


def used(pid: int) -> float:
    """Seconds of processor time of a process."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        stat = file.read().rpartition(b")")[2].split()
    return (int(stat[11]) + int(stat[12])) / TICKS


def load(port: int, seconds: float) -> int:
    """Ask for that long; the number of answers."""
    answers = 0
    until = time.monotonic() + seconds
    with socket.create_connection(("127.0.0.1", port)) as sock:
        while time.monotonic() < until:
            sock.sendall(REQUEST * AT_ONCE)
            got = 0
            while got < AT_ONCE:
                got += sock.recv(1 << 20).count(b"HTTP/1.1 200")
            answers += got
    return answers


def per_request(app: str, options: Sequence[str], seconds: float) -> float:
    """Microseconds of processor time of the generation for one request."""
    with Server(app, "--threads", "2", "--workers", "1", *options) as server:
        pid = min(server.generations())
        load(server.port, seconds / 4)
        before = used(pid)
        answers = load(server.port, seconds)
        return (used(pid) - before) / answers * 1e6


def idle(app: str, seconds: float, *, watched: bool) -> dict[str, float]:
    """Shares of a processor that master, generation and admin process take while nothing is asked,
    with the status page open if `watched`."""
    options = ("--admin", "127.0.0.1:0", "--admin-token", TOKEN)
    with Server(app, "--threads", "16", *options) as server:
        port = int(server.wait_log(r"Status page at http://127\.0\.0\.1:(\d+)/")[1])
        connection = http.client.HTTPConnection("127.0.0.1", port)
        if watched:
            connection.request("GET", "/api/events", headers={"Authorization": f"Bearer {TOKEN}"})
            response = connection.getresponse()
            reader = threading.Thread(target=lambda: list(response), daemon=True)
            reader.start()
        time.sleep(2)
        pids = dict(zip(("generation", "admin"), sorted(children_of(server.pid)), strict=False))
        pids["master"] = server.pid
        before = {name: used(pid) for name, pid in pids.items()}
        time.sleep(seconds)
        shares = {name: (used(pid) - before[name]) / seconds for name, pid in pids.items()}
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
        return shares


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watching", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--app", default="benchmarks.apps.plain:app")
    given = parser.parse_args(argv)
    for name, options in VARIANTS.items():
        best = min(per_request(given.app, options, given.seconds) for _ in range(given.rounds))
        print(f"{name:<32} {best:6.2f} µs of processor time per request", flush=True)
    for watched in (False, True):
        shares = idle(given.app, 3 * given.seconds, watched=watched)
        text = ", ".join(f"{name} {100 * share:.2f} %" for name, share in shares.items())
        print(f"idle, status page {'open' if watched else 'closed'}: {text}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
