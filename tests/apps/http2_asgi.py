"""An ASGI application for tests of HTTP/2."""

import asyncio
import hashlib
import tempfile
from typing import Any

TEXT = [(b"content-type", b"text/plain")]


async def read_all(receive: Any) -> bytes:
    """The request body."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ConnectionError("the client is gone")
        body += message["body"]
        if not message["more_body"]:
            return bytes(body)


async def websocket(receive: Any, send: Any, scope: Any) -> None:
    """Refuse, or echo."""
    await receive()
    if scope["path"] == "/refuse":
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept", "subprotocol": (scope["subprotocols"] or [None])[0]})
    while (message := await receive())["type"] == "websocket.receive":
        answer = {key: message[key] for key in ("text", "bytes") if message.get(key) is not None}
        await send({"type": "websocket.send", **answer})


seen_disconnect: list[str] = []


async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: C901
    """Routes by the path."""
    if scope["type"] == "websocket":
        await websocket(receive, send, scope)
        return
    if scope["type"] != "http":
        raise RuntimeError("no lifespan here")
    name, _, argument = scope["path"][1:].partition("/")
    status = 200
    headers = list(TEXT)
    body = b"hello\n"
    trailers = False
    if name == "scope":
        body = repr(
            {key: scope[key] for key in ("http_version", "scheme", "method", "path")}
        ).encode()
    elif name == "echo":
        body = await read_all(receive)
    elif name == "sum":
        body = hashlib.sha256(await read_all(receive)).hexdigest().encode()
    elif name == "bytes":
        body = b"b" * int(argument)
    elif name == "sleep":
        await asyncio.sleep(float(argument))
    elif name == "status":
        status = int(argument)
        body = b"" if status in {204, 304} else body
    elif name == "hints":
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
    elif name == "fail":
        raise RuntimeError("before the response")
    elif name == "disconnect":
        await receive()
        message = await receive()
        seen_disconnect.append(message["type"])
        return
    elif name == "seen":
        body = repr(seen_disconnect).encode()
    elif name == "trailers":
        trailers = True
    elif name == "connection":
        headers.append((b"connection", b"close"))
    start = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start | ({"trailers": True} if trailers else {}))
    if name in {"stream", "broken", "events"}:
        left = int(argument or 70000)
        while left:
            piece = min(left, 30000)
            left -= piece
            await send({"type": "http.response.body", "body": b"s" * piece, "more_body": True})
        if name == "broken":
            raise RuntimeError("in the middle of the body")
        body = b""
    if name == "file":
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"f" * int(argument))
            file.flush()
            await send({"type": "http.response.pathsend", "path": file.name})
        return
    await send({"type": "http.response.body", "body": body})
    if trailers:
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"abc")]})
