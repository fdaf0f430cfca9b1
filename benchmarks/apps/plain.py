"""A WSGI application without a framework: hello first, everything else by its path."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

__all__ = ["about", "app", "counters", "fib"]

HELLO = b"Hello, World!"
PLAIN = "text/plain; charset=utf-8"

Environ = dict[str, Any]
StartResponse = Callable[..., object]


def about() -> dict[str, object]:
    """What the serving process is: the harness asks before it measures."""
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    return {"gil": gil, "pid": os.getpid(), "python": sys.version, "traced": _traced()}


def _traced() -> int | None:
    """Bytes that Python has allocated, where that is being traced."""
    if not os.environ.get("PYTHONTRACEMALLOC"):
        return None
    import tracemalloc  # subinterpreters refuse it

    return tracemalloc.get_traced_memory()[0]


def counters() -> dict[str, object]:
    """nogilserve's own counters, summed over its cores; empty under another server.

    A diagnosis from inside, with the means of a debugger: it looks for cores in the local
    variables of all threads. Asked for before and after a measurement, never during one.
    """
    module = sys.modules.get("nogilserve.engine.counters")
    if module is None:
        return {}
    blocks: dict[int, Any] = {}
    for frame in _frames():
        for value in frame.f_locals.values():
            block = getattr(value, "counters", None)
            if type(block) is module.Counters:
                blocks[id(block)] = block
    found: dict[str, object] = module.total(blocks.values())
    return found | {"cores": len(blocks)}


def _frames() -> Iterator[FrameType]:
    for innermost in sys._current_frames().values():  # noqa: SLF001
        frame: FrameType | None = innermost
        while frame is not None:
            yield frame
            frame = frame.f_back


def fib(n: int) -> int:
    """The slow way, on purpose: it keeps one processor busy and touches nothing shared."""
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Hello for /; the other routes are measured against the same application object."""
    if environ["PATH_INFO"] == "/":
        start_response("200 OK", [("Content-Type", PLAIN), ("Content-Length", "13")])
        return [HELLO]
    return other(environ, start_response)


def other(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """/echo, /sleep?MILLISECONDS, /fib?N, /about and /counters; 404 for the rest."""
    path = environ["PATH_INFO"]
    query = environ.get("QUERY_STRING", "")
    status, kind = "200 OK", PLAIN
    if path == "/echo":
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        kind = "application/octet-stream"
    elif path == "/sleep":
        time.sleep(int(query) / 1000)
        body = b"slept"
    elif path == "/fib":
        body = str(fib(int(query))).encode()
    elif path == "/about":
        body, kind = json.dumps(about()).encode(), "application/json"
    elif path == "/counters":
        body, kind = json.dumps(counters()).encode(), "application/json"
    else:
        status, body = "404 Not Found", b"no such route"
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]
