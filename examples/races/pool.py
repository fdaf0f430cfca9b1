"""Broken on purpose, for ASGI: places are counted, then taken. `nogilserve stress pool:app`.

There are three connections to give out. Between looking whether one is free and taking it, the
function waits, and other requests look, too: on one event loop already, and on several at any line.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

free = ["first", "second", "third"]


async def take() -> str:
    """A connection, waited for until one is free."""
    while not free:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0)  # a look at the clock, a log line, whatever
    return free.pop()


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer with the help of a connection."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    connection = await take()
    try:
        await asyncio.sleep(0.002)  # the query
    finally:
        free.append(connection)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done\n"})
