"""Starts peers whose own command line cannot express a fair setting.

`python -m benchmarks.launch cheroot|uvicorn MODULE:ATTR --threads N`, on a port of the system's
choice; the harness finds it by looking at the sockets of the process.
"""

import argparse
import importlib
from typing import Any

__all__ = ["main"]


def _load(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def cheroot(app: Any, threads: int, backlog: int) -> None:
    """cheroot closes kept-alive connections beyond 10 by default: that limit is lifted here."""
    wsgi = importlib.import_module("cheroot.wsgi")
    server = wsgi.Server(
        ("127.0.0.1", 0), app, numthreads=threads, max=threads, request_queue_size=backlog
    )
    server.keep_alive_conn_limit = None
    server.safe_start()


def uvicorn(app: Any, threads: int, backlog: int) -> None:
    """uvicorn's own WSGI shim is deprecated in favour of a2wsgi, which it is run with here."""
    wrapped = importlib.import_module("a2wsgi").WSGIMiddleware(app, workers=threads)
    importlib.import_module("uvicorn").run(
        wrapped,
        host="127.0.0.1",
        port=0,
        backlog=backlog,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        timeout_keep_alive=60,
    )


def main() -> None:
    """Start the named server and serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", choices=["cheroot", "uvicorn"])
    parser.add_argument("app", metavar="MODULE:ATTR")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--backlog", type=int, default=2048)
    options = parser.parse_args()
    start = {"cheroot": cheroot, "uvicorn": uvicorn}[options.server]
    start(_load(options.app), options.threads, options.backlog)


if __name__ == "__main__":
    main()
