"""The servers that are compared: how each is started in the setting that suits it best.

What the flags are for stands beside them, because a comparison is only as honest as the
configuration of the peers. Every server gets port 0 and is found by its listening socket.
"""

import importlib.metadata
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = [
    "BACKLOG",
    "KEEP_ALIVE",
    "PEERS",
    "SERVERS",
    "Contestant",
    "Server",
    "choose",
    "python",
    "version_of",
]

BACKLOG = "2048"
KEEP_ALIVE = "60"  # seconds: nobody closes a connection of wrk in the middle of a run


@dataclass(frozen=True, slots=True)
class Server:
    """A server and its command line."""

    name: str
    requires: tuple[str, ...]
    """Distributions that must be installed; nogilserve itself is always there."""
    argv: Callable[[str, int], list[str]]
    """(application, threads) → command line of the server process."""
    notes: str
    """Why it is started this way."""
    fixed_threads: int = 0
    """The thread count of a setting that has only one; 0: as many as asked for."""
    reports: tuple[str, ...] = ()
    """Further distributions that change its speed where they are installed."""

    def missing(self) -> list[str]:
        """The required distributions that are not installed."""
        return [name for name in self.requires if not version_of(name)]

    def versions(self) -> dict[str, str]:
        """Versions of what it is made of, absent parts left out."""
        names = self.requires + self.reports
        return {name: found for name in names if (found := version_of(name))}


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server with a thread count: one row of a result."""

    server: Server
    threads: int

    @property
    def label(self) -> str:
        """For tables and charts."""
        return f"{self.server.name} x{self.threads}"


def version_of(distribution: str) -> str:
    """The installed version, "" when it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def python(*arguments: str) -> list[str]:
    """This interpreter with these arguments, quiet about warnings."""
    return [sys.executable, "-W", "ignore", *arguments]


def _nogilserve(app: str, threads: int) -> list[str]:
    return python(
        *("-m", "nogilserve", app, "--bind", "127.0.0.1:0", "--threads", str(threads)),
        *("--keep-alive", KEEP_ALIVE),
    )


def _granian(app: str, threads: int) -> list[str]:
    return python(
        *("-m", "granian", app, "--interface", "wsgi", "--host", "127.0.0.1", "--port", "0"),
        *("--workers", "1", "--runtime-threads", "1", "--blocking-threads", str(threads)),
        *("--http", "1", "--no-ws", "--backlog", BACKLOG, "--log-level", "warning"),
    )


def _gunicorn(app: str, threads: int) -> list[str]:
    return python(
        *("-m", "gunicorn", app, "--bind", "127.0.0.1:0", "--workers", "1"),
        *("--worker-class", "gthread", "--threads", str(threads), "--backlog", BACKLOG),
        *("--keep-alive", KEEP_ALIVE, "--log-level", "warning", "--no-control-socket"),
    )


def _waitress(app: str, threads: int) -> list[str]:
    return python(
        *("-m", "waitress", "--listen=127.0.0.1:0", f"--threads={threads}"),
        *(f"--backlog={BACKLOG}", "--connection-limit=1000", "--asyncore-use-poll", app),
    )


def _hypercorn(app: str, threads: int) -> list[str]:
    return python(
        *("-m", "hypercorn", "--bind", "127.0.0.1:0", "--workers", "1"),
        *("--worker-class", "uvloop", "--backlog", BACKLOG, "--keep-alive", KEEP_ALIVE),
        *("--log-level", "warning", f"wsgi:{app}"),
    )


def _launched(name: str) -> Callable[[str, int], list[str]]:
    def argv(app: str, threads: int) -> list[str]:
        return python(
            *("-m", "benchmarks.launch", name, app, "--threads", str(threads)),
            *("--backlog", BACKLOG),
        )

    return argv


SERVERS: dict[str, Server] = {
    server.name: server
    for server in (
        Server("nogilserve", (), _nogilserve, "defaults; the access log is off by default"),
        Server(
            "granian-lean",
            ("granian",),
            _granian,
            "one worker, one runtime thread, one blocking thread: its least processor time per"
            " request on small responses; HTTP/1 only and no WebSocket, which saves it a protocol"
            " sniff",
            fixed_threads=1,
        ),
        Server(
            "granian",
            ("granian",),
            _granian,
            "as granian-lean, with as many blocking threads as the others have threads",
        ),
        Server(
            "gunicorn",
            ("gunicorn",),
            _gunicorn,
            "gthread, one worker. Without gunicorn_h1c, which switches the GIL on",
            reports=("gunicorn_h1c",),
        ),
        Server(
            "waitress",
            ("waitress",),
            _waitress,
            "poll instead of select, and room for more than 100 connections",
        ),
        Server(
            "cheroot",
            ("cheroot",),
            _launched("cheroot"),
            "its limit of 10 kept-alive connections lifted, otherwise it closes the rest",
        ),
        Server(
            "uvicorn",
            ("uvicorn", "a2wsgi"),
            _launched("uvicorn"),
            "an ASGI server: WSGI through a2wsgi, which its documentation recommends in place of"
            " its deprecated shim; one event loop",
            reports=("httptools", "uvloop"),
        ),
        Server(
            "hypercorn",
            ("hypercorn", "uvloop"),
            _hypercorn,
            "an ASGI server: WSGI in the threads of its one event loop's executor, whose number is"
            " asyncio's default and not what was asked for",
        ),
    )
}

PEERS = [name for name in SERVERS if name != "nogilserve"]


def choose(
    names: list[str], threads: list[int], servers: Mapping[str, Server] | None = None
) -> tuple[list[Contestant], list[str]]:
    """The contestants, and one line for each server that cannot take part.

    `servers` are those there are, by default SERVERS.

    A server with a fixed thread count appears once, whatever counts were asked for.
    """
    chosen: list[Contestant] = []
    skipped: list[str] = []
    for name in names:
        server = (servers or SERVERS)[name]
        missing = server.missing()
        if missing:
            install = " ".join(missing)
            skipped.append(f"{name}: not installed, left out (`pip install {install}`)")
            continue
        counts = [server.fixed_threads] if server.fixed_threads else threads
        chosen.extend(Contestant(server, count) for count in counts)
    return chosen, skipped
