"""The admin address as a WSGI application."""

import json
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs

from nogilserve.observe.flame import svg
from nogilserve.observe.metrics import render
from nogilserve.observe.status import Processes
from nogilserve.supervise.admin.access import OPEN_PATHS, Access, redacted
from nogilserve.supervise.admin.backend import Answer, Backend
from nogilserve.supervise.admin.feed import Feed, Full
from nogilserve.supervise.admin.page import page
from nogilserve.supervise.admin.scrape import scrape

__all__ = ["AdminApp", "app"]

_NO_METRICS: Final = (
    "The package prometheus-client is not installed: pip install 'nogilserve[metrics]'\n"
)
_LONGEST: Final = 65536
"""Bytes of a request body."""
_COMMANDS: Final = frozenset(
    {"reload", "upgrade", "drain", "stop", "threads", "gc", "log-level", "profile", "memory"}
)
"""What needs the token: it changes something, or costs much."""
_DIGITS: Final = 20
"""Of a number in a query."""
_SLOW: Final = 150.0
"""Seconds for what takes as long as the application does: a reload, a profile."""

_Start = Callable[[str, list[tuple[str, str]]], Any]
_SAFE: Final = [
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
]


class _Refused(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class AdminApp:
    """Any thread: nothing in it changes, and what it uses says itself how."""

    def __init__(self, backend: Backend, access: Access) -> None:
        self._backend = backend
        self._access = access
        self.feed = Feed(backend)

    def __call__(self, environ: dict[str, Any], start: _Start) -> Iterable[bytes]:
        """PEP 3333."""
        try:
            return self._answer(environ, start)
        except _Refused as refused:
            fields = [("WWW-Authenticate", "Bearer")] if refused.status == 401 else []
            return _send(start, refused.status, "text/plain", f"{refused.text}\n", fields)

    def _answer(self, environ: dict[str, Any], start: _Start) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        access = self._access
        if not access.is_called_right(environ):
            raise _Refused(421, "Call this address by its number, or as localhost.")
        if path.startswith("/api/") and path[5:] in _COMMANDS:
            if method != "POST":
                raise _Refused(405, "POST is what this takes.")
            if not access.knows_token(environ):
                raise _Refused(401, "The token is needed: nogilserve status tells it.")
            return self._command(path[5:], environ, start)
        if method not in ("GET", "HEAD"):
            raise _Refused(405, "GET is what this takes.")
        if path == "/":
            html, policy = page()
            return _send(start, 200, "text/html", html, [("Content-Security-Policy", policy)])
        if path not in OPEN_PATHS and not access.may_read(environ):
            raise _Refused(401, "The token is needed: nogilserve status tells it.")
        found = {
            "/metrics": self._metrics,
            "/healthz": self._alive,
            "/readyz": self._ready,
            "/api/events": self._events,
            "/api/status": self._status,
            "/api/look": self._look,
            "/api/stacks": self._stacks,
        }.get(path)
        if found is None:
            raise _Refused(404, "There is nothing here.")
        return found(environ, start)

    # ---- reading

    def _metrics(self, environ: dict[str, Any], start: _Start) -> Iterable[bytes]:
        try:
            body, media = render(scrape(self._backend, Processes()), environ.get("HTTP_ACCEPT", ""))
        except ImportError:
            raise _Refused(501, _NO_METRICS.rstrip()) from None
        start("200 OK", [*_SAFE, ("Content-Type", media), ("Content-Length", str(len(body)))])
        return [body]

    def _alive(self, environ: dict[str, Any], start: _Start) -> Iterable[bytes]:
        alive = self._backend.ask("status").get("ok")
        return _send(start, 200 if alive else 503, "text/plain", "alive\n" if alive else "gone\n")

    def _ready(self, environ: dict[str, Any], start: _Start) -> Iterable[bytes]:
        ready = self._backend.ask("status").get("ready")
        text = "ready\n" if ready else "not ready for new clients\n"
        return _send(start, 200 if ready else 503, "text/plain", text)

    def _events(self, environ: dict[str, Any], start: _Start) -> Iterable[bytes]:
        try:
            events = self.feed.events(trusted=self._access.knows_token(environ))
        except Full:
            raise _Refused(503, "Too many status pages are open; close one.") from None
        start("200 OK", [*_SAFE, ("Content-Type", "text/event-stream")])
        return events

    def _status(self, environ: dict[str, Any], start: _Start) -> Iterable[bytes]:
        return self._tell(environ, start, self._backend.ask("status"))

    def _look(self, environ: dict[str, Any], start: _Start) -> Iterable[bytes]:
        return self._tell(environ, start, self._backend.ask("look"))

    def _stacks(self, environ: dict[str, Any], start: _Start) -> Iterable[bytes]:
        arguments = {}
        for name, values in parse_qs(environ.get("QUERY_STRING", "")).items():
            known = name in ("generation", "thread", "task", "member")
            if not known or not values[0].isdecimal() or len(values[0]) > _DIGITS:
                raise _Refused(400, "generation, thread, task and member are numbers.")
            arguments[name] = int(values[0])
        return self._tell(environ, start, self._backend.ask("stacks", arguments))

    def _tell(self, environ: dict[str, Any], start: _Start, answer: Answer) -> Iterable[bytes]:
        shown = answer if self._access.knows_token(environ) else redacted(answer)
        return _send(start, 200 if answer.get("ok") else 503, "application/json", json.dumps(shown))

    # ---- doing

    def _command(self, name: str, environ: dict[str, Any], start: _Start) -> Iterable[bytes]:
        arguments = _arguments(environ)
        answer = self._backend.ask(name, arguments, _SLOW)
        if name == "profile" and answer.get("ok"):
            return self._flame(answer, arguments, start)
        status = 200 if answer.get("ok") else 409
        return _send(start, status, "application/json", json.dumps(answer))

    def _flame(
        self, answer: Answer, arguments: Mapping[str, Any], start: _Start
    ) -> Iterable[bytes]:
        number, found = next(iter(answer["answers"].items()))
        problems = found.get("problems")
        if problems and not found["folded"]:
            raise _Refused(409, problems[0])
        title = f"Generation {number}, {float(arguments.get('seconds', 0)):g} s"
        drawn = svg(found["folded"], title, interactive=not arguments.get("plain"))
        return _send(start, 200, "image/svg+xml", drawn)


def _arguments(environ: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object that the request carries; none is an empty one."""
    length = environ.get("CONTENT_LENGTH") or "0"
    if int(length) > _LONGEST:
        raise _Refused(413, "That is too long.")
    try:
        found = json.loads(environ["wsgi.input"].read(int(length)) or b"{}")
    except (ValueError, RecursionError):
        raise _Refused(400, "The body is no JSON.") from None
    if not isinstance(found, dict):
        raise _Refused(400, "The body has to be a JSON object.")
    return found


def _send(
    start: _Start,
    status: int,
    kind: str,
    text: str,
    more: Iterable[tuple[str, str]] = (),
) -> list[bytes]:
    body = text.encode()
    fields = [
        *_SAFE,
        ("Content-Type", kind if kind.startswith("image/") else f"{kind}; charset=utf-8"),
        ("Content-Length", str(len(body))),
        *more,
    ]
    start(f"{status} {HTTPStatus(status).phrase}", fields)
    return [body]


app: Any = None
"""What is served; set by whoever serves it."""
