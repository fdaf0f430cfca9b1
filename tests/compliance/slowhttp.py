"""`python -m tests.compliance.slowhttp [--seconds N] [--connections N]`: slowhttptest's four modes.

Slow heads (-H), slow bodies (-B), overlapping ranges (-R) and slow reading (-X) against servers of
a WSGI and an ASGI application. Prints what slowhttptest found and how long an honest client had to
wait meanwhile; exit status 1 unless the service was available throughout. It is a Debian package.
"""

import argparse
import re
import shutil
import subprocess
import sys
import threading
from statistics import quantiles
from time import monotonic
from typing import Final

from stress.hostile import APPS
from tests.apps.served import Served

MODES: Final = {
    "slow heads": ["-H", "-i", "1"],
    "slow bodies": ["-B", "-i", "1", "-s", "8192"],
    "ranges": ["-R", "-a", "1", "-b", "3000"],
    "slow reading": ["-X", "-w", "16", "-y", "64", "-n", "2", "-z", "16"],
}
_CODES: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def attack(server: Served, mode: str, connections: int, seconds: int) -> tuple[bool, str]:
    """Whether the service was available all the time, and a line about it."""
    path = "/big" if mode in ("ranges", "slow reading") else "/"
    command = [
        "slowhttptest",
        *MODES[mode],
        "-c",
        str(connections),
        "-r",
        str(max(connections // seconds, 1)),
    ]
    command += ["-l", str(seconds), "-p", "3", "-u", f"{server.url}{path}"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        output: list[str] = []
        reader = threading.Thread(target=lambda out=process.stdout: output.extend(out))
        reader.start()
        times = _ask(server, process)
        reader.join()
    answers = re.findall(r"service available:\s*(YES|NO)", _CODES.sub("", "".join(output)))
    lost = answers.count("NO")
    p99 = quantiles(times, n=100)[98] * 1000
    good = bool(answers) and not lost
    return good, (
        f"service available in {answers.count('YES')} of {len(answers)} looks; "
        f"{len(times)} honest requests, p99 {p99:.1f} ms, longest {max(times) * 1000:.1f} ms"
    )


def _ask(server: Served, process: "subprocess.Popen[str]") -> list[float]:
    """An honest client, as long as the process runs; the times it waited, in seconds."""
    times = []
    pause = threading.Event()
    with server.connect() as client:
        while process.poll() is None:
            began = monotonic()
            assert client.get("/").status == 200
            times.append(monotonic() - began)
            pause.wait(0.01)
    return times


def main() -> int:
    """All modes on both applications."""
    parser = argparse.ArgumentParser(prog="python -m tests.compliance.slowhttp")
    parser.add_argument("--seconds", type=int, default=20, help="for each mode")
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--app", choices=[*APPS], action="append")
    options = parser.parse_args()
    if shutil.which("slowhttptest") is None:
        print("slowhttptest is not installed: apt-get install slowhttptest", file=sys.stderr)
        return 2
    fine = True
    for name in options.app or APPS:
        for mode in MODES:
            with Served(APPS[name]) as server:
                good, words = attack(server, mode, options.connections, options.seconds)
            fine = fine and good
            print(
                f"{name}, {mode}: {'available' if good else 'NOT AVAILABLE'}: {words}", flush=True
            )
    return 0 if fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
