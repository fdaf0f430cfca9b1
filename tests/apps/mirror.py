"""Applications that tell in one header which request they got: `tests.apps.mirror:app`, `:asgi`."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.types import StartResponse, WSGIEnvironment


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Method, path, query, host and the digest of the body as JSON in X-Mirror, for HEAD too."""
    body = environ["wsgi.input"].read()
    seen = {
        "method": environ["REQUEST_METHOD"],
        "path": environ["PATH_INFO"],
        "query": environ["QUERY_STRING"],
        "host": environ.get("HTTP_HOST"),
        "body": hashlib.sha256(body).hexdigest(),
    }
    headers = [("Content-Length", "9"), ("X-Mirror", json.dumps(seen))]
    start_response("200 OK", headers)
    return [b"mirrored\n"]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The same. A request whose body does not come to its end is not answered."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        body += event.get("body", b"")
        if not event.get("more_body"):
            break
    host = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    seen = {
        "method": scope["method"],
        "path": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "query": scope["query_string"].decode("latin-1"),
        "host": host[0] if host else None,
        "body": hashlib.sha256(body).hexdigest(),
    }
    headers = [(b"content-length", b"9"), (b"x-mirror", json.dumps(seen).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"mirrored\n"})
