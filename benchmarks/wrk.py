"""The load generator: `wrk`, its command line and what it reports."""

import json
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "Load",
    "WrkError",
    "WrkResult",
    "command",
    "finish",
    "parse",
    "path",
    "run",
    "run_command",
    "start",
    "version",
]

SCRIPT = Path(__file__).with_name("wrk.lua")
GRACE = 15  # seconds beyond the asked duration after which wrk counts as stuck


class WrkError(Exception):
    """wrk is missing, ended badly, or said something we cannot read."""


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk is asked to do."""

    url: str
    connections: int
    seconds: int
    threads: int = 1
    method: str = "GET"
    body_bytes: int = 0
    message_bytes: int = 0
    """Not for wrk: the size of the WebSocket messages that `wsload` sends."""


@dataclass(frozen=True, slots=True)
class WrkResult:
    """One run of wrk. Latencies in microseconds, `duration` in seconds."""

    requests: int
    duration: float
    bytes: int
    socket_errors: int
    """Failed connects, reads and writes, and requests that took longer than 2 s."""
    bad_status: int
    """Responses of 400 or more."""
    mean: float
    p50: float
    p90: float
    p99: float
    p999: float
    max: float
    own_cpu: float = 0.0
    """Processor seconds that wrk itself used."""

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.duration if self.duration else 0.0

    @property
    def valid(self) -> bool:
        """Whether every request was answered as it should be."""
        return self.requests > 0 and not self.socket_errors and not self.bad_status


def path() -> str:
    """Where wrk is; WrkError with how to install it when it is not there."""
    found = shutil.which("wrk")
    if found is None:
        raise WrkError(
            "wrk, the load generator, is not on PATH. Install it: `apt-get install wrk` (Debian,"
            " Ubuntu), `dnf install wrk` (Fedora), `brew install wrk` (macOS)."
        )
    return found


def version() -> str:
    """The first line of `wrk -v`, without the copyright."""
    done = subprocess.run([path(), "-v"], capture_output=True, text=True, timeout=10, check=False)
    text = done.stdout + done.stderr
    return text.partition(" Copyright")[0].strip()


def command(load: Load) -> list[str]:
    """The argument list for `load`."""
    argv = [path(), f"-t{load.threads}", f"-c{load.connections}", f"-d{load.seconds}s"]
    argv += ["-s", str(SCRIPT), load.url]
    if load.method != "GET":
        argv += ["--", load.method, str(load.body_bytes)]
    return argv


def parse(text: str, own_cpu: float = 0.0) -> WrkResult:
    """The result in the output of wrk with our script; WrkError when there is none."""
    for line in text.splitlines():
        if not line.startswith("RESULT "):
            continue
        try:
            raw = json.loads(line.removeprefix("RESULT "))
            errors = raw["connect"] + raw["read"] + raw["write"] + raw["timeout"]
            return WrkResult(
                requests=raw["requests"],
                duration=raw["duration_us"] / 1e6,
                bytes=raw["bytes"],
                socket_errors=errors,
                bad_status=raw["status"],
                mean=raw["mean_us"],
                p50=raw["p50_us"],
                p90=raw["p90_us"],
                p99=raw["p99_us"],
                p999=raw["p999_us"],
                max=raw["max_us"],
                own_cpu=own_cpu,
            )
        except (ValueError, KeyError) as exc:
            raise WrkError(f"unreadable result of wrk: {line!r}") from exc
    raise WrkError(f"wrk gave no result; it said: {text.strip()[-400:]!r}")


def start(load: Load) -> subprocess.Popen[bytes]:
    """Run wrk in the background; the caller ends it, or takes its result with `finish`."""
    return subprocess.Popen(
        command(load),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process: subprocess.Popen[bytes], load: Load) -> WrkResult:
    """Wait for a wrk that was started in the background; WrkError when it fails or hangs."""
    try:
        output, _ = process.communicate(timeout=load.seconds + GRACE)
    except subprocess.TimeoutExpired as exc:
        process.kill()
        process.communicate()
        raise WrkError(f"wrk did not end within {load.seconds + GRACE} s") from exc
    return parse(output.decode(errors="replace"))


def run(load: Load) -> WrkResult:
    """Run wrk to its end; WrkError when it fails or hangs."""
    return run_command(command(load), load)


def run_command(argv: list[str], load: Load) -> WrkResult:
    """Run a load generator that writes such a result to its end; WrkError as above."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=load.seconds + GRACE,
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise WrkError(f"wrk did not end within {load.seconds + GRACE} s") from exc
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return parse(done.stdout, cpu)
