"""`idle` and `memory`: what a server costs while nobody asks for anything.

`idle` counts the wake-ups of a server without work. `memory` opens many keep-alive connections
that do nothing after their first request, and looks at what they cost: memory of the process
(PSS), memory of Python alone (tracemalloc, in a run of its own because tracing slows), and
whether the others get slower.
"""

import argparse
import json
import resource
import select
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks import procs, report, wrk
from benchmarks.machine import conditions
from benchmarks.rounds import say
from benchmarks.servers import Contestant, choose
from benchmarks.trial import Measurement, Running, TrialError, get, measure, serve
from benchmarks.workloads import WORKLOADS

__all__ = [
    "Crowd",
    "Idle",
    "crowd_cost",
    "idle_connections",
    "run_idle",
    "run_memory",
    "wake_ups",
]

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
PER_SOURCE = 4000  # connections from one 127.0.0.x address: its ports must never run out
SETTLE = 1.5  # seconds after which one-off work is over
SPARE_FILES = 200


@dataclass(frozen=True, slots=True)
class Idle:
    """Wake-ups of a server without work."""

    contestant: str
    seconds: float
    threads: int
    wake_ups_per_second: float
    """Voluntary context switches of all threads of all its processes."""
    cpu_ms_per_second: float


@dataclass(frozen=True, slots=True)
class Crowd:
    """What a crowd of idle connections costs."""

    contestant: str
    connections: int
    lost: int
    """Connections that the server closed although they were within their keep-alive time."""
    pss_per_connection: float
    """Bytes of the process (Python, C and page rounding; without the kernel's sockets)."""
    python_per_connection: float
    """Bytes that Python's allocators count (tracemalloc)."""
    alone: list[Measurement]
    """Hello for others without the crowd, before and after it."""
    crowded: list[Measurement]
    """Hello for others beside it."""

    def cpu_ratio(self) -> float:
        """Processor time per request beside the crowd, relative to without it."""
        return _middle(self.crowded, "cpu_us") / _middle(self.alone, "cpu_us")

    def rate_ratio(self) -> float:
        """Requests per second beside the crowd, relative to without it."""
        return _middle(self.crowded, "rate") / _middle(self.alone, "rate")


def _middle(trials: Sequence[Measurement], field: str) -> float:
    values: list[float] = [getattr(trial, field) for trial in trials]
    return statistics.median(values)


def wake_ups(contestant: Contestant, seconds: float) -> Idle:
    """Start a server, ask once, then watch it for `seconds`."""
    with serve(contestant) as running:
        get(running.port, "/")
        time.sleep(SETTLE)
        pids = running.pids()
        before, cpu, started = procs.switches(pids), procs.cpu_seconds(pids), time.monotonic()
        time.sleep(seconds)
        elapsed = time.monotonic() - started
        pids = running.pids()
        switched = procs.switches(pids) - before
        spent = procs.cpu_seconds(pids) - cpu
        return Idle(
            contestant.label,
            elapsed,
            procs.threads(pids),
            switched.voluntary / elapsed,
            spent / elapsed * 1000,
        )


def raise_file_limit(wanted: int) -> None:
    """Allow `wanted` descriptors here and in servers started from now on.

    TrialError when the hard limit is below it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise TrialError(
            f"the limit on open files is {hard}, {wanted} are needed: raise it with"
            f" `ulimit -Hn {wanted}` or choose fewer with --connections"
        )
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _connect(port: int, number: int) -> socket.socket:
    """A connection that had one answer; OSError when it did not get it."""
    source = f"127.0.0.{2 + number // PER_SOURCE % 250}"
    connection = socket.create_connection(("127.0.0.1", port), 10, (source, 0))
    answer = b""
    try:
        connection.sendall(REQUEST)
        while not answer.endswith(b"Hello, World!"):
            data = connection.recv(4096)
            if not data:
                raise OSError(f"closed after {answer!r}")
            answer += data
    except OSError:
        connection.close()
        raise
    return connection


@contextmanager
def idle_connections(port: int, count: int) -> Iterator[list[socket.socket]]:
    """`count` connections that had one request and now say nothing; TrialError on refusal."""
    connections: list[socket.socket] = []
    try:
        for number in range(count):
            try:
                connections.append(_connect(port, number))
            except OSError as exc:
                raise TrialError(f"connection {number + 1} of {count} failed: {exc!r}") from exc
        yield connections
    finally:
        for connection in connections:
            connection.close()


def _count_closed(connections: list[socket.socket]) -> int:
    """How many of them the server has closed (or sent something on) by now."""
    poller = select.poll()
    for connection in connections:
        poller.register(connection, select.POLLIN)
    return len(poller.poll(0))


def _patient(contestant: Contestant, count: int) -> tuple[str, ...]:
    """Options that let `count` connections stay for the length of the measurement."""
    if contestant.server.name == "nogilserve":
        return ("--keep-alive", "600")
    if "granian" in contestant.server.requires:
        return ("--backpressure", str(count + 1000))
    return ()


def _hello(running: Running, contestant: Contestant, seconds: int) -> Measurement:
    load = wrk.Load(running.url("/"), 64, seconds)
    return measure(running, contestant, WORKLOADS["hello"], load)


def _traced(running: Running) -> int:
    """Bytes that Python's allocators count, as the server itself says."""
    return int(json.loads(get(running.port, "/about")[1])["traced"])


def _python_growth(contestant: Contestant, count: int) -> float:
    extra = _patient(contestant, count)
    with serve(contestant, extra=extra, environ={"PYTHONTRACEMALLOC": "1"}) as running:
        for number in range(64):  # whatever is made on first use is made now
            _connect(running.port, number).close()
        before = _traced(running)
        with idle_connections(running.port, count):
            time.sleep(SETTLE)
            return (_traced(running) - before) / count


def crowd_cost(contestant: Contestant, count: int, seconds: int, rounds: int) -> Crowd:
    """Measure a server without and with `count` idle connections, in turn."""
    raise_file_limit(count + SPARE_FILES)
    growth, lost = [], 0
    alone: list[Measurement] = []
    crowded: list[Measurement] = []
    with serve(contestant, extra=_patient(contestant, count)) as running:
        wrk.run(wrk.Load(running.url("/"), 64, 1))
        for _ in range(rounds):
            alone.append(_hello(running, contestant, seconds))
            before = procs.pss_bytes(running.pids())
            with idle_connections(running.port, count) as connections:
                time.sleep(SETTLE)
                growth.append((procs.pss_bytes(running.pids()) - before) / count)
                crowded.append(_hello(running, contestant, seconds))
                lost += _count_closed(connections)
            time.sleep(SETTLE)
        alone.append(_hello(running, contestant, seconds))
    # Only the first crowd is new to the process; later ones find its memory free again.
    python = _python_growth(contestant, count)
    return Crowd(contestant.label, count, lost, growth[0], python, alone, crowded)


def run_idle(options: argparse.Namespace) -> int:
    """`idle`: wake-ups of each server, one after the other (they are not compared in time)."""
    setting = conditions()
    contestants, skipped = choose(options.servers, options.threads)
    say("\n".join([*skipped, f"{len(contestants)} servers, {options.duration} s each"]))
    found: list[Idle] = []
    for contestant in contestants:
        try:
            found.append(wake_ups(contestant, options.duration))
        except TrialError as exc:
            skipped.append(f"{contestant.label} failed: {exc}")
            say(skipped[-1])
            continue
        say(f"{contestant.label}: {found[-1].wake_ups_per_second:.2f} wake-ups per second")
    rows = [
        [
            row.contestant,
            f"{row.threads}",
            f"{row.wake_ups_per_second:.2f}",
            f"{row.cpu_ms_per_second:.3f}",
        ]
        for row in found
    ]
    body = report.table(("server", "threads", "wake-ups/s", "CPU ms/s"), rows)
    text = "\n".join([f"# Idle\n\n{report.footer(setting)}\n", body, "", *skipped])
    print(text)
    report.save(options, "idle", setting, {"idle": found, "skipped": skipped}, text, [])
    return 0 if found else 1


def run_memory(options: argparse.Namespace) -> int:
    """`memory`: what idle connections cost each server."""
    setting = conditions()
    contestants, skipped = choose(options.servers, options.threads)
    one = options.rounds * (2 * options.duration + 8) + 10
    say("\n".join([*skipped, f"{len(contestants)} servers, about {one} s each"]))
    found: list[Crowd] = []
    for contestant in contestants:
        try:
            found.append(
                crowd_cost(contestant, options.idle_connections, options.duration, options.rounds)
            )
        except (TrialError, OSError) as exc:
            skipped.append(f"{contestant.label} failed: {exc}")
            say(skipped[-1])
    rows = [
        [
            row.contestant,
            f"{row.connections:,}",
            f"{row.lost}",
            f"{row.python_per_connection:,.0f}",
            f"{row.pss_per_connection:,.0f}",
            f"{row.rate_ratio():.2f}",
            f"{row.cpu_ratio():.2f}",
        ]
        for row in found
    ]
    header = ("server", "idle", "lost", "Python bytes each", "PSS bytes each")
    body = report.table((*header, "req/s with/without", "CPU with/without"), rows)
    text = "\n".join([f"# Idle connections\n\n{report.footer(setting)}\n", body, "", *skipped])
    print(text)
    report.save(options, "memory", setting, {"memory": found, "skipped": skipped}, text, [])
    return 0 if found else 1
