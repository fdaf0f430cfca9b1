"""A WSGI application to look into: it can be slow, busy, wrong, or wait for a word."""

import os
import threading
import time
from collections.abc import Iterable
from typing import Any

GO = threading.Event()


def wait_here() -> None:
    """A function with a name that is found in stacks."""
    GO.wait(20)


def compute(seconds: float) -> None:
    """Busy for that long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sum(range(2000))


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """/wait waits for /go; /compute is busy; /fail raises; anything else says the process id."""
    path = environ["PATH_INFO"]
    if path == "/wait":
        wait_here()
    elif path == "/go":
        GO.set()
    elif path == "/compute":
        compute(0.3)
    elif path == "/fail":
        raise RuntimeError("as it was told to")
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
