"""Applications that tell how they were prepared: the same paths for WSGI and for ASGI."""

import asyncio
import contextvars
import gc
import json
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

__all__ = ["asgi", "wsgi"]

_lock = threading.Lock()
_asked: list[tuple[str, str]] = []
"""Thread and user agent of each request, under the lock."""
_cycles: set[weakref.ref[Any]] = set()
_kept: list[Any] = []
_removable: dict[str, Any] = {}
VARIABLE: contextvars.ContextVar[object] = contextvars.ContextVar("VARIABLE", default=None)
VARIABLE.set("set while importing")


class _Thing:
    """An object that refers to itself, if it is told to, and can be watched."""

    def __init__(self) -> None:
        self.me: object = None
        self.parts = [{"number": number} for number in range(10)]


_TELL: dict[str, Callable[[object], bool]] = {
    "/deferred": lambda item: sys.getrefcount(item) > 1 << 40,
    "/immortal": getattr(sys, "_is_immortal", lambda _: False),
}
_removable["model"] = _Thing()
_model = weakref.ref(_removable["model"])
_last: list[weakref.ref[Any]] = []


def _answer(path: str, query: dict[str, list[str]], agent: str) -> tuple[int, object]:
    if path == "/seen":
        with _lock:
            return 200, _asked.copy()
    with _lock:
        _asked.append((threading.current_thread().name, agent))
    if path == "/broken":
        raise RuntimeError("broken")
    if path == "/slow":
        time.sleep(float(query["s"][0]))
    elif path == "/collecting":
        return 200, [gc.isenabled(), gc.get_freeze_count(), gc.get_threshold()[0]]
    elif path in ("/cycles", "/keep"):
        for _ in range(int(query["n"][0])):
            thing = _Thing()
            thing.me = thing
            with _lock:
                _cycles.add(weakref.ref(thing, _cycles.discard))
                if path == "/keep":
                    _kept.append(thing)
    elif path == "/left":
        return 200, len(_cycles)
    elif path in ("/remove", "/drop"):
        (_removable if path == "/remove" else _kept).clear()
    elif path == "/collect":
        gc.collect()
    elif path == "/model":
        return 200, _model() is not None
    elif path in ("/deferred", "/immortal"):
        return 200, _TELL[path](_removable)
    elif path == "/context":
        before = str(VARIABLE.get())
        VARIABLE.set(_Thing())
        return 200, before
    elif path not in ("/", "/hello"):
        return 404, "nothing here"
    return 200, "ok"


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The WSGI application."""
    agent = environ.get("HTTP_USER_AGENT", "")
    status, found = _answer(environ["PATH_INFO"], parse_qs(environ["QUERY_STRING"]), agent)
    body = json.dumps(found).encode()
    start_response(f"{status} OK", [("Content-Length", str(len(body)))])
    return [body]


def _keep_in_a_thread() -> object:
    return VARIABLE.get()


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The ASGI application."""
    assert scope["type"] == "http"
    agent = dict(scope["headers"]).get(b"user-agent", b"").decode()
    path = scope["path"].removeprefix("/asgi")
    found: object
    if path == "/to-thread":
        thing = _Thing()
        _last[:] = [weakref.ref(thing)]
        VARIABLE.set(thing)
        status, found = 200, await asyncio.to_thread(_keep_in_a_thread) is thing
        del thing
    elif path == "/kept":
        status, found = 200, _last[0]() is not None
    else:
        query = parse_qs(scope["query_string"].decode())
        status, found = _answer(path, query, agent)
    body = json.dumps(found).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
