"""Applications of known capacity: each request takes 10 ms, of sleep or of computing."""

import asyncio
import hashlib
import os
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

__all__ = ["app", "asgi"]

_SECONDS: Final = 0.01
_COMPUTES: Final = os.environ.get("OVERLOAD") == "compute"


def _compute() -> None:
    until = time.thread_time() + _SECONDS
    while time.thread_time() < until:
        hashlib.sha256(bytes(2000)).digest()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """WSGI."""
    if _COMPUTES:
        _compute()
    else:
        time.sleep(_SECONDS)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


_places: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """ASGI: as if there was a pool of connections to a database."""
    if scope["type"] != "http":
        return
    if _COMPUTES:
        _compute()
    else:
        loop = asyncio.get_running_loop()
        async with _places.setdefault(loop, asyncio.Semaphore(4)):
            await asyncio.sleep(_SECONDS)
    head = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": b"ok"})
