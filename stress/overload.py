"""`python -m stress.overload [--seconds N]`: what is left of the throughput at 4 times capacity.

Capacity is what some connections get that ask again as soon as they are answered. Then four times
as many requests a second are asked for, whatever the answers. Both are measured in turn, in short
slices, so that what else the machine does meets both; what counts is the median of the pairs.
Exit status 1 where less than 90 % of the capacity is answered with 200. What computes is judged by
what its server makes of a second of processor: others, the clients too, have the rest of them.
"""

import argparse
import os
import selectors
import socket
from collections import deque
from dataclasses import dataclass
from statistics import median
from time import monotonic, process_time
from typing import Final

from tests.apps.served import Served

__all__ = ["Clients", "Counted", "Pair", "main", "measure"]

LEFT: Final = 0.9
TIMES: Final = 4
SLICE: Final = 0.5
"""Seconds."""
_REQUEST: Final = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
_BODIES: Final = (b"ok", b"too many requests at once\n")
ARGUMENTS: Final = ["--threads=8", "--workers=2", "--keep-alive=30"]
KINDS: Final = [(app, kind) for app in ("app", "asgi") for kind in ("sleep", "compute")]


@dataclass(frozen=True)
class Counted:
    """A slice. Immutable; all but the waiting times in each second."""

    served: float
    refused: float
    p99: float
    """The 99th of 100 waiting times of those that were served, in seconds."""
    cpu: float
    """Seconds of processor that the server took."""
    own: float
    """The same of the clients."""


@dataclass(frozen=True)
class Pair:
    """A slice at capacity, and one with four times as many requests. Immutable."""

    normal: Counted
    over: Counted

    @property
    def left(self) -> float:
        """What is served of what was served before."""
        return self.over.served / self.normal.served

    @property
    def left_by_cpu(self) -> float:
        """The same for a second of the server's processor time."""
        return self.left * self.normal.cpu / self.over.cpu


class Clients:
    """So many connections. They are asked on in turn, so that each loop of the server gets its
    share of the requests, or the one first that was answered last. Owner: the thread that made
    them."""

    def __init__(self, server: Served, connections: int, *, newest: bool) -> None:
        self._newest = newest
        self._stat = f"/proc/{server.serving}/stat"
        self._poller = selectors.DefaultSelector()
        self._free: deque[socket.socket] = deque()
        self._pieces: dict[socket.socket, bytes] = {}
        self._sent: dict[socket.socket, float] = {}
        for _ in range(connections):
            sock = socket.create_connection(server.address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._poller.register(sock, selectors.EVENT_READ)
            self._free.append(sock)
            self._pieces[sock] = b""

    def ask(self, seconds: float, rate: float = 0.0) -> Counted:
        """Ask `rate` times a second; 0: whenever an answer has come."""
        cpu, own, start = self._server_cpu(), process_time(), monotonic()
        due = deque(start + number / rate for number in range(int(rate * seconds)))
        times: list[float] = []
        refused = 0
        while (now := monotonic()) < start + seconds:
            while self._free and (not rate or (due and due[0] <= now)):
                if rate:
                    due.popleft()
                self._send(self._free.pop() if self._newest else self._free.popleft(), now)
            wait = (due[0] if due and self._free else start + seconds) - now
            for taken in self._receive(max(wait, 0)):
                refused += taken is None
                if taken is not None:
                    times.append(taken)
        took = monotonic() - start
        cpu, own = self._server_cpu() - cpu, process_time() - own
        while self._sent:  # the next slice begins with nothing on its way
            self._receive(1.0)
        times.sort()
        p99 = times[len(times) * 99 // 100] if times else 0.0
        return Counted(len(times) / took, refused / took, p99, cpu / took, own / took)

    def _send(self, sock: socket.socket, now: float) -> None:
        self._sent[sock] = now
        sock.sendall(_REQUEST)

    def _receive(self, wait: float) -> list[float | None]:
        """The waiting times of what was answered; None: refused."""
        answered: list[float | None] = []
        for key, _ in self._poller.select(wait):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            data = self._pieces[sock] + sock.recv(65536)
            if not data.endswith(_BODIES):
                self._pieces[sock] = data
                continue
            self._pieces[sock] = b""
            began = self._sent.pop(sock)
            answered.append(monotonic() - began if data.startswith(b"HTTP/1.1 200") else None)
            self._free.append(sock)
        return answered

    def _server_cpu(self) -> float:
        with open(self._stat) as stat:
            ticks = stat.read().rpartition(") ")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """Leave."""
        self._poller.close()
        for sock in self._pieces:
            sock.close()


def measure(server: Served, seconds: float, *, newest: bool = False) -> list[Pair]:
    """Pairs of slices in about that time."""
    few, many = Clients(server, 8, newest=newest), Clients(server, 128, newest=newest)
    few.ask(SLICE)
    pairs = []
    for _ in range(max(round(seconds / SLICE / 2), 1)):
        normal = few.ask(SLICE)
        pairs.append(Pair(normal, many.ask(SLICE, normal.served * TIMES)))
    few.close()
    many.close()
    return pairs


def report(name: str, pairs: list[Pair]) -> str:
    """The medians, in a line."""
    lefts = sorted(pair.left for pair in pairs)
    by_cpu = median(pair.left_by_cpu for pair in pairs)
    return (
        f"{name}: at capacity {_summary([pair.normal for pair in pairs])}; at {TIMES} times that "
        f"{_summary([pair.over for pair in pairs])}; left {median(lefts):.0%} ({lefts[0]:.0%} to "
        f"{lefts[-1]:.0%}), by processor time {by_cpu:.0%}"
    )


def _summary(slices: list[Counted]) -> str:
    served, refused, p99, cpu, own = (
        median(getattr(counted, name) for counted in slices)
        for name in ("served", "refused", "p99", "cpu", "own")
    )
    return (
        f"{served:.0f}/s served and {refused:.0f}/s refused, p99 {p99 * 1000:.0f} ms, "
        f"{cpu:.2f} processors (clients {own:.2f})"
    )


def main() -> int:
    """Both kinds of applications, sleeping and computing."""
    parser = argparse.ArgumentParser(prog="python -m stress.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="for each application")
    parser.add_argument("--limit", type=int, default=16, help="--limit-concurrency")
    parser.add_argument("--only", choices=[f"{app}-{kind}" for app, kind in KINDS])
    parser.add_argument(
        "--newest", action="store_true", help="ask on the connection that was answered last"
    )
    options = parser.parse_args()
    fine = True
    for app, kind in KINDS:
        if options.only not in (None, f"{app}-{kind}"):
            continue
        arguments = [*ARGUMENTS, f"--limit-concurrency={options.limit}"]
        name = f"stress.overload_app:{app}"
        with Served(name, *arguments, env={"OVERLOAD": kind}) as server:
            pairs = measure(server, options.seconds, newest=options.newest)
        computes = kind == "compute"
        left = median(pair.left_by_cpu if computes else pair.left for pair in pairs)
        fine = fine and left >= LEFT
        print(report(f"{name}, {kind}", pairs), flush=True)
    return 0 if fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
