"""`micro`: the parser and the response writer without sockets, on one thread and on several.

Every thread has its own connection object and its own tables, as every core has. What they
nevertheless share (reference counts of module constants, of limits, of the application's
strings) shows as a higher cost per operation with two threads than with one.
"""

import argparse
import contextvars
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import report
from benchmarks.machine import conditions
from benchmarks.rounds import say
from nogilserve.messages import Limits
from nogilserve.protocols.http1 import Http1Connection, Tables

__all__ = ["OPERATIONS", "Cost", "measure", "run"]

Operation = Callable[[Http1Connection, int], None]
"""Does its work so many times on a connection that belongs to the calling thread."""

SMALL = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"
BROWSER = (
    b"GET /items/42?page=2&sort=name HTTP/1.1\r\nHost: shop.example.com\r\n"
    b"Connection: keep-alive\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0)\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Language: en-GB,en;q=0.7\r\nAccept-Encoding: gzip, deflate, br\r\n"
    b"Referer: https://shop.example.com/items\r\nCookie: session=0123456789abcdef; theme=dark\r\n"
    b"Cache-Control: max-age=0\r\nUpgrade-Insecure-Requests: 1\r\n\r\n"
)
CHUNKED = (
    b"POST /up HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
)
COMMON = b"Date: Sun, 22 Nov 2026 12:00:00 GMT\r\nServer: nogilserve\r\n"
BODY = b"Hello, World!"


def _respond(connection: Http1Connection) -> None:
    # As an application would: a new list for each response.
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "13")]
    connection.prepare("200 OK", headers)
    connection.whole(BODY, COMMON)


def _requests(wire: bytes) -> Operation:
    def operation(connection: Http1Connection, count: int) -> None:
        for _ in range(count):
            connection.receive_data(bytes(bytearray(wire)))  # its own bytes, as from recv()
            connection.next_request()
            while connection.read_body():
                pass
            _respond(connection)
            connection.next_cycle()

    return operation


OPERATIONS: dict[str, Operation] = {
    "small request and response": _requests(SMALL),
    "browser's request and response": _requests(BROWSER),
    "chunked upload and response": _requests(CHUNKED),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """Nanoseconds of processor time per operation and thread."""

    operation: str
    threads: int
    nanoseconds: float
    """The median of the rounds."""
    lowest: float
    per_second: float
    """Operations per second of all threads together."""


def _own_context() -> dict[str, Any]:
    """A thread would inherit the context of its starter, and its variables would be shared."""
    return {"context": contextvars.Context()} if sys.version_info >= (3, 14) else {}


def measure(operation: Operation, threads: int, seconds: float) -> tuple[float, float]:
    """Nanoseconds of processor time per operation, and operations per second of all threads."""
    ready = threading.Barrier(threads + 1)
    stop: list[bool] = []  # asked for by all threads; empty lists do not contend
    done: list[tuple[int, int]] = []

    def work() -> None:
        connection = Http1Connection(Limits(), Tables())
        operation(connection, 2000)  # until the bytecode is specialised for this thread
        ready.wait(30)
        count, began = 0, time.thread_time_ns()
        while not stop:
            operation(connection, 200)
            count += 200
        done.append((count, time.thread_time_ns() - began))

    workers = [threading.Thread(target=work, **_own_context()) for _ in range(threads)]
    for worker in workers:
        worker.start()
    ready.wait(30)
    began = time.monotonic()
    time.sleep(seconds)
    stop.append(True)
    for worker in workers:
        worker.join()
    elapsed = time.monotonic() - began
    total = sum(count for count, _ in done)
    return sum(spent for _, spent in done) / total, total / elapsed


def _cost(name: str, threads: int, samples: Sequence[tuple[float, float]]) -> Cost:
    times = [sample[0] for sample in samples]
    rate = statistics.median(sample[1] for sample in samples)
    return Cost(name, threads, statistics.median(times), min(times), rate)


def run(options: argparse.Namespace) -> int:
    """Measure every operation with each thread count in alternating rounds."""
    setting = conditions()
    total = len(OPERATIONS) * len(options.threads) * options.rounds * (options.seconds + 0.2)
    say(f"about {total:.0f} s in all")
    samples: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for turn in range(options.rounds):
        for name, operation in OPERATIONS.items():
            for threads in options.threads:
                sample = measure(operation, threads, options.seconds)
                samples.setdefault((name, threads), []).append(sample)
        say(f"round {turn + 1} of {options.rounds} done")
    costs = [_cost(name, threads, found) for (name, threads), found in samples.items()]
    first = {cost.operation: cost for cost in reversed(costs)}
    rows = [
        [
            cost.operation,
            f"{cost.threads}",
            f"{cost.nanoseconds:,.0f}",
            f"{cost.lowest:,.0f}",
            f"{cost.nanoseconds / first[cost.operation].nanoseconds:.2f}",
            f"{cost.per_second:,.0f}",
        ]
        for cost in costs
    ]
    header = ("operation", "threads", "CPU ns", "lowest", "ratio", "operations/s, all threads")
    setting["load_average_after"] = os.getloadavg()
    body = report.table(header, rows)
    text = f"# HTTP/1 protocol without sockets\n\n{report.footer(setting)}\n\n{body}"
    print(text)
    report.save(options, "micro", setting, {"costs": costs}, text, [])
    return 0
