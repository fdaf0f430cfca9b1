"""A WSGI application that computes for a tenth of a millisecond, as small real ones do."""

import time
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["wsgi"]


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answers with the path, after 0.1 ms of computing."""
    until = time.perf_counter() + 0.0001
    while time.perf_counter() < until:
        pass
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]
