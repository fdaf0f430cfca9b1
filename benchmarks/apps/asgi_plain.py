"""An ASGI application without a framework: hello first, everything else by its path.

A WebSocket, whatever its path, gets back what it sends.
"""

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.apps.plain import HELLO, PLAIN, about, counters, fib

__all__ = ["app"]

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", PLAIN.encode()), (b"content-length", b"13")],
}
BODY = {"type": "http.response.body", "body": HELLO}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Hello for /; the other routes are measured against the same application object."""
    if scope["type"] == "http":
        if scope["path"] == "/":
            await send(START)
            await send(BODY)
        else:
            await other(scope, send)
    elif scope["type"] == "websocket":
        await echo(receive, send)
    else:
        await lifespan(receive, send)


async def echo(receive: Receive, send: Send) -> None:
    """Every message back, as what it was."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        data = message.get("bytes")
        if data is not None:
            await send({"type": "websocket.send", "bytes": data})
        else:
            await send({"type": "websocket.send", "text": message["text"]})


async def lifespan(receive: Receive, send: Send) -> None:
    """Nothing to start and nothing to stop; hypercorn and Granian want to be told."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def other(scope: Scope, send: Send) -> None:
    """/about, /counters, /fib?N and /sleep?MILLISECONDS, which blocks the loop; else 404."""
    status, kind = 200, b"application/json"
    query = scope["query_string"]
    if scope["path"] == "/fib":
        body = str(fib(int(query))).encode()
    elif scope["path"] == "/sleep":
        time.sleep(int(query) / 1000)
        body = b"slept"
    elif scope["path"] == "/about":
        body = json.dumps(about()).encode()
    elif scope["path"] == "/counters":
        body = json.dumps(counters()).encode()
    else:
        status, kind, body = 404, PLAIN.encode(), b"no such route"
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
