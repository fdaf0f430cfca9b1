"""`micro`: the server's own path without sockets, on one thread and on several.

Every thread has its own connection and its own core. What they
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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import report
from benchmarks.machine import conditions
from benchmarks.micro_operations import make
from benchmarks.rounds import say

__all__ = ["Cost", "measure", "run"]

_AT_ONCE = 200
_WARM_UP = 2000


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


def measure(name: str, threads: int, seconds: float) -> tuple[float, float]:
    """Nanoseconds of processor time per operation, and operations per second of all threads."""
    ready = threading.Barrier(threads + 1)
    stop: list[bool] = []  # asked for by all threads; empty lists do not contend
    done: list[tuple[int, int]] = []

    def work() -> None:
        operation = make(name)
        for _ in range(_WARM_UP // _AT_ONCE):  # the bytecode is specialised for each thread
            operation.prepare(_AT_ONCE)
            operation.run(_AT_ONCE)
        ready.wait(30)
        count = spent = 0
        while not stop:
            operation.prepare(_AT_ONCE)
            began = time.thread_time_ns()
            operation.run(_AT_ONCE)
            spent += time.thread_time_ns() - began
            count += _AT_ONCE
        operation.close()
        done.append((count, spent))

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
    total = (
        len(options.operations) * len(options.threads) * options.rounds * (options.seconds + 0.2)
    )
    say(f"about {total:.0f} s in all")
    samples: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for turn in range(options.rounds):
        for name in options.operations:
            for threads in options.threads:
                sample = measure(name, threads, options.seconds)
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
    text = f"# The server's own path without sockets\n\n{report.footer(setting)}\n\n{body}"
    print(text)
    report.save(options, "micro", setting, {"costs": costs}, text, [])
    return 0
