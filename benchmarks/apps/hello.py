"""The same hello for every path, as WSGI and as ASGI."""

from collections.abc import Callable
from typing import Any

__all__ = ["asgi", "wsgi"]

HELLO = b"Hello, World!"
FIELDS = [("Content-Type", "text/plain"), ("Content-Length", "13")]
RAW_FIELDS = [(name.lower().encode(), value.encode()) for name, value in FIELDS]


def wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    """The WSGI application."""
    start_response("200 OK", FIELDS)
    return [HELLO]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The ASGI application; it has no lifespan."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": RAW_FIELDS})
    await send({"type": "http.response.body", "body": HELLO})
