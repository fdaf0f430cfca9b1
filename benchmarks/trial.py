"""One trial: start a server, make sure it answers rightly, warm it up, measure it, stop it.

Every trial has a fresh server of its own, alone on the machine, so that an unlucky start
(memory layout, connections spread unevenly over threads) is one sample and not the result.
"""

import http.client
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import pinning, procs, wrk, wsload
from benchmarks.servers import Contestant
from benchmarks.workloads import PLAIN, Workload

__all__ = [
    "Measurement",
    "Running",
    "TrialError",
    "background",
    "check",
    "generate",
    "get",
    "load_of",
    "measure",
    "run_trial",
    "serve",
    "settle",
]

ROOT = Path(__file__).parent.parent
START_DEADLINE = 60.0  # seconds; sixteen copies of a large application take their time
STOP_DEADLINE = 10.0
POLL = 0.02
NOT_YET = (502, 503)  # what a proxy says while the server behind it starts
SETTLED = 0.1  # processors' worth of work below which a server has started completely
SETTLE_SAMPLE = 0.2  # seconds


class TrialError(Exception):
    """A server did not start, or gave a wrong answer."""


@dataclass(slots=True)
class Running:
    """A server process that listens. Owner: the thread that started it."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    about: dict[str, object]
    """What the application says of its process: `gil`, `python`."""

    def pids(self) -> list[int]:
        """The server's processes, found anew."""
        return procs.tree(self.process.pid)

    def url(self, path: str) -> str:
        """The address of a path on it."""
        return f"http://127.0.0.1:{self.port}{path}"


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one trial gave. Per request: microseconds of the whole process tree's processor time."""

    contestant: str
    server: str
    threads: int
    workload: str
    rate: float
    cpu_us: float
    user_us: float
    system_us: float
    p50_us: float
    p99_us: float
    max_us: float
    pss_bytes: int
    switches_per_request: float
    wrk_cpu_us: float
    """Processor time of the load generator per request: it shares the machine."""
    others_cpu: float
    """Processors' worth of time that neither server nor wrk used: how noisy the machine was."""
    requests: int
    seconds: float
    errors: int
    bad_status: int
    gil: bool
    valid: bool
    round: int = 0
    """Trials of the same round were made next to each other."""
    mean_us: float = 0.0
    p999_us: float = 0.0


def get(port: int, path: str, method: str = "GET", body: bytes = b"") -> tuple[int, bytes]:
    """One request on a connection of its own; OSError when there is no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, body or None)
        response = connection.getresponse()
        return response.status, response.read()
    except http.client.HTTPException as exc:
        raise OSError(f"no HTTP answer: {exc!r}") from exc
    finally:
        connection.close()


def _tail(log: Path) -> str:
    return log.read_text(errors="replace").strip()[-1500:]


def _await_port(process: subprocess.Popen[bytes], log: Path) -> tuple[int, dict[str, object]]:
    deadline = time.monotonic() + START_DEADLINE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise TrialError(f"ended with status {process.returncode}: {_tail(log)}")
        for port in procs.listening_ports(procs.tree(process.pid)):
            try:
                status, body = get(port, "/about")
            except OSError:
                continue
            if status in NOT_YET:
                continue
            if status != 200:
                raise TrialError(f"answers with {status}: {_tail(log)}")
            return port, json.loads(body)
        time.sleep(POLL)
    raise TrialError(f"not ready after {START_DEADLINE:.0f} s: {_tail(log)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL for the whole tree: a server that will not go is not waited for."""
    pids = procs.tree(process.pid)
    process.terminate()
    try:
        process.wait(STOP_DEADLINE)
    except subprocess.TimeoutExpired:
        pids = procs.tree(process.pid)
        process.kill()
        process.wait()
    for pid in pids[1:]:
        if os.path.exists(f"/proc/{pid}"):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


@contextmanager
def serve(
    contestant: Contestant,
    app: str = PLAIN,
    extra: tuple[str, ...] = (),
    environ: dict[str, str] | None = None,
) -> Iterator[Running]:
    """A server for the length of the block; TrialError when it does not come up."""
    argv = contestant.server.argv(app, contestant.threads) + list(extra)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **(environ or {})}
    with tempfile.TemporaryDirectory(prefix="nogilserve-bench-") as folder:
        log = Path(folder) / "server.log"
        with log.open("wb") as output, pinning.for_servers():
            process = subprocess.Popen(
                argv, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            port, about = _await_port(process, log)
            yield Running(process, port, log, about)
        finally:
            _stop(process)


def check(running: Running, workload: Workload) -> None:
    """Ask once, the way it is going to be measured; TrialError on a wrong answer."""
    body = b"n" * workload.body_bytes
    status, answer = get(running.port, workload.path(), workload.method, body)
    if status != 200 or not workload.check(answer):
        raise TrialError(f"wrong answer to {workload.path()}: {status} {answer[:80]!r}")


def settle(running: Running) -> None:
    """Wait until all workers have started: the first may answer while others still import."""
    deadline = time.monotonic() + START_DEADLINE
    spent = procs.cpu_seconds(running.pids())
    while time.monotonic() < deadline:
        time.sleep(SETTLE_SAMPLE)
        before, spent = spent, procs.cpu_seconds(running.pids())
        if spent - before < SETTLED * SETTLE_SAMPLE:
            return
    raise TrialError(f"still busy {START_DEADLINE:.0f} s after its start")


def load_of(
    running: Running, workload: Workload, seconds: int, connections: int, wrk_threads: int
) -> wrk.Load:
    """What wrk has to do for this workload."""
    url = running.url(workload.path())
    return wrk.Load(
        url,
        connections,
        seconds,
        wrk_threads,
        workload.method,
        workload.body_bytes,
        workload.message_bytes,
    )


def generate(load: wrk.Load) -> wrk.WrkResult:
    """Run the load generator for this kind of load to its end; WrkError when it fails."""
    return wsload.run(load) if load.message_bytes else wrk.run(load)


@contextmanager
def background(running: Running, workload: Workload, seconds: int) -> Iterator[None]:
    """The workload's background requests for the length of the block."""
    if workload.background is None:
        yield
        return
    url = running.url(workload.background.path)
    process = wrk.start(wrk.Load(url, workload.background.connections, seconds + 30))
    try:
        yield
    finally:
        process.terminate()
        process.communicate(timeout=5)


def measure(
    running: Running,
    contestant: Contestant,
    workload: Workload,
    load: wrk.Load,
) -> Measurement:
    """Run the load generator once against a running server and account for everything around it."""
    pids = running.pids()
    host, cpu, split = procs.host_cpu(), procs.cpu_seconds(pids), procs.cpu_split(pids)
    switches, started = procs.switches(pids), time.monotonic()
    result = generate(load)
    elapsed = time.monotonic() - started
    pids = running.pids()
    spent = procs.cpu_seconds(pids) - cpu
    user, system = (a - b for a, b in zip(procs.cpu_split(pids), split, strict=True))
    switched = procs.switches(pids) - switches
    others = procs.host_cpu().busy - host.busy - spent - result.own_cpu
    per_request = 1e6 / max(result.requests, 1)
    return Measurement(
        contestant=contestant.label,
        server=contestant.server.name,
        threads=contestant.threads,
        workload=workload.name,
        rate=result.rate,
        cpu_us=spent * per_request,
        user_us=user * per_request,
        system_us=system * per_request,
        p50_us=result.p50,
        p99_us=result.p99,
        max_us=result.max,
        pss_bytes=procs.pss_bytes(pids),
        switches_per_request=(switched.voluntary + switched.involuntary) / max(result.requests, 1),
        wrk_cpu_us=result.own_cpu * per_request,
        others_cpu=max(others, 0.0) / elapsed,
        requests=result.requests,
        seconds=result.duration,
        errors=result.socket_errors,
        bad_status=result.bad_status,
        gil=bool(running.about["gil"]),
        valid=result.valid,
        mean_us=result.mean,
        p999_us=result.p999,
    )


def run_trial(
    contestant: Contestant,
    workload: Workload,
    seconds: int,
    connections: int,
    wrk_threads: int,
    warm_up: int = 1,
) -> Measurement:
    """Start, check, let it settle, warm up, measure, stop."""
    with serve(contestant, workload.app) as running:
        check(running, workload)
        settle(running)
        load = load_of(running, workload, seconds, connections, wrk_threads)
        with background(running, workload, seconds + warm_up):
            if warm_up:
                generate(replace(load, seconds=warm_up))
            return measure(running, contestant, workload, load)
