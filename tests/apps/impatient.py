"""Applications with a path that is never answered, where warming up may take some seconds only."""

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any

from nogilserve.prepare import warmup

__all__ = ["asgi", "wsgi"]

warmup._SECONDS = 4.0


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The WSGI application."""
    if environ["PATH_INFO"] == "/never":
        threading.Event().wait()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The ASGI application."""
    assert scope["type"] == "http"
    if scope["path"] == "/never":
        await asyncio.Event().wait()
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})
