"""The ASGI servers that are compared: how each is started in the setting that suits it best.

`threads` is here the number of event loops, in threads or in processes as the server has it.
"""

from collections.abc import Callable

from benchmarks.servers import BACKLOG, KEEP_ALIVE, Server, python

__all__ = ["ASGI_SERVERS"]


def _nogilserve(loop: str) -> Callable[[str, int], list[str]]:
    def argv(app: str, loops: int) -> list[str]:
        return python(
            *("-m", "nogilserve", app, "--bind", "127.0.0.1:0", "--interface", "asgi"),
            *("--loop", loop, "--loops", str(loops), "--workers", str(loops)),
            *("--keep-alive", KEEP_ALIVE, "--no-master"),
        )

    return argv


def _granian(app: str, loops: int) -> list[str]:
    # On a free-threaded build its workers are threads of one process.
    return python(
        *("-m", "granian", app, "--interface", "asgi", "--host", "127.0.0.1", "--port", "0"),
        *("--workers", str(loops), "--runtime-threads", "1", "--loop", "uvloop"),
        *("--http", "1", "--backlog", BACKLOG, "--log-level", "warning"),
    )


def _uvicorn(app: str, loops: int) -> list[str]:
    return python(
        *("-m", "uvicorn", app, "--host", "127.0.0.1", "--port", "0", "--workers", str(loops)),
        *("--loop", "uvloop", "--http", "httptools", "--ws", "auto", "--no-access-log"),
        *("--log-level", "warning", "--backlog", BACKLOG, "--timeout-keep-alive", KEEP_ALIVE),
        *("--no-proxy-headers", "--ws-per-message-deflate", "false"),
    )


def _hypercorn(app: str, loops: int) -> list[str]:
    return python(
        *("-m", "hypercorn", "--bind", "127.0.0.1:0", "--workers", str(loops)),
        *("--worker-class", "uvloop", "--backlog", BACKLOG, "--keep-alive", KEEP_ALIVE),
        *("--log-level", "warning", app),
    )


def _h2corn(app: str, loops: int) -> list[str]:
    return python(
        *("-m", "h2corn", app, "--bind", "127.0.0.1:0", "--workers", "1"),
        *("--loop-threads", str(loops), "--loop", "uvloop", "--backlog", BACKLOG),
        "--no-access-log",
    )


def _gunicorn(app: str, loops: int) -> list[str]:
    return python(
        *("-m", "gunicorn", app, "--bind", "127.0.0.1:0", "--workers", str(loops)),
        *("--worker-class", "asgi", "--asgi-loop", "uvloop", "--backlog", BACKLOG),
        *("--keep-alive", KEEP_ALIVE, "--log-level", "warning", "--no-control-socket"),
    )


def _pounce(app: str, loops: int) -> list[str]:
    return python(
        *("-m", "pounce", "serve", "--app", app, "--host", "127.0.0.1", "--port", "0"),
        *("--workers", str(loops), "--worker-mode", "async", "--no-compression"),
        *("--no-access-log", "--log-level", "warning", "--signage", "off"),
        *("--keep-alive-timeout", KEEP_ALIVE, "--max-requests-per-connection", "0"),
    )


ASGI_SERVERS: dict[str, Server] = {
    server.name: server
    for server in (
        Server(
            "nogilserve-uvloop",
            ("uvloop",),
            _nogilserve("uvloop"),
            "on uvloop; one process, without a master, with as many event loops as stated",
        ),
        Server(
            "nogilserve-asyncio",
            (),
            _nogilserve("asyncio"),
            "the same on the standard library's event loop",
        ),
        Server(
            "granian",
            ("granian",),
            _granian,
            "uvloop, HTTP/1 (and WebSocket) only, one runtime thread for each worker; its workers"
            " are threads of one process",
            reports=("uvloop",),
        ),
        Server(
            "uvicorn",
            ("uvicorn", "httptools", "uvloop", "websockets"),
            _uvicorn,
            "httptools, uvloop and websockets, its fastest parts; its workers are processes",
        ),
        Server(
            "hypercorn",
            ("hypercorn", "uvloop"),
            _hypercorn,
            "uvloop; its workers are processes",
        ),
        Server(
            "h2corn",
            ("h2corn", "uvloop"),
            _h2corn,
            "uvloop, loops in threads of one worker process, access log off",
        ),
        Server(
            "gunicorn",
            ("gunicorn", "uvloop"),
            _gunicorn,
            "its asgi worker on uvloop; its workers are processes. Without gunicorn_h1c, which"
            " switches the GIL on",
            reports=("gunicorn_h1c",),
        ),
        Server(
            "pounce",
            ("bengal-pounce",),
            _pounce,
            "its workers are threads of one process, each with an event loop (its other kind of"
            " worker serves one connection at a time); no compression, no access log, connections"
            " kept for as many requests as come",
            reports=("uvloop",),
        ),
    )
}
