"""Applications whose responses are to be compressed: WSGI, and the same for ASGI."""

import asyncio
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

HTML = ("text/html; charset=utf-8", b"<p>hello again</p>" * 2000)
BODIES = {
    "/html": HTML,
    "/tiny": ("text/html", b"<p>hello</p>"),
    "/image": ("image/png", b"pixels" * 2000),
    "/page": HTML,
    "/coded": ("text/html", b"coded" * 2000),
    "/untouched": HTML,
    "/part": HTML,
}
EXTRA: dict[str, list[tuple[str, str]]] = {
    "/coded": [("Content-Encoding", "x-own")],
    "/untouched": [("Cache-Control", "public, no-transform")],
    "/part": [("Content-Range", "bytes 0-9/99")],
    "/page": [("ETag", '"v1"'), ("Vary", "Cookie"), ("Accept-Ranges", "bytes")],
}
GO = threading.Event()
FILE = Path(__file__)


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answers by path."""
    path = environ["PATH_INFO"]
    if path == "/go":
        GO.set()
        start_response("204 No Content", [("Content-Type", "text/html")])
        return []
    if path == "/events":
        GO.clear()
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return events()
    if path == "/file":
        length = str(FILE.stat().st_size)
        start_response("200 OK", [("Content-Type", "text/x-python"), ("Content-Length", length)])
        wrapper: Iterable[bytes] = environ["wsgi.file_wrapper"](FILE.open("rb"))
        return wrapper
    if path in {"/short", "/long"}:
        length = "900" if path == "/short" else "600"
        start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", length)])
        return iter([b"x" * 350, b"y" * 350])
    kind, body = BODIES[path]
    status = "206 Partial Content" if path == "/part" else "200 OK"
    length_field = ("Content-Length", str(len(body)))
    start_response(status, [("Content-Type", kind), length_field, *EXTRA.get(path, [])])
    return [body]


def events() -> Iterable[bytes]:
    """One event, and the second when somebody has seen the first."""
    yield b"data: first\n\n"
    assert GO.wait(10)
    yield b"data: second\n\n"


async def asgi(
    scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
) -> None:
    """The same."""
    assert scope["type"] == "http"
    path = scope["path"]

    async def start(status: int, *headers: tuple[str, str]) -> None:
        encoded = [(name.lower().encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": status, "headers": encoded})

    async def body(data: bytes, *, more: bool = False) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": more})

    if path == "/go":
        GO.set()
        await start(204, ("Content-Type", "text/html"))
        await body(b"")
    elif path == "/events":
        GO.clear()
        await start(200, ("Content-Type", "text/event-stream"))
        await body(b"data: first\n\n", more=True)
        assert await asyncio.to_thread(GO.wait, 10)
        await body(b"data: second\n\n")
    elif path == "/file":
        await start(200, ("Content-Type", "text/x-python"))
        await send({"type": "http.response.pathsend", "path": str(FILE)})
    elif path in {"/short", "/long"}:
        length = "900" if path == "/short" else "600"
        await start(200, ("Content-Type", "text/html"), ("Content-Length", length))
        await body(b"x" * 350, more=True)
        await body(b"y" * 350)
    else:
        kind, data = BODIES[path]
        status = 206 if path == "/part" else 200
        length = str(len(data))
        headers = [("Content-Type", kind), ("Content-Length", length), *EXTRA.get(path, [])]
        await start(status, *headers)
        await body(data)
