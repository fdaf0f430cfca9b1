"""The API: an ASGI application, mounted below /api."""

import json
from typing import Any

STOCK = {"tea": 12, "coffee": 7, "sugar": 3}


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Lifespan, requests and WebSockets."""
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    elif scope["type"] == "websocket":
        await watch(receive, send)
    else:
        await answer(scope, send)


async def lifespan(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Start and end; what is put into the state is in the scope of every request."""
    await receive()
    scope["state"]["started"] = True
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def answer(scope: dict[str, Any], send: Any) -> None:
    """What is in stock, by the path below the mount."""
    item = scope["path"].removeprefix(scope["root_path"]).strip("/")
    found: Any = STOCK if item == "stock" else STOCK.get(item.removeprefix("stock/"))
    body = json.dumps({"found": found, "root_path": scope["root_path"]}).encode()
    await send(
        {
            "type": "http.response.start",
            "status": 200 if found is not None else 404,
            "headers": [(b"content-type", b"application/json")],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def watch(receive: Any, send: Any) -> None:
    """A WebSocket that says how much there is of what it is asked for."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        item = message["text"]
        await send({"type": "websocket.send", "text": f"{item}: {STOCK.get(item, 0)}"})
