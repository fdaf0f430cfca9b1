"""A WSGI application for tests of HTTP/2."""

import hashlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

TEXT = [("Content-Type", "text/plain")]

together = threading.Barrier(8, timeout=10)
gate = threading.Event()


def stream(size: int) -> Iterator[bytes]:
    """`size` bytes in uneven pieces."""
    step = 0
    while size:
        step = step % 40000 + 7919
        piece = min(step, size)
        size -= piece
        yield b"s" * piece


def broken() -> Iterator[bytes]:
    """A body that fails in the middle."""
    yield b"x" * 70000
    raise RuntimeError("in the middle of the body")


def app(  # noqa: C901
    environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    """Routes by the path."""
    name, _, argument = environ["PATH_INFO"][1:].partition("/")
    headers = list(TEXT)
    status = "200 OK"
    body: Iterable[bytes] = [b"hello\n"]
    if name == "environ":
        told = [f"{key}={value}" for key, value in environ.items() if isinstance(value, str)]
        body = ["\n".join(sorted(told)).encode("latin-1")]
    elif name == "echo":
        body = [environ["wsgi.input"].read()]
    elif name == "sum":
        body = [hashlib.sha256(environ["wsgi.input"].read()).hexdigest().encode()]
    elif name == "bytes":
        body = [b"b" * int(argument)]
    elif name == "stream":
        body = stream(int(argument))
    elif name == "file":
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the server
        file.write(b"f" * int(argument))
        file.seek(0)
        body = environ["wsgi.file_wrapper"](file)
    elif name == "sleep":
        time.sleep(float(argument))
    elif name == "together":
        together.wait()
    elif name == "gate":
        gate.wait(10)
    elif name == "open":
        gate.set()
    elif name == "status":
        status = f"{argument} Whatever"
        body = [b""] if argument in {"204", "304"} else body
    elif name == "hints":
        environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
    elif name == "fail":
        raise RuntimeError("before the response")
    elif name == "broken":
        body = broken()
    elif name == "short":
        headers.append(("Content-Length", "100"))
        body = iter([b"too short"])
    elif name == "connection":
        headers.append(("Connection", "close"))
    start_response(status, headers)
    return body
