"""Applications that tell whom a request came from, as JSON: `tests.apps.origin:wsgi`, `:asgi`."""

import json
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.util import request_uri


def wsgi(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The variables about client, scheme and address, those that are missing left out."""
    names = (
        *("REMOTE_ADDR", "REMOTE_PORT", "SERVER_NAME", "SERVER_PORT", "HTTP_HOST"),
        *("SCRIPT_NAME", "PATH_INFO", "wsgi.url_scheme", "HTTP_X_FORWARDED_FOR"),
    )
    seen = {name: environ[name] for name in names if name in environ}
    seen["url"] = request_uri(environ)
    environ["wsgi.input"].read()
    body = json.dumps(seen).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The same from the scope."""
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
    seen = {name: scope[name] for name in ("client", "server", "scheme", "root_path", "path")}
    body = json.dumps(seen | {"host": host}).encode()
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})
