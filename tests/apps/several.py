"""Small applications that say what they were told: several of them share one server."""

import json
import threading
from collections.abc import Callable, Iterable
from typing import Any


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """What a WSGI application is told of the request, as JSON."""
    told = {
        "script": environ["SCRIPT_NAME"],
        "path": environ["PATH_INFO"],
        "raw": environ["RAW_URI"],
        "length": len(environ["wsgi.input"].read()),
        "client": environ.get("REMOTE_ADDR", ""),
        "server": f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}",
        "thread": threading.current_thread().name,
    }
    body = json.dumps(told).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("X-App", "wsgi")])
    return [body]


def odd(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Streams, fails, sends a file or illegal fields, by path."""
    path = environ["PATH_INFO"]
    if path == "/raise":
        raise RuntimeError("on purpose")
    if path == "/illegal":
        start_response("200 OK", [("Bad\nName", "x")])
        return [b""]
    if path == "/file":
        start_response("200 OK", [("Content-Type", "text/x-python")])
        file: Iterable[bytes] = environ["wsgi.file_wrapper"](open(__file__, "rb"))  # noqa: SIM115
        return file
    if path == "/write":
        write = start_response("200 OK", [])
        write(b"written, ")
        return [b"returned"]
    if path == "/slow":
        threading.Event().wait(1.5)
    if path == "/late":
        start_response("200 OK", [])
        return _failing()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (b"%d\n" % number for number in range(3))


def _failing() -> Iterable[bytes]:
    yield b"begun"
    raise RuntimeError("too late to be answered")


class Asgi:
    """An ASGI application with a lifespan of its own."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Any scope."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            message = await receive()
            text = f"{scope['root_path']} {scope['path']} {message['text']}"
            await send({"type": "websocket.send", "text": text})
        else:
            await self._answer(scope, receive, send)

    async def _live(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        scope["state"]["of"] = self.name
        print(f"{self.name} is up", flush=True)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print(f"{self.name} is down", flush=True)
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        length, more = 0, True
        while more:
            message = await receive()
            length += len(message.get("body", b""))
            more = message.get("more_body", False)
        told = {
            "root": scope["root_path"],
            "path": scope["path"],
            "raw": scope["raw_path"].decode(),
            "state": scope["state"].get("of"),
            "length": length,
        }
        fields = [(b"content-type", b"application/json"), (b"x-app", self.name.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": json.dumps(told).encode()})


first = Asgi("first")
second = Asgi("second")


async def broken(scope: Any, _receive: Any, _send: Any) -> None:
    """Its start fails."""
    raise RuntimeError(f"no {scope['type']} here")
