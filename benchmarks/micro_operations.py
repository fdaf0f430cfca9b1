"""What `micro` and `guard` measure: the server's own path for one kind of request, bytes in to
bytes out, with memory in place of sockets.

Each operation is in a module that is imported when the operation is made. So against an older
nogilserve, which lacks something, the others can still be measured.
"""

import importlib
from typing import Final

__all__ = ["OPERATIONS", "Operation", "WrongAnswer", "make", "require"]

OPERATIONS: Final = {
    "head of a browser": "micro_protocol:Heads",
    "request line of a browser": "micro_protocol:Lines",
    "small request and response": "micro_protocol:Small",
    "browser's request and response": "micro_protocol:Browser",
    "chunked upload and response": "micro_protocol:Upload",
    "WSGI hello": "micro_threads:Hello",
    "WSGI browser": "micro_threads:Browser",
    "WSGI 10 KB POST": "micro_threads:Post",
    "WSGI 1 MB download": "micro_threads:Download",
    "WSGI chunked streaming": "micro_threads:Stream",
    "WSGI TLS hello": "micro_tls:Hello",
    "WSGI HTTP/2 hello": "micro_http2:Hello",
    "ASGI hello": "micro_loop:Hello",
    "ASGI 10 KB POST": "micro_loop:Post",
    "ASGI chunked streaming": "micro_loop:Stream",
    "WebSocket echo": "micro_loop:Echo",
}
"""Name → module and class."""


class WrongAnswer(Exception):
    """An operation did not do what it is there to measure."""


class Operation:
    """Owner: the thread that made it. Used in turns: `prepare`, `run`, `prepare`, `run`, …"""

    def prepare(self, count: int) -> None:
        """What clients do for the next `count` operations; not measured."""

    def run(self, count: int) -> None:
        """Do it `count` times. Raises WrongAnswer."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what the system has lent."""


def make(name: str) -> Operation:
    """The operation of that name, after it was done a few times. Raises whatever is missing."""
    module, _, kind = OPERATIONS[name].partition(":")
    operation: Operation = getattr(importlib.import_module(f"benchmarks.{module}"), kind)()
    for _ in range(4):
        operation.prepare(8)
        operation.run(8)
    return operation


def require(what: object, answer: bytes) -> None:
    """Raise WrongAnswer unless `what`."""
    if not what:
        raise WrongAnswer(f"answered {answer[:200]!r}")
