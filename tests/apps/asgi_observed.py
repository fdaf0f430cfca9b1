"""An ASGI application to look into: /wait waits for /go, /fail raises, anything else answers."""

import asyncio
from typing import Any

GO: dict[str, asyncio.Future[None]] = {}


async def wait_here() -> None:
    """A function with a name that is found in stacks."""
    GO["future"] = asyncio.get_running_loop().create_future()
    await GO["future"]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """ASGI 3."""
    if scope["type"] == "lifespan":
        return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        return
    if scope["path"] == "/wait":
        await wait_here()
    elif scope["path"] == "/go":
        future = GO.pop("future")
        future.get_loop().call_soon_threadsafe(future.set_result, None)
    elif scope["path"] == "/fail":
        raise RuntimeError("as it was told to")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
