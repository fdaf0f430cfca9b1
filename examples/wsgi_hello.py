"""The smallest WSGI application: `nogilserve wsgi_hello:app`."""

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

BODY = b"Hello, world!\n"
HEADERS = [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))]


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer every request with the same fourteen bytes."""
    start_response("200 OK", HEADERS)
    return [BODY]
