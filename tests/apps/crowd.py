"""Applications that hold requests until the test lets them go: /hold/PORT waits for a byte from
whoever listens there, everything else answers at once."""

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Any


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """WSGI."""
    _, kind, *rest = environ["PATH_INFO"].split("/")
    if kind == "hold":
        with socket.create_connection(("127.0.0.1", int(rest[0]))) as gate:
            gate.recv(1)
    body = b"%d" % len(environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """ASGI."""
    if scope["type"] == "lifespan":
        return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        return
    _, kind, *rest = scope["path"].split("/")
    if kind == "hold":
        reader, writer = await asyncio.open_connection("127.0.0.1", int(rest[0]))
        await reader.read(1)
        writer.close()
    size = 0
    while (event := await receive())["type"] == "http.request":
        size += len(event.get("body", b""))
        if not event.get("more_body"):
            break
    body = b"%d" % size
    head = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})
