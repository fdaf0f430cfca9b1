"""`python -m stress.hostile [--connections N] [--seconds N] [--app wsgi|asgi]`: clients that hold
on to what they can get, and one honest client among them, whose waiting times are what counts.

Exit status 1 if the honest client was not served within 50 ms in 99 of 100 cases, if memory grew by
more than `MEMORY`, or if anything was left when the hostile ones had gone.
"""

import argparse
import contextlib
import random
import selectors
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from statistics import quantiles
from time import monotonic
from typing import Final

from tests.apps.served import Served
from tests.support.waiting import wait_until
from tests.support.wire import Client

__all__ = ["APPS", "KINDS", "Siege", "Verdict", "besiege"]

APPS: Final = {"wsgi": "stress.hostile_app:app", "asgi": "stress.hostile_app:asgi"}
TARGET: Final = 0.05
"""Seconds: the p99 of the honest client."""
MEMORY: Final = 256 << 20
"""Bytes that a thousand hostile connections may cost: a quarter of a MiB each."""
_PAUSE: Final = 0.005
"""Seconds between two honest requests."""
_STEP: Final = 1.0
"""Seconds between two steps of a hostile connection."""
_ARRIVE: Final = 0.25
"""Of the time of a siege: in it all hostile connections arrive, evenly."""
_LAZY: Final = 4
"""Descriptors that event loops open when they are first needed, and keep."""

Address = tuple[str, int]


class Hostile:
    """One hostile connection after the other. Owner: the siege's thread."""

    def __init__(self, kind: str, address: Address, delay: float) -> None:
        """`delay`: seconds until it connects."""
        self.kind = kind
        self.due = monotonic() + delay
        self._address = address
        self._sock: socket.socket | None = None
        self._steps = 0
        self.opened = 0

    def step(self, now: float) -> None:
        """Do a little harm."""
        self.due = now + _STEP
        try:
            if self._sock is None:
                self._open()
            else:
                self._steps += 1
                KINDS[self.kind](self, self._sock, self._steps)
        except BlockingIOError:
            pass
        except OSError:
            self.close()  # the server had enough; next time there is a new one

    def _open(self) -> None:
        sock = socket.socket()
        if self.kind in ("slow reader", "reset"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.connect(self._address)
        self._sock, self._steps = sock, 0
        self.opened += 1

    def close(self, *, reset: bool = False) -> None:
        """Give it up."""
        if self._sock is not None:
            if reset:
                linger = struct.pack("ii", 1, 0)
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._sock.close()
            self._sock = None

    # ---- kinds: each is called about once a second, on a connected socket

    def slow_head(self, sock: socket.socket, step: int) -> None:
        """A head without end, a few bytes at a time."""
        sock.send(b"GET / HTTP/1.1\r\nHost: a\r\n" if step == 1 else b"X: a\r\n")
        self._hear(sock)

    def slow_body(self, sock: socket.socket, step: int) -> None:
        """A body that comes byte by byte."""
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
        sock.send(head if step == 1 else b"x")
        self._hear(sock)

    def slow_reader(self, sock: socket.socket, step: int) -> None:
        """8 MiB that nobody reads, or hardly."""
        if step == 1:
            sock.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        elif not sock.recv(512):
            self.close()

    def idle(self, sock: socket.socket, step: int) -> None:
        """Nothing at all."""
        self._hear(sock)

    def half_closed(self, sock: socket.socket, step: int) -> None:
        """Something, then the end of one direction, and the other one not read."""
        if step == 1:
            sock.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
            sock.shutdown(socket.SHUT_WR)
        elif step > 8:
            self.close()

    def reset(self, sock: socket.socket, step: int) -> None:
        """Gone with a reset in the middle of the response."""
        if step == 1:
            sock.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        else:
            sock.recv(4096)
            self.close(reset=True)

    def _hear(self, sock: socket.socket) -> None:
        """Look whether the server has closed."""
        if not sock.recv(4096):
            self.close()


KINDS: Final[dict[str, Callable[[Hostile, socket.socket, int], None]]] = {
    "slow head": Hostile.slow_head,
    "slow body": Hostile.slow_body,
    "slow reader": Hostile.slow_reader,
    "idle": Hostile.idle,
    "half-closed": Hostile.half_closed,
    "reset": Hostile.reset,
}


class Siege:
    """All hostile connections, driven by a thread of their own until `end`."""

    def __init__(self, address: Address, connections: int, arrive: float, seed: str) -> None:
        """`arrive`: seconds in which they all come."""
        dice = random.Random(seed)
        names = list(KINDS)
        self._all = [
            Hostile(names[n % len(names)], address, dice.random() * arrive)
            for n in range(connections)
        ]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="siege")
        self._thread.start()

    def _run(self) -> None:
        waiting = selectors.DefaultSelector()  # only to wait with a precise timeout
        with waiting:
            while not self._over.is_set():
                now = monotonic()
                for hostile in self._all:
                    if hostile.due <= now:
                        hostile.step(now)
                waiting.select(0.01)
        for hostile in self._all:
            hostile.close()

    @property
    def opened(self) -> int:
        """Connections so far."""
        return sum(hostile.opened for hostile in self._all)

    def end(self) -> None:
        """All leave."""
        self._over.set()
        self._thread.join()


@dataclass(frozen=True)
class Verdict:
    """What came of it. Seconds and bytes."""

    opened: int
    asked: int
    median: float
    p99: float
    longest: float
    memory_before: int
    memory_most: int
    memory_after: int

    def __str__(self) -> str:
        mib = 1 << 20
        return (
            f"{self.opened} hostile connections; {self.asked} honest requests: median "
            f"{self.median * 1000:.1f} ms, p99 {self.p99 * 1000:.1f} ms, longest "
            f"{self.longest * 1000:.1f} ms; memory {self.memory_before / mib:.0f} MiB before, at "
            f"most {self.memory_most / mib:.0f} MiB, {self.memory_after / mib:.0f} MiB after"
        )


def besiege(server: Served, connections: int, seconds: float, seed: str = "0") -> Verdict:
    """Besiege a server; AssertionError where the honest client is failed, or something stays."""
    times: list[float] = []
    pause = threading.Event()
    with server.connect() as client:
        for _ in range(50):
            assert client.get("/").status == 200
    before, descriptors, threads = server.memory(), server.descriptors(), server.threads()
    most = before
    siege = Siege(server.address, connections, seconds * _ARRIVE, seed)
    try:
        until, look = monotonic() + seconds, 0.0
        with server.connect() as client:
            while (began := monotonic()) < until:
                answer = client.get("/")
                times.append(monotonic() - began)
                assert (answer.status, answer.body) == (200, b"0")
                if began > look:
                    look = began + 0.5
                    most = max(most, server.memory())
                pause.wait(_PAUSE)
    finally:
        siege.end()
    _nothing_stays(server, len(descriptors), threads)
    cuts = quantiles(times, n=100)
    return Verdict(
        siege.opened, len(times), cuts[49], cuts[98], max(times), before, most, server.memory()
    )


def _nothing_stays(server: Served, descriptors: int, threads: int) -> None:
    """Everything that was theirs is given back, and whoever comes next is served at once."""
    wait_until(lambda: len(server.descriptors()) <= descriptors + _LAZY, 30.0)
    wait_until(lambda: server.threads() <= threads, 10.0)
    with Client(server.address) as client:
        assert client.get("/").status == 200


def main() -> int:
    """Both applications; exit status 1 if either does not stand it."""
    parser = argparse.ArgumentParser(prog="python -m stress.hostile", description=__doc__)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each application")
    parser.add_argument("--app", choices=[*APPS], action="append", help="default: both")
    parser.add_argument("--seed", default="0")
    parser.add_argument("server", nargs="*", help="further arguments of nogilserve, behind --")
    options = parser.parse_args()
    fine = True
    for name in options.app or APPS:
        with Served(APPS[name], *options.server) as server:
            verdict = besiege(server, options.connections, options.seconds, options.seed)
        good = verdict.p99 < TARGET and verdict.memory_most - verdict.memory_before < MEMORY
        print(f"{name}: {'fine' if good else 'NOT FINE'}: {verdict}", flush=True)
        fine = fine and good and "Traceback" not in server.log
    return 0 if fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
