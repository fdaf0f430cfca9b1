"""A chat whose members are served by different event loops of one process.

    nogilserve chat:app --loops 4

Open the page in several tabs: each tells which loop it is on, and all hear each other. The room is
plain memory; no Redis, no message broker, no process to keep in step with another. Needs FastAPI.
"""

import asyncio
import json
import threading
from collections import deque
from datetime import UTC, datetime
from pathlib import Path

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse

__all__ = ["app"]

app = FastAPI()
PAGE = Path(__file__).with_name("templates") / "chat.html"
PATIENCE = 5.0
"""Seconds that one member may keep the others from being told; then it is let go."""
REMEMBERED = 20
LONGEST = 500


class Room:
    """Who is here and what was said last.

    Connections of all event loops come in, so one lock guards both; it is held for single steps
    and never across an `await`. What is sent goes to a copy of the set.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._members: dict[WebSocket, str] = {}
        self._said: deque[str] = deque(maxlen=REMEMBERED)

    def enter(self, member: WebSocket, name: str) -> list[str]:
        """Let somebody in; what was said before."""
        with self._lock:
            self._members[member] = name
            return list(self._said)

    def leave(self, member: WebSocket) -> None:
        """Let somebody go; may be called again."""
        with self._lock:
            self._members.pop(member, None)

    def names(self) -> list[str]:
        """Who is here."""
        with self._lock:
            return sorted(self._members.values())

    async def tell(self, text: str, keep: bool = False) -> None:
        """Send to all who are here now, wherever they are served.

        `send_text` may be called from any event loop of the process: the server passes the message
        to the loop that owns the connection.
        """
        with self._lock:
            if keep:
                self._said.append(text)
            present = list(self._members)
        await asyncio.gather(*(self._tell_one(member, text) for member in present))

    async def _tell_one(self, member: WebSocket, text: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await member.send_text(text)
        except (TimeoutError, WebSocketDisconnect, RuntimeError):
            self.leave(member)  # has gone, or does not read: must not hold up the others


ROOM = Room()


def message(kind: str, **content: object) -> str:
    """A message of the server, as the page expects it."""
    return json.dumps({"kind": kind, "time": datetime.now(UTC).isoformat(), **content})


@app.get("/")
async def page() -> HTMLResponse:
    """The page."""
    return HTMLResponse(PAGE.read_text(encoding="utf-8"))


@app.websocket("/chat")
async def chat(socket: WebSocket, name: str = "somebody") -> None:
    """One member, until it leaves."""
    loop = threading.current_thread().name
    await socket.accept()
    try:
        for earlier in ROOM.enter(socket, name):
            await socket.send_text(earlier)
        await socket.send_text(message("welcome", loop=loop))
        await ROOM.tell(message("members", names=ROOM.names()))
        while True:
            text = (await socket.receive_text())[:LONGEST]
            await ROOM.tell(message("said", name=name, loop=loop, text=text), keep=True)
    except (WebSocketDisconnect, RuntimeError):
        pass  # gone; RuntimeError where another member's message has found that out first
    finally:
        ROOM.leave(socket)
        await ROOM.tell(message("members", names=ROOM.names()))
