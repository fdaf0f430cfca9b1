"""python-socketio around an ASGI application: `tests.apps.socketio_app:app`.

Its manager keeps the clients in plain dictionaries.
"""

from typing import Any

import socketio

server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*", ping_interval=5)


@server.event
async def connect(sid: str, environ: dict[str, Any], auth: dict[str, str] | None) -> None:
    """Who gives a wrong name is refused."""
    name = (auth or {}).get("name", "")
    if name == "evil":
        raise ConnectionRefusedError("not you")
    await server.save_session(sid, {"name": name})
    await server.enter_room(sid, "all")


@server.event
async def disconnect(sid: str, reason: str) -> None:
    """Tell those who stay."""
    session = await server.get_session(sid)
    await server.emit("left", session["name"], room="all")


@server.event
async def ask(sid: str, data: Any) -> Any:
    """An event with an acknowledgement."""
    return {"you": (await server.get_session(sid))["name"], "asked": data}


@server.event
async def say(sid: str, data: Any) -> None:
    """Tell the room."""
    await server.emit("said", data, room="all")


async def other(scope: Any, receive: Any, send: Any) -> None:
    """What is no Socket.IO."""
    if scope["type"] == "http":
        headers = [(b"content-length", b"5")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"plain"})


app = socketio.ASGIApp(server, other)
