"""The same for ASGI: tells which copy answers; its lifespan can be told to fail."""

import asyncio
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

__all__ = ["make"]


def make(copy: str) -> Callable[[Message, Receive, Send], Awaitable[None]]:
    """An application that answers with `copy`."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        if scope["path"] == "/sleep":
            await asyncio.sleep(float(scope["query_string"] or 1))
        body = copy.encode()
        fields = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    return app


async def lifespan(receive: Receive, send: Send) -> None:
    """Start-up fails where MEMBERS_LIFESPAN says so."""
    await receive()
    if os.environ.get("MEMBERS_LIFESPAN"):
        await send({"type": "lifespan.startup.failed", "message": "no database, on purpose"})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("shut down in order", flush=True)
    await send({"type": "lifespan.shutdown.complete"})
