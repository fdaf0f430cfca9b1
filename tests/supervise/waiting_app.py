"""A WSGI application that waits when it is told to: `tests.supervise.waiting_app:app`.

/gate waits for a byte on the descriptor that GATE_FD names, /stuck for a minute; both say so on
`wsgi.errors` first. /echo returns the request body. Everything else is answered at once.
"""

import os
import threading
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

NEVER = threading.Event()


def stuck_on_purpose() -> None:
    """Wait for what never happens."""
    NEVER.wait(60)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """See above."""
    path = environ["PATH_INFO"]
    body = b"hello\n"
    if path in {"/gate", "/stuck"}:
        print(f"inside {path}", file=environ["wsgi.errors"], flush=True)
        if path == "/gate":
            body = os.read(int(os.environ["GATE_FD"]), 1)
        else:
            stuck_on_purpose()
    elif path == "/echo":
        body = environ["wsgi.input"].read(1 << 20)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
