"""Small applications that say what they know of TLS."""

import asyncio
import json
import time
from typing import Any

KEYS = ("HTTPS", "wsgi.url_scheme", "SERVER_PORT", "REMOTE_ADDR")


def wsgi(environ: dict[str, Any], start_response: Any) -> Any:
    """`/env`, `/size` of the body, `/big` (5 MB), `/cut` (not all of a body), `/slow`."""
    path = environ["PATH_INFO"]
    headers = [("Content-Type", "text/plain")]
    if path == "/cut":
        start_response("200 OK", [*headers, ("Content-Length", "100000")])
        return cut_off()
    if path == "/file":
        start_response("200 OK", headers)
        return environ["wsgi.file_wrapper"](open(environ["QUERY_STRING"], "rb"))
    body = b"hello"
    if path == "/env":
        found = {k: v for k, v in environ.items() if k in KEYS or k.startswith("SSL_")}
        body = json.dumps(found).encode()
    elif path == "/size":
        body = str(len(environ["wsgi.input"].read())).encode()
    elif path == "/big":
        body = b"0123456789" * 500_000
    elif path == "/slow":
        time.sleep(0.5)
    elif path == "/strict":
        headers.append(("Strict-Transport-Security", "max-age=1"))
    start_response("200 OK", headers)
    return [body]


def cut_off() -> Any:
    """A response that breaks in the middle."""
    yield b"x" * 50_000
    raise RuntimeError("on purpose")


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """The same, and an echo for WebSockets."""
    if scope["type"] == "lifespan":
        return
    if scope["type"] == "websocket":
        await echo(scope, receive, send)
        return
    path = scope["path"]
    headers = [(b"content-type", b"text/plain")]
    body = b"hello"
    if path == "/env":
        found = {"scheme": scope["scheme"], "tls": scope["extensions"].get("tls")}
        body = json.dumps(found | {"client": scope["client"]}).encode()
    elif path == "/size":
        body = str(await size_of_body(receive)).encode()
    elif path == "/big":
        body = b"0123456789" * 500_000
    elif path == "/slow":
        await asyncio.sleep(0.5)
    elif path == "/strict":
        headers.append((b"strict-transport-security", b"max-age=1"))
    elif path == "/cut":
        headers.append((b"content-length", b"100000"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if path == "/cut":
        await send({"type": "http.response.body", "body": b"x" * 50_000, "more_body": True})
        raise RuntimeError("on purpose")
    if path == "/file":
        file = open(scope["query_string"], "rb")  # noqa: SIM115 - closed by the server
        await send({"type": "http.response.zerocopysend", "file": file})
        return
    await send({"type": "http.response.body", "body": body})


async def size_of_body(receive: Any) -> int:
    """How many bytes the request has brought."""
    size = 0
    while True:
        message = await receive()
        size += len(message["body"])
        if not message["more_body"]:
            return size


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Say the scheme, then whatever is said."""
    await receive()
    await send({"type": "websocket.accept"})
    await send(
        {"type": "websocket.send", "text": f"{scope['scheme']} {'tls' in scope['extensions']}"}
    )
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})
