"""Static files of 1 KiB and 1 MiB, beside web servers and other servers for Python.

Each server serves the same folder at /static, with as many threads or processes as it is told.
Processor time is that of the server's process tree. Rounds alternate.
"""

import argparse
import http.client
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import procs, report, wrk
from benchmarks.machine import conditions
from benchmarks.rounds import say
from benchmarks.servers import BACKLOG, KEEP_ALIVE, Server, python
from benchmarks.trial import ROOT, TrialError

__all__ = ["STATIC_SERVERS", "run"]

FILES = {"small.txt": 1 << 10, "large.bin": 1 << 20}
_FEWER = 16
"""Connections for large files."""
_START = 20.0

Argv = Callable[[int, int, Path], list[str]]
"""Command line for a port, a number of threads, and a folder, which has the files in "files"."""


def _nogilserve(app: str, *more: str) -> Argv:
    def argv(port: int, threads: int, folder: Path) -> list[str]:
        return python(
            *("-m", "nogilserve", app, "--bind", f"127.0.0.1:{port}"),
            *("--threads", str(max(threads, 16)), "--workers", str(threads), "--no-master"),
            *("--static-path", f"/static={folder / 'files'}", "--keep-alive", KEEP_ALIVE, *more),
        )

    return argv


def _granian(port: int, threads: int, folder: Path) -> list[str]:
    return python(
        *("-m", "granian", "benchmarks.apps.plain:app", "--interface", "wsgi"),
        *("--host", "127.0.0.1", "--port", str(port), "--http", "1", "--no-ws"),
        *("--runtime-threads", str(threads), "--backlog", BACKLOG, "--log-level", "warning"),
        *("--static-path-mount", str(folder / "files"), "--static-path-route", "/static"),
    )


def _starlette(port: int, threads: int, folder: Path) -> list[str]:
    (folder / "static_app.py").write_text(
        "from starlette.applications import Starlette\n"
        "from starlette.routing import Mount\n"
        "from starlette.staticfiles import StaticFiles\n"
        f"folder = {str(folder / 'files')!r}\n"
        "app = Starlette(routes=[Mount('/static', StaticFiles(directory=folder))])\n"
    )
    return python(
        *("-m", "uvicorn", "static_app:app", "--app-dir", str(folder), "--port", str(port)),
        *("--workers", str(threads), "--no-access-log", "--log-level", "warning"),
    )


def _caddy(port: int, _: int, folder: Path) -> list[str]:
    file = folder / "Caddyfile"
    file.write_text(
        "{\n admin off\n auto_https off\n servers {\n  protocols h1\n }\n}\n"
        f"http://127.0.0.1:{port} {{\n handle_path /static/* {{\n"
        f"  root * {folder / 'files'}\n  file_server\n }}\n}}\n"
    )
    return ["caddy", "run", "--config", str(file), "--adapter", "caddyfile"]


def _nginx(port: int, threads: int, folder: Path) -> list[str]:
    file = folder / "nginx.conf"
    temporary = "".join(
        f"{kind}_temp_path {folder / kind}; "
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file.write_text(
        f"daemon off; worker_processes {threads}; pid {folder / 'pid'};\n"
        "events { worker_connections 4096; }\n"
        f"http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;\n"
        f"{temporary}\n"
        f"server {{ listen 127.0.0.1:{port} backlog={BACKLOG};\n"
        f"location /static/ {{ alias {folder / 'files'}/; }} }} }}\n"
    )
    user = ["-g", "user root;"] if os.getuid() == 0 else []
    return ["nginx", "-c", str(file), "-e", "stderr", *user]


WSGI, ASGI = "benchmarks.apps.plain:app", "benchmarks.apps.asgi_plain:app"
STATIC_SERVERS: dict[str, tuple[tuple[str, ...], Argv]] = {
    "nogilserve-wsgi": ((), _nogilserve(WSGI)),
    "nogilserve-asgi": ((), _nogilserve(ASGI, "--loop", "asyncio")),
    "granian": (("granian",), _granian),
    "starlette-uvicorn": (("starlette", "uvicorn"), _starlette),
    "caddy": ((), _caddy),
    "nginx": ((), _nginx),
}
"""Distributions that have to be installed, and the command."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What one run gave."""

    server: str
    file: str
    rate: float
    """Requests per second."""
    cpu_us: float
    """Processor time of the server for each."""
    pss_bytes: int


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        for name, size in FILES.items():
            connection.request("GET", f"/static/{name}")
            response = connection.getresponse()
            if response.status != 200 or len(response.read()) != size:
                return False
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


@contextmanager
def _serving(name: str, threads: int, folder: Path) -> Iterator[tuple[int, int]]:
    """Start a server; its process id and port."""
    files = folder / "files"
    files.mkdir()
    for file, size in FILES.items():
        (files / file).write_bytes(os.urandom(size // 2).hex().encode())
    folder.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with (folder / "log").open("wb") as log:
        command = STATIC_SERVERS[name][1](port, threads, folder)
        process = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=ROOT
        )
        try:
            deadline = time.monotonic() + _START
            while not _ready(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise TrialError(f"{name}: {(folder / 'log').read_text()[-500:]}")
                time.sleep(0.05)
            yield process.pid, port
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _trials(name: str, options: argparse.Namespace) -> Iterator[Trial]:
    with tempfile.TemporaryDirectory(prefix="nogilserve-bench-") as folder:
        with _serving(name, options.threads, Path(folder)) as (pid, port):
            for file, size in FILES.items():
                connections = options.connections if size < 1 << 16 else _FEWER
                url = f"http://127.0.0.1:{port}/static/{file}"
                wrk.run(wrk.Load(url, connections, 1, options.wrk_threads))  # warm up
                before = procs.cpu_seconds(procs.tree(pid))
                result = wrk.run(wrk.Load(url, connections, options.duration, options.wrk_threads))
                spent = procs.cpu_seconds(procs.tree(pid)) - before
                if not result.valid:
                    raise TrialError(f"{name}: wrk had errors")
                memory = procs.pss_bytes(procs.tree(pid))
                yield Trial(name, file, result.rate, spent * 1e6 / result.requests, memory)


def _table(trials: Sequence[Trial]) -> str:
    rows = []
    for file in FILES:
        nginx = [t.cpu_us for t in trials if (t.file, t.server) == (file, "nginx")]
        for name in dict.fromkeys(t.server for t in trials if t.file == file):
            own = [t for t in trials if (t.file, t.server) == (file, name)]
            cpu = statistics.median(t.cpu_us for t in own)
            rate = statistics.median(t.rate for t in own)
            memory = statistics.median(t.pss_bytes for t in own) / (1 << 20)
            ratio = f"{cpu / statistics.median(nginx):.2f}" if nginx else ""
            size = f"{FILES[file] >> 10} KiB"
            rows.append((size, name, f"{rate:,.0f}", f"{cpu:,.1f}", ratio, f"{memory:.1f}"))
    heads = ("file", "server", "req/s", "CPU µs/req", "of nginx", "PSS MiB")
    return report.table(heads, rows)


def _missing(name: str) -> list[str]:
    if name in ("caddy", "nginx"):
        return [] if shutil.which(name) else [f"{name} (Debian: apt-get install {name})"]
    return Server(name, STATIC_SERVERS[name][0], lambda *_: [], "").missing()


def run(options: argparse.Namespace) -> int:
    """Measure, and write results/static.json and .md; exit status 1 when a server did not run."""
    if options.quick:
        options.rounds = options.duration = 1
    chosen = []
    for name in options.servers:
        if missing := _missing(name):
            say(f"{name}: left out, {', '.join(missing)} not installed")
        else:
            chosen.append(name)
    trials: list[Trial] = []
    failures = 0
    for number in range(options.rounds):
        for name in chosen:
            try:
                for trial in _trials(name, options):
                    trials.append(trial)
                    say(f"round {number + 1}: {name}, {trial.file}: {trial.cpu_us:.1f} µs")
            except TrialError as exc:
                failures += 1
                say(str(exc))
    text = (
        f"wrk with {options.connections} connections, {_FEWER} for the large file; "
        f"{options.threads} threads or processes; medians of {options.rounds}\n\n{_table(trials)}"
    )
    print(text)
    servers = [Server(name, STATIC_SERVERS[name][0], lambda *_: [], "") for name in chosen]
    report.save(options, "static", conditions(servers), {"trials": trials}, text, [])
    return 1 if failures else 0
