"""An ASGI application on a real loop and a real connection: bytes in, bytes out."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from nogilserve.gateways.asgi import AsgiGateway
from tests.engine.loop.rig import LoopRig, Peer, get, on_loop

__all__ = ["Application", "Main", "answer", "on_asgi", "respond"]

type Application = Callable[[Any, Any, Any], Coroutine[Any, Any, None]]
type Main = Callable[[LoopRig], Coroutine[Any, Any, None]]


async def respond(send: Any, body: bytes = b"fine") -> None:
    """An ordinary response."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def on_asgi(
    app: Application,
    main: Main,
    *,
    root_path: str = "",
    state: dict[str, Any] | None = None,
    debug: bool = False,
) -> None:
    """Run `main` beside the served application."""

    def gateway(loop: asyncio.AbstractEventLoop) -> AsgiGateway:
        return AsgiGateway(app, "test", loop, root_path=root_path, state=state, debug=debug)

    on_loop(main, gateway=gateway)


def answer(app: Application, request: bytes = b"", **options: Any) -> bytes:
    """All that one request, by default a GET, is answered with; then the client leaves."""
    got = []

    async def main(rig: LoopRig) -> None:
        peer: Peer = await rig.connect()
        await peer.send(request or get("/", "Connection: close"))
        got.append(await peer.rest())
        await rig.until(lambda: not rig.core.tasks)

    on_asgi(app, main, **options)
    return got[0]
