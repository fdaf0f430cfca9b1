"""Applications behind static files: they say what reached them."""

from collections.abc import Callable, Iterable
from typing import Any


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answers with method and path."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-By", "application")])
    return [f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}".encode()]


async def asgi(
    scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
) -> None:
    """The same; over WebSocket it says the path, then ends."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": scope["path"]})
        await send({"type": "websocket.close"})
    elif scope["type"] == "http":
        headers = [(b"content-type", b"text/plain"), (b"x-by", b"application")]
        body = f"{scope['method']} {scope['path']}".encode()
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    else:
        raise ValueError(scope["type"])
