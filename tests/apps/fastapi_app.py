"""A FastAPI application as people write them: `tests.apps.fastapi_app:app`.

Its chat room is the ConnectionManager of FastAPI's own documentation, with one lock: clients that
are served by different event loops share one set in plain memory.
"""

import asyncio
import hashlib
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from fastapi import (
    BackgroundTasks,
    Depends,
    FastAPI,
    HTTPException,
    Request,
    UploadFile,
    WebSocket,
    WebSocketDisconnect,
)
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from sse_starlette import EventSourceResponse

app = FastAPI()


class Counts:
    """Counters. Any thread; one lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, name: str) -> None:
        """One more."""
        with self._lock:
            self._counts[name] += 1

    def copy(self) -> dict[str, int]:
        """All of them."""
        with self._lock:
            return dict(self._counts)


COUNTS = Counts()


class Item(BaseModel):
    """What is posted."""

    name: str
    price: float
    tags: list[str] = []


def resource(request: Request) -> Iterator[str]:
    """A synchronous dependency with something to clean up."""
    COUNTS.add("opened")
    try:
        yield request.headers.get("x-user", "nobody")
    finally:
        COUNTS.add("closed")


async def token(user: Annotated[str, Depends(resource)]) -> str:
    """An asynchronous dependency that depends on another one."""
    await asyncio.sleep(0)
    if user == "evil":
        raise HTTPException(403, "not you")
    return f"token of {user}"


@app.get("/items/{number}")
async def read_item(number: int, token: Annotated[str, Depends(token)], q: str = "") -> Any:
    """Path, query and dependencies."""
    return {"number": number, "q": q, "token": token, "loop": threading.get_ident()}


@app.post("/items", status_code=201)
async def create_item(item: Item) -> Item:
    """A validated body."""
    return item


BARRIER = threading.Barrier(12)


@app.get("/meet")
def meet() -> Any:
    """A synchronous endpoint, which FastAPI runs in a thread: twelve must be in here at once."""
    BARRIER.wait(30)
    return {"thread": threading.get_ident()}


@app.get("/loop")
async def loop() -> Any:
    """Which loop serves this connection."""
    return {"loop": threading.get_ident()}


@app.get("/background")
async def background(tasks: BackgroundTasks, key: str) -> Any:
    """Something to do after the response, of either kind."""

    async def later() -> None:
        await asyncio.sleep(0.01)
        COUNTS.add(f"async {key}")

    tasks.add_task(later)
    tasks.add_task(COUNTS.add, f"sync {key}")
    return {"accepted": key}


@app.post("/upload")
async def upload(file: UploadFile) -> Any:
    """A file from a form, read in pieces."""
    digest = hashlib.sha256()
    size = 0
    while piece := await file.read(1 << 16):
        digest.update(piece)
        size += len(piece)
    return {"name": file.filename, "size": size, "sha256": digest.hexdigest()}


@app.post("/stream")
async def stream(request: Request) -> StreamingResponse:
    """The body back in upper case, piece by piece."""

    async def pieces() -> AsyncIterator[bytes]:
        async for piece in request.stream():
            yield piece.upper()

    return StreamingResponse(pieces())


async def _numbers(key: str, every: float) -> AsyncIterator[dict[str, str]]:
    COUNTS.add(f"started {key}")
    try:
        number = 0
        while True:
            yield {"event": "number", "data": str(number)}
            number += 1
            await asyncio.sleep(every)
    finally:
        COUNTS.add(f"ended {key}")


@app.get("/sse")
async def sse(key: str) -> EventSourceResponse:
    """Server-sent events by sse-starlette, until the client is gone."""
    return EventSourceResponse(_numbers(key, 0.02))


@app.get("/events")
async def events(key: str) -> StreamingResponse:
    """The same made by hand."""

    async def lines() -> AsyncIterator[str]:
        async for event in _numbers(key, 0.02):
            yield f"data: {event['data']}\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


@app.get("/counts")
async def counts() -> Any:
    """All counters."""
    return COUNTS.copy()


@app.get("/fail")
async def fail() -> None:
    """An error nobody handles."""
    raise RuntimeError("fastapi: nobody handles this")


class ConnectionManager:
    """Who is in the room. Any loop: `active` is changed and copied under one lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: set[WebSocket] = set()

    async def connect(self, websocket: WebSocket) -> None:
        """Let somebody in."""
        await websocket.accept()
        with self._lock:
            self._active.add(websocket)

    def disconnect(self, websocket: WebSocket) -> None:
        """Somebody has left."""
        with self._lock:
            self._active.discard(websocket)

    async def broadcast(self, text: str) -> None:
        """Tell everybody; who has left meanwhile is not told."""
        with self._lock:
            present = list(self._active)
        for member in present:
            try:
                await member.send_text(text)
            except (WebSocketDisconnect, RuntimeError):
                self.disconnect(member)


MANAGER = ConnectionManager()


@app.websocket("/chat/{name}")
async def chat(websocket: WebSocket, name: str) -> None:
    """Say something, and everybody hears it."""
    await MANAGER.connect(websocket)
    try:
        await websocket.send_json({"loop": threading.get_ident(), "process": os.getpid()})
        while True:
            text = await websocket.receive_text()
            await MANAGER.broadcast(f"{name}: {text}")
    except WebSocketDisconnect:
        MANAGER.disconnect(websocket)
        await MANAGER.broadcast(f"{name} left")
