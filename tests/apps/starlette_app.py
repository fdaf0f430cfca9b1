"""Starlette: static files, streaming, middleware, WebSockets: `tests.apps.starlette_app:app`.

The folder to serve is `TORTURE_FOLDER` of the environment.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

FOLDER = os.environ["TORTURE_FOLDER"]
ENDED: dict[str, str] = {}
"""How requests ended, by their key; each key is written once, by one request."""


class Timing(BaseHTTPMiddleware):
    """The middleware that wraps receive and send and has broken many a server."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Add a header."""
        response = await call_next(request)
        response.headers["X-Timed"] = "yes"
        return response


async def stream(request: Request) -> StreamingResponse:
    """Numbered lines, `n` of them, every `ms` milliseconds."""
    count = int(request.query_params["n"])
    pause = int(request.query_params.get("ms", 0)) / 1000
    key = request.query_params.get("key", "")

    async def lines() -> AsyncIterator[bytes]:
        try:
            for number in range(count):
                yield b"line %d\n" % number
                await asyncio.sleep(pause)
            ENDED[key] = "complete"
        finally:
            ENDED.setdefault(key, "cancelled")

    return StreamingResponse(lines(), media_type="text/plain")


async def upload(request: Request) -> JSONResponse:
    """The size of the body, streamed."""
    size = 0
    try:
        async for piece in request.stream():
            size += len(piece)
    except ClientDisconnect:
        ENDED[request.query_params["key"]] = "ClientDisconnect"
        raise
    return JSONResponse({"size": size})


async def ended(request: Request) -> JSONResponse:
    """How the request of that key ended."""
    return JSONResponse(ENDED.get(request.query_params["key"]))


async def file(request: Request) -> FileResponse:
    """A file as an attachment."""
    return FileResponse(os.path.join(FOLDER, "big.bin"), filename="caf\u00e9.bin")


async def state(request: Request) -> JSONResponse:
    """What the lifespan left."""
    return JSONResponse({"word": request.state.word})


class Echo(WebSocketEndpoint):
    """Text there and back."""

    encoding = "text"

    async def on_receive(self, websocket: WebSocket, data: str) -> None:
        """One message."""
        await websocket.send_text(data)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
    """A state with a word in it."""
    yield {"word": "started"}


app = Starlette(
    routes=[
        Mount("/static", StaticFiles(directory=FOLDER, html=True)),
        Route("/stream", stream),
        Route("/upload", upload, methods=["POST"]),
        Route("/ended", ended),
        Route("/file", file),
        Route("/state", state),
        WebSocketRoute("/ws", Echo),
    ],
    middleware=[Middleware(Timing), Middleware(GZipMiddleware, minimum_size=500)],
    lifespan=lifespan,
)
