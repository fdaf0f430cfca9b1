"""The workloads: what is asked for, from which application, and what the answer must be."""

import functools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.apps import plain

__all__ = ["ASGI_WORKLOADS", "WORKLOADS", "Background", "Workload"]

PLAIN = "benchmarks.apps.plain:app"
FLASK = "benchmarks.apps.flask_json:app"
ASGI_PLAIN = "benchmarks.apps.asgi_plain:app"
FASTAPI = "benchmarks.apps.fastapi_json:app"


@dataclass(frozen=True, slots=True)
class Background:
    """Requests that keep coming while something else is measured."""

    path: str
    connections: int


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of request."""

    name: str
    title: str
    app: str
    path: Callable[[], str]
    check: Callable[[bytes], bool]
    """Whether a body is the right answer; asked before anything is measured."""
    method: str = "GET"
    body_bytes: int = 0
    background: Background | None = None
    min_threads: int = 0
    """Fewer threads than this would make the workload mean something else."""
    requires: str = ""
    """Distribution that the application needs."""
    message_bytes: int = 0
    """Not a request but a WebSocket on which messages of this size are echoed."""

    def threads(self, asked: int) -> int:
        """The thread count it runs with."""
        return max(asked, self.min_threads)


@functools.cache
def _fib_argument(target_ms: float = 1.0) -> int:
    """The n for which `fib(n)` takes nearest to `target_ms` on this machine and interpreter."""
    best, best_distance = 1, target_ms
    for n in range(8, 35):
        spent = min(_seconds_of_fib(n) for _ in range(5)) * 1000
        if abs(spent - target_ms) < best_distance:
            best, best_distance = n, abs(spent - target_ms)
        if spent > target_ms:
            break
    return best


def _seconds_of_fib(n: int) -> float:
    started = time.perf_counter()
    plain.fib(n)
    return time.perf_counter() - started


def _is_json(body: bytes) -> bool:
    document = json.loads(body)
    return document["message"] == "Hello, World!" and len(document["items"]) == 5


def _is_hello(body: bytes) -> bool:
    return body == plain.HELLO


ECHO_BYTES = 10 * 1024
SLOW = Background("/sleep?50", 12)

WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload("hello", "plain WSGI hello", PLAIN, lambda: "/", _is_hello),
        Workload("flask", "Flask JSON", FLASK, lambda: "/json", _is_json, requires="flask"),
        Workload(
            "echo",
            "POST echo of 10 KB",
            PLAIN,
            lambda: "/echo",
            lambda body: body == b"n" * ECHO_BYTES,
            method="POST",
            body_bytes=ECHO_BYTES,
        ),
        Workload(
            "mixed",
            f"hello, while {SLOW.connections} connections keep asking for a 50 ms sleep",
            PLAIN,
            lambda: "/",
            _is_hello,
            background=SLOW,
            min_threads=16,
        ),
        Workload(
            "cpu",
            "CPU-bound, about 1 ms of fib()",
            PLAIN,
            lambda: f"/fib?{_fib_argument()}",
            lambda body: int(body) == plain.fib(_fib_argument()),
        ),
    )
}

ASGI_WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload("hello", "plain ASGI hello", ASGI_PLAIN, lambda: "/", _is_hello),
        Workload("fastapi", "FastAPI JSON", FASTAPI, lambda: "/json", _is_json, requires="fastapi"),
        *(
            Workload(
                name,
                f"WebSocket echo of {size:,} bytes",
                ASGI_PLAIN,
                lambda: "/",
                _is_hello,
                message_bytes=size,
            )
            for name, size in (("ws-64", 64), ("ws-64k", 65536))
        ),
    )
}
