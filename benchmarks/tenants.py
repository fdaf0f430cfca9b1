"""What tenants cost: over a single application, and beside Caddy Snake's dynamic applications.

    python -m benchmarks.tenants [--tenants 20] [--seconds 5] [--rounds 3] [--caddysnake VENV]

Every tenant is the same WSGI hello in a folder of its own. Measured in turn, in every round:

- `single`: the application by itself, one tenant's worth of connections;
- `tenant`: the same connections to one of the tenants;
- `all`: one connection to each tenant, from wrk's threads;
- `moving`: connections that ask for another tenant with each request, as those of a proxy;
- `caddysnake`: its `all` and `tenant`, where VENV has the PyPI package (`pip install caddysnake`, a
  Python with a GIL).

Needs wrk and Linux. Times of processors are those of all processes of the server.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import procs

__all__ = ["Figures", "main"]

ROOT = Path(__file__).resolve().parents[1]
APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]
"""
# A thread of wrk asks for one tenant, or (moving) each request for the next one.
SCRIPT = """
local count, moving, number = %d, %s, 0
local requests = {}
function setup(thread) thread:set("first", number); number = number + 1 end
function init()
  for index = 1, count do
    wrk.headers["Host"] = "t" .. index .. ".bench.example"
    requests[index] = wrk.format()
  end
  turn = first %% count
end
function request()
  if moving then turn = (turn + 1) %% count end
  return requests[turn + 1]
end
function done(summary, latency)
  io.write(string.format('{"requests": %%d, "microseconds": %%d, "errors": %%d, "p99": %%d}\\n',
    summary.requests, summary.duration,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status
      + summary.errors.timeout, latency:percentile(99)))
end
"""
CADDYFILE = """
{
	admin off
	auto_https off
}
http://*.bench.example:%(port)d {
	python {
		module_wsgi "main:app"
		working_dir "%(folder)s/{http.request.host.labels.2}"
		workers 1
	}
}
"""


@dataclass
class Figures:
    """Of one thing measured, a value for each round."""

    rate: list[float] = field(default_factory=list)
    """Requests per second."""
    cost: list[float] = field(default_factory=list)
    """Microseconds of processor time for each request."""
    p99: list[float] = field(default_factory=list)
    """Milliseconds."""
    errors: int = 0

    def line(self, name: str) -> str:
        """As a row of the table."""
        return (
            f"| {name} | {statistics.median(self.rate):,.0f} | {statistics.median(self.cost):.1f} "
            f"| {statistics.median(self.p99):.2f} | {self.errors} |"
        )


@dataclass
class Serving:
    """A server that runs: its process, its port, and what its tenants cost in memory."""

    pid: int
    port: int
    per_tenant: float = 0.0
    """MiB (PSS) for each tenant that is loaded."""
    first: float = 0.0
    """Milliseconds from the first request to a tenant to its answer, in the middle."""


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def ask(port: int, tenant: int, timeout: float = 60.0) -> bytes:
    """The body of one request to a tenant."""
    with socket.create_connection(("127.0.0.1", port), timeout) as sock:
        head = f"GET / HTTP/1.1\r\nHost: t{tenant}.bench.example\r\nConnection: close\r\n\r\n"
        sock.sendall(head.encode())
        received = b""
        while piece := sock.recv(65536):
            received += piece
    if b" 200 " not in received.split(b"\r\n")[0]:
        raise RuntimeError(f"tenant {tenant} answered {received[:200]!r}")
    return received.rpartition(b"\r\n\r\n")[2]


@contextlib.contextmanager
def running(command: Sequence[str], port: int, folder: Path, **variables: str) -> Iterator[Serving]:
    """Run a server until the block ends."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command} does not listen") from None
                time.sleep(0.05)
        yield Serving(process.pid, port)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def memory(pid: int) -> int:
    """PSS of a process and its descendants, in bytes."""
    return procs.pss_bytes(procs.tree(pid))


def wake(serving: Serving, tenants: int) -> None:
    """Start all tenants one after the other."""
    ask(serving.port, 1)
    before = memory(serving.pid)
    took = []
    for tenant in range(2, tenants + 1):
        started = time.perf_counter()
        ask(serving.port, tenant)
        took.append(time.perf_counter() - started)
    serving.first = statistics.median(took) * 1000
    serving.per_tenant = (memory(serving.pid) - before) / (tenants - 1) / 2**20


def load(
    serving: Serving,
    figures: Figures,
    *,
    tenants: int,
    moving: bool,
    connections: int,
    seconds: int,
) -> None:
    """One run of wrk, added to the figures."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT % (tenants, "true" if moving else "false"))
        script.flush()
        threads = 1 if moving else tenants
        url = f"http://127.0.0.1:{serving.port}/"
        words = ["wrk", f"-t{threads}", f"-c{max(connections, threads)}", f"-d{seconds}s"]
        pids = procs.tree(serving.pid)
        before = procs.cpu_seconds(pids)
        done = subprocess.run(
            [*words, "-s", script.name, url], check=True, capture_output=True, text=True
        )
        used = procs.cpu_seconds(pids) - before
    found = json.loads(done.stdout.splitlines()[-1])
    figures.rate.append(found["requests"] / found["microseconds"] * 1e6)
    figures.cost.append(used / found["requests"] * 1e6)
    figures.p99.append(found["p99"] / 1000)
    figures.errors += found["errors"]


def make_tenants(folder: Path, count: int) -> None:
    """The same application for each."""
    for tenant in range(1, count + 1):
        (folder / f"t{tenant}").mkdir()
        (folder / f"t{tenant}" / "main.py").write_text(APP)


def caddysnake(venv: Path, folder: Path, port: int) -> list[str]:
    """The command of Caddy Snake with a Caddyfile: its package has the program beside its own."""
    program = next(venv.glob("lib/python*/site-packages/caddysnake-cli"))
    config = folder / "Caddyfile"
    config.write_text(CADDYFILE % {"port": port, "folder": folder})
    return [str(program), "run", "--config", str(config), "--adapter", "caddyfile"]


def measure(options: argparse.Namespace, folder: Path) -> tuple[dict[str, Figures], list[str]]:
    """All rounds; the servers run one at a time, so that none has the other's memory about it."""
    figures: dict[str, Figures] = {}
    notes = []
    python = [sys.executable, "-m", "nogilserve", "main:app", "--no-reload"]
    many = [*python, "--working-dir", f"{folder}/{{host.labels.2}}", "--bind"]
    common = {"connections": options.connections, "seconds": options.seconds}
    for number in range(options.rounds):
        port = free_port()
        alone = [*python, "--working-dir", f"{folder}/t1", "--bind", f"127.0.0.1:{port}"]
        with running(alone, port, folder, PYTHONPATH=str(ROOT)) as server:
            ask(port, 1)
            load(server, figures.setdefault("single", Figures()), tenants=1, moving=False, **common)
        port = free_port()
        with running([*many, f"127.0.0.1:{port}"], port, folder, PYTHONPATH=str(ROOT)) as server:
            wake(server, options.tenants)
            for name, tenants, moving in (
                ("tenant", 1, False),
                ("all", options.tenants, False),
                ("moving", options.tenants, True),
            ):
                found = figures.setdefault(name, Figures())
                load(server, found, tenants=tenants, moving=moving, **common)
            notes.append(said("nogilserve", number, server))
        if options.caddysnake is not None:
            port = free_port()
            path = f"{options.caddysnake / 'bin'}:{os.environ['PATH']}"
            command = caddysnake(options.caddysnake, folder, port)
            with running(command, port, folder, PATH=path) as server:
                wake(server, options.tenants)
                for name, tenants in (("tenant", 1), ("all", options.tenants)):
                    found = figures.setdefault(f"caddysnake {name}", Figures())
                    load(server, found, tenants=tenants, moving=False, **common)
                notes.append(said("caddysnake", number, server))
    return figures, notes


def said(name: str, number: int, server: Serving) -> str:
    """Memory and starts of a round."""
    return (
        f"{name}, round {number + 1}: {server.per_tenant:.1f} MiB for each tenant, first answer "
        f"after {server.first:.0f} ms"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tenants", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--tenants", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--caddysnake", type=Path, metavar="VENV")
    options = parser.parse_args(arguments)
    if shutil.which("wrk") is None:
        print("wrk is not installed", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="nogilserve-tenants-") as folder:
        make_tenants(Path(folder), options.tenants)
        figures, notes = measure(options, Path(folder))
    print("| | requests/s | CPU µs / request | p99 ms | errors |\n|---|---|---|---|---|")
    for name, found in figures.items():
        print(found.line(name))
    over = statistics.median(figures["tenant"].cost) - statistics.median(figures["single"].cost)
    print(f"\nA tenant costs {over:+.1f} µs for each request on kept connections over `single`.")
    print("\n".join(notes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
