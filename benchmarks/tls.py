"""TLS: what keep-alive requests cost beside plain ones, and full handshakes per CPU second.

The certificate is made by the program `openssl`, whose `s_time` also makes the handshakes: each on
a connection of its own, without resuming a session. Processor time is that of the server's process
tree, so a client that is slower than the server does not matter. Rounds alternate.
"""

import argparse
import http.client
import re
import shutil
import signal
import socket
import ssl
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
from benchmarks.trial import TrialError

__all__ = ["TLS_SERVERS", "run"]

WSGI, ASGI = "benchmarks.apps.plain:app", "benchmarks.apps.asgi_plain:app"
KEYS = {
    "ECDSA P-256": ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
    "RSA 2048": ["rsa:2048"],
}
_CONNECTIONS = re.compile(r"(\d+) connections in ([\d.]+) real seconds")
_START = 20.0


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files of a certificate and its key."""

    kind: str
    file: Path
    key: Path


Argv = Callable[[int, int, "Certificate | None", Path], list[str]]
"""Command line for a port, a number of threads, and TLS or not; the folder is for its files."""


def _nogilserve(app: str, *more: str) -> Argv:
    def argv(port: int, threads: int, certificate: Certificate | None, _: Path) -> list[str]:
        tls = ["--certfile", str(certificate.file)] if certificate else []
        tls += ["--keyfile", str(certificate.key)] if certificate else []
        return python(
            *("-m", "nogilserve", app, "--bind", f"127.0.0.1:{port}", "--http", "1"),
            *("--threads", str(max(threads, 16)), "--workers", str(threads), "--no-master"),
            *("--keep-alive", KEEP_ALIVE, *more, *tls),
        )

    return argv


def _granian(interface: str, app: str) -> Argv:
    def argv(port: int, threads: int, certificate: Certificate | None, _: Path) -> list[str]:
        tls = ["--ssl-certificate", str(certificate.file)] if certificate else []
        tls += ["--ssl-keyfile", str(certificate.key)] if certificate else []
        count = ["--workers", "1", "--blocking-threads", str(threads)]
        if interface == "asgi":
            count = ["--workers", str(threads), "--loop", "uvloop"]
        return python(
            *("-m", "granian", app, "--interface", interface, "--host", "127.0.0.1"),
            *("--port", str(port), "--runtime-threads", "1", *count, "--http", "1", "--no-ws"),
            *("--backlog", BACKLOG, "--log-level", "warning", *tls),
        )

    return argv


def _caddy(port: int, threads: int, certificate: Certificate | None, folder: Path) -> list[str]:
    tls = f"tls {certificate.file} {certificate.key}" if certificate else ""
    scheme = "https" if certificate else "http"
    file = folder / "Caddyfile"
    file.write_text(
        "{\n admin off\n auto_https off\n servers {\n  protocols h1\n }\n}\n"
        f'{scheme}://127.0.0.1:{port} {{\n {tls}\n respond "Hello, World!"\n}}\n'
    )
    return ["caddy", "run", "--config", str(file), "--adapter", "caddyfile"]


TLS_SERVERS: dict[str, tuple[tuple[str, ...], Argv]] = {
    "nogilserve-wsgi": ((), _nogilserve(WSGI)),
    "nogilserve-asgi": ((), _nogilserve(ASGI, "--loop", "asyncio")),
    "nogilserve-uvloop": (("uvloop",), _nogilserve(ASGI, "--loop", "uvloop")),
    "granian-wsgi": (("granian",), _granian("wsgi", WSGI)),
    "granian-asgi": (("granian",), _granian("asgi", ASGI)),
    "caddy": ((), _caddy),
}
"""Distributions that have to be installed, and the command. Caddy answers by itself."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What one run gave."""

    server: str
    what: str
    rate: float
    """Requests or handshakes per second, as the client saw it."""
    cpu_us: float
    """Processor time of the server for each."""


def _make(folder: Path) -> list[Certificate]:
    found = []
    for kind, key in KEYS.items():
        name = kind.partition(" ")[0]
        made = Certificate(kind, folder / f"{name}.pem", folder / f"{name}.key")
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=localhost"),
                *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-newkey", *key),
                *("-keyout", str(made.key), "-out", str(made.file)),
            ],
            check=True,
            capture_output=True,
        )
        found.append(made)
    return found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def _answers(port: int, *, tls: bool) -> bool:
    kind: Callable[..., http.client.HTTPConnection] = http.client.HTTPConnection
    more = {}
    if tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        kind, more = http.client.HTTPSConnection, {"context": context}
    connection = kind("127.0.0.1", port, timeout=5, **more)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def _serving(
    name: str, threads: int, certificate: Certificate | None, folder: Path
) -> Iterator[tuple[int, int]]:
    """Start a server; its process id and port."""
    port = _free_port()
    with (folder / "log").open("wb") as log:
        command = TLS_SERVERS[name][1](port, threads, certificate, folder)
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + _START
            while not _answers(port, tls=certificate is not None):
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


def _requests(name: str, certificate: Certificate | None, options: argparse.Namespace) -> Trial:
    """Keep-alive requests."""
    with tempfile.TemporaryDirectory() as folder:
        with _serving(name, options.threads, certificate, Path(folder)) as (pid, port):
            scheme = "https" if certificate else "http"
            url = f"{scheme}://127.0.0.1:{port}/"
            load = wrk.Load(url, options.connections, 1, options.wrk_threads)
            wrk.run(load)  # warm up
            load = wrk.Load(url, options.connections, options.duration, options.wrk_threads)
            before = procs.cpu_seconds(procs.tree(pid))
            result = wrk.run(load)
            spent = procs.cpu_seconds(procs.tree(pid)) - before
            if not result.valid:
                raise TrialError(f"{name}: wrk had errors")
            what = "requests over TLS" if certificate else "plain requests"
            return Trial(name, what, result.rate, spent * 1e6 / result.requests)


def _handshakes(name: str, certificate: Certificate, options: argparse.Namespace) -> Trial:
    """Full handshakes."""
    with tempfile.TemporaryDirectory() as folder:
        with _serving(name, options.threads, certificate, Path(folder)) as (pid, port):
            before = procs.cpu_seconds(procs.tree(pid))
            command = ["openssl", "s_time", "-connect", f"127.0.0.1:{port}", "-new"]
            done = subprocess.run(
                [*command, "-time", str(options.duration)],
                capture_output=True,
                text=True,
                check=True,
            )
            spent = procs.cpu_seconds(procs.tree(pid)) - before
            found = _CONNECTIONS.findall(done.stdout)
            if not found or not int(found[-1][0]):
                raise TrialError(f"{name}: openssl s_time said {done.stdout[-300:]!r}")
            count = int(found[-1][0])
            what = f"handshakes, {certificate.kind}"
            return Trial(name, what, count / options.duration, spent * 1e6 / count)


def _table(trials: Sequence[Trial]) -> str:
    rows = []
    for what in dict.fromkeys(trial.what for trial in trials):
        for name in dict.fromkeys(t.server for t in trials if t.what == what):
            own = [t for t in trials if (t.what, t.server) == (what, name)]
            cpu = statistics.median(t.cpu_us for t in own)
            rate = statistics.median(t.rate for t in own)
            plain = [t.cpu_us for t in trials if (t.what, t.server) == ("plain requests", name)]
            ratio = f"{cpu / statistics.median(plain):.2f}" if plain and "TLS" in what else ""
            rows.append((what, name, f"{rate:,.0f}", f"{cpu:,.1f}", f"{1e6 / cpu:,.0f}", ratio))
    heads = ("what", "server", "per second", "CPU µs each", "per CPU second", "of plain")
    return report.table(heads, rows)


def _missing(name: str) -> list[str]:
    if name == "caddy":
        return [] if shutil.which("caddy") else ["caddy (Debian: apt-get install caddy)"]
    return Server(name, TLS_SERVERS[name][0], lambda *_: [], "").missing()


def run(options: argparse.Namespace) -> int:
    """Measure, and write results/tls.json and .md; exit status 1 when a server did not run."""
    if shutil.which("openssl") is None:
        raise wrk.WrkError("openssl is missing (Debian: apt-get install openssl)")
    chosen = []
    for name in options.servers:
        if missing := _missing(name):
            say(f"{name}: left out, {', '.join(missing)} not installed")
        else:
            chosen.append(name)
    trials: list[Trial] = []
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        certificates = _make(Path(folder))
        steps: list[Callable[[str], Trial]] = [
            lambda name: _requests(name, None, options),
            lambda name: _requests(name, certificates[0], options),
            *(lambda name, made=made: _handshakes(name, made, options) for made in certificates),
        ]
        for number in range(options.rounds):
            for step in steps:
                for name in chosen:
                    try:
                        trials.append(step(name))
                    except TrialError as exc:
                        failures += 1
                        say(str(exc))
                        continue
                    last = trials[-1]
                    say(f"round {number + 1}: {last.server}, {last.what}: {last.cpu_us:.1f} µs")
    text = (
        f"wrk with {options.connections} connections, openssl s_time; {options.threads} threads, "
        f"medians of {options.rounds}\n\n{_table(trials)}"
    )
    print(text)
    servers = [Server(name, TLS_SERVERS[name][0], lambda *_: [], "") for name in chosen]
    report.save(options, "tls", conditions(servers), {"trials": trials}, text, [])
    return 1 if failures else 0
