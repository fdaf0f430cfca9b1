"""`python -m stress.overload [--seconds N]`: what is left of the throughput at 4 times capacity.

Capacity is what some connections get that ask again as soon as they are answered. Then four times
as many requests a second are asked for, whatever the answers. Exit status 1 where fewer than 90 %
of what capacity allows are answered with 200.
"""

import argparse
import heapq
import selectors
import socket
from dataclasses import dataclass
from time import monotonic
from typing import Final

from tests.apps.served import Served

__all__ = ["Counted", "ask", "main"]

LEFT: Final = 0.9
TIMES: Final = 4
_REQUEST: Final = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
_BODIES: Final = (b"ok", b"too many requests at once\n")
ARGUMENTS: Final = ["--threads=8", "--workers=2", "--limit-concurrency=16", "--keep-alive=30"]


@dataclass
class Counted:
    """Answers a second, and the 99th of 100 waiting times of those that were served, in seconds."""

    served: float
    refused: float
    p99: float


def ask(address: tuple[str, int], connections: int, rate: float, seconds: float) -> Counted:
    """Ask `rate` times a second; 0: whenever an answer has come."""
    poller = selectors.DefaultSelector()
    free: list[socket.socket] = []
    due: list[float] = []
    sent: dict[socket.socket, float] = {}
    pieces: dict[socket.socket, bytes] = {}
    times: list[float] = []
    refused = 0
    for _ in range(connections):
        sock = socket.create_connection(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poller.register(sock, selectors.EVENT_READ)
        free.append(sock)
        pieces[sock] = b""
    start = monotonic()
    until = start + seconds
    if rate:
        due = [start + number / rate for number in range(int(rate * seconds))]
        heapq.heapify(due)
    while (now := monotonic()) < until:
        while free and (not rate or (due and due[0] <= now)):
            if rate:
                heapq.heappop(due)
            sock = free.pop()
            sent[sock] = now
            sock.sendall(_REQUEST)
        wait = (due[0] if rate and due and free else until) - now
        for key, _ in poller.select(max(wait, 0)):
            sock = key.fileobj  # type: ignore[assignment]
            pieces[sock] += sock.recv(65536)
            if pieces[sock].endswith(_BODIES):
                if pieces[sock].startswith(b"HTTP/1.1 200"):
                    times.append(monotonic() - sent[sock])
                else:
                    refused += 1
                pieces[sock] = b""
                free.append(sock)
    for sock in pieces:
        sock.close()
    poller.close()
    times.sort()
    p99 = times[len(times) * 99 // 100] if times else 0.0
    return Counted(len(times) / seconds, refused / seconds, p99)


def main() -> int:
    """Both kinds of applications, sleeping and computing."""
    parser = argparse.ArgumentParser(prog="python -m stress.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each measurement")
    options = parser.parse_args()
    fine = True
    for interface in ("app", "asgi"):
        for kind in ("sleep", "compute"):
            name = f"stress.overload_app:{interface}"
            with Served(name, *ARGUMENTS, env={"OVERLOAD": kind}) as server:
                ask(server.address, 8, 0, 0.5)
                at_capacity = ask(server.address, 8, 0, options.seconds)
                rate = at_capacity.served * TIMES
                over = ask(server.address, 128, rate, options.seconds)
            left = over.served / at_capacity.served
            fine = fine and left >= LEFT
            print(
                f"{name}, {kind}: capacity {at_capacity.served:.0f}/s, p99 "
                f"{at_capacity.p99 * 1000:.0f} ms; {rate:.0f}/s asked: {over.served:.0f}/s served "
                f"({left:.0%}), p99 {over.p99 * 1000:.0f} ms, {over.refused:.0f}/s refused",
                flush=True,
            )
    return 0 if fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
