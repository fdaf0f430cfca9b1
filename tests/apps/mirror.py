"""A WSGI application that tells in one header which request it got: `tests.apps.mirror:app`."""

import hashlib
import json
from collections.abc import Iterable
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
