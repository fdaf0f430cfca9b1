"""One process that calls an application from several threads, without a server or sockets.

`python -m benchmarks.calls APP --threads N --step STEP` imports the application, prepares it, calls
it on every thread until its bytecode is specialised, and writes a line. Then, for each number of
seconds on its standard input, it calls on all threads for that long and writes what it came to.
"""

import argparse
import asyncio
import contextvars
import gc
import importlib
import inspect
import io
import json
import queue
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.steps import STEPS
from nogilserve.runtimes.daemon import daemon

__all__ = ["Caller", "Tally", "caller_of", "load", "main"]

WARM_UP = 300  # calls on each thread before anything is measured
DEADLINE = 30  # seconds for a thread to do what it was told
BATCH = 10  # calls between two looks at the clock

Caller = Callable[[int], None]
"""Calls the application so many times. Owner: the thread that made it."""


class WrongAnswerError(Exception):
    """The application did not answer with 200 and a body."""


class Tally(dict[str, float]):
    """What the threads of one process did.

    `calls`; `cpu`: their processor seconds; `rate`: calls per second; `delayed`: the share of the
    time in which the thread that was worst off could have run but got no processor; `waited`: the
    mean share in which threads neither ran nor could have.
    """


def load(name: str) -> Any:
    """The application at module:attribute."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


@contextmanager
def caller_of(app: Any, path: str) -> Iterator[Caller]:
    """The caller for the calling thread, for the block."""
    target = app if inspect.isfunction(app) else type(app).__call__
    if not inspect.iscoroutinefunction(target):
        yield _wsgi_caller(app, path)
        return
    loop = asyncio.new_event_loop()
    try:
        yield _asgi_caller(app, path, loop)
    finally:
        loop.close()


def _wsgi_caller(app: Any, path: str) -> Caller:
    # Made by this thread, as the server's cores make theirs: a copy of it shares nothing else.
    template: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "HTTP_ACCEPT": "*/*",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": None,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    status = ""

    def start_response(line: str, headers: object, exc_info: object = None) -> Callable[..., None]:
        nonlocal status
        status = line
        return print

    def call(count: int) -> None:
        for _ in range(count):
            environ = template.copy()
            environ["wsgi.input"] = io.BytesIO()
            result = app(environ, start_response)
            body = b"".join(result)
            close = getattr(result, "close", None)
            if close is not None:
                close()
            if not body or not status.startswith("200"):
                raise WrongAnswerError(f"{status} {body[:80]!r}")

    return call


def _asgi_caller(app: Any, path: str, loop: asyncio.AbstractEventLoop) -> Caller:
    raw_path = path.encode()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def once() -> None:
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": raw_path,
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"127.0.0.1:8000"), (b"accept", b"*/*")],
            "client": ("127.0.0.1", 40000),
            "server": ("127.0.0.1", 8000),
            "state": {},
        }
        await app(scope, receive, send)
        if sent[0].get("status") != 200 or not sent[1].get("body"):
            raise WrongAnswerError(repr(sent)[:200])

    async def several(count: int) -> None:
        for _ in range(count):
            # As the server does it: an eager task with a context of its own.
            await asyncio.Task(once(), loop=loop, eager_start=True, context=contextvars.Context())

    def call(count: int) -> None:
        loop.run_until_complete(several(count))

    return call


class _Done(NamedTuple):
    """What one thread did: seconds."""

    calls: int
    cpu: float
    elapsed: float
    delayed: float


class _Threads:
    """Threads that call, each time for so long. Owner: the thread that made it."""

    def __init__(self, app: Any, path: str, count: int) -> None:
        self._app = app
        self._path = path
        self._orders = [queue.SimpleQueue[float | None]() for _ in range(count)]
        self._done: queue.SimpleQueue[_Done | BaseException] = queue.SimpleQueue()
        for number, orders in enumerate(self._orders):
            daemon(partial(self._work, orders), f"caller-{number}").start()
        for _ in self._orders:
            self._take()

    def _work(self, orders: "queue.SimpleQueue[float | None]") -> None:
        try:
            with caller_of(self._app, self._path) as call:
                call(WARM_UP)
                self._done.put(_Done(0, 0.0, 0.0, 0.0))
                while (seconds := orders.get()) is not None:
                    self._done.put(_called(call, seconds))
        except BaseException as exc:
            self._done.put(exc)
            raise

    def _take(self) -> _Done:
        result = self._done.get(timeout=DEADLINE)
        if isinstance(result, BaseException):
            raise result
        return result

    def measure(self, seconds: float) -> Tally:
        """Call on all threads for so long."""
        for orders in self._orders:
            orders.put(seconds)
        done = [self._take() for _ in self._orders]
        return Tally(
            calls=sum(one.calls for one in done),
            cpu=sum(one.cpu for one in done),
            rate=sum(one.calls / one.elapsed for one in done),
            delayed=max(one.delayed / one.elapsed for one in done),
            waited=statistics.fmean(1 - (one.cpu + one.delayed) / one.elapsed for one in done),
        )

    def end(self) -> None:
        """Let the threads end."""
        for orders in self._orders:
            orders.put(None)


def _delayed() -> float:
    """Seconds for which the calling thread has waited for a processor until now."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except OSError:  # not every kernel keeps that account
        return 0.0


def _called(call: Caller, seconds: float) -> _Done:
    count = 0
    delayed = _delayed()
    began, spent = time.monotonic(), time.thread_time()
    while (elapsed := time.monotonic() - began) < seconds:
        call(BATCH)
        count += BATCH
    return _Done(count, time.thread_time() - spent, elapsed, _delayed() - delayed)


@contextmanager
def calling(name: str, path: str, threads: int, step: str) -> Iterator[_Threads]:
    """Threads that have warmed up, with the application prepared."""
    app = load(name)
    path = sys.intern(path)  # immortal: no server shares this string among its threads
    with caller_of(app, path) as call:
        call(WARM_UP)  # what is made by the first requests is prepared too
    gc.collect()
    STEPS[step].prepare()
    crew = _Threads(app, path, threads)
    try:
        yield crew
    finally:
        crew.end()


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="benchmarks.calls", description=__doc__)
    parser.add_argument("app", metavar="APP")
    parser.add_argument("--path", default="/json")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--step", choices=list(STEPS), default="none")
    options = parser.parse_args()
    with calling(options.app, options.path, options.threads, options.step) as crew:
        gil = getattr(sys, "_is_gil_enabled", lambda: True)()
        print(json.dumps({"gil": gil}), flush=True)
        for line in sys.stdin:
            print(json.dumps(crew.measure(float(line))), flush=True)


if __name__ == "__main__":
    main()
