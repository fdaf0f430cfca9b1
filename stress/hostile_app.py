"""What the hostile clients and the honest one ask: / at once, /big for 8 MiB, POST to be read."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

__all__ = ["BIG", "app", "asgi"]

BIG: Final = 8 << 20
"""Bytes of the large response."""
_PIECE: Final = 1 << 16


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """WSGI."""
    if environ["PATH_INFO"] == "/big":
        start_response("200 OK", [("Content-Length", str(BIG))])
        return _pieces()
    body = b"%d" % len(environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def _pieces() -> Iterator[bytes]:
    for number in range(BIG // _PIECE):
        yield bytes([number & 255]) * _PIECE


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """ASGI."""
    if scope["type"] != "http":
        return
    if scope["path"] == "/big":
        head = [(b"content-length", b"%d" % BIG)]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        for piece in _pieces():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    size = 0
    while (event := await receive())["type"] == "http.request":
        size += len(event.get("body", b""))
        if not event.get("more_body"):
            break
    body = b"%d" % size
    head = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})
