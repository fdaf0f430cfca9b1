"""Hello and a page of 10 KB, for WSGI and for ASGI."""

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from benchmarks.apps.asgi_plain import lifespan
from benchmarks.apps.plain import HELLO, PLAIN, about

__all__ = ["PAGE", "asgi_app", "wsgi_app"]

PAGE = b"p" * 10240


def _answer(path: str) -> bytes:
    if path == "/page":
        return PAGE
    return json.dumps(about()).encode() if path == "/about" else HELLO


def wsgi_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """As PEP 3333 has it."""
    body = _answer(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", PLAIN), ("Content-Length", str(len(body)))])
    return [body]


async def asgi_app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """As ASGI 3 has it."""
    if scope["type"] != "http":
        await lifespan(receive, send)
        return
    body = _answer(scope["path"])
    headers = [(b"content-type", PLAIN.encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
