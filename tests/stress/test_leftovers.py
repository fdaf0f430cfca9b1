"""`python -m stress` leaves nothing running behind, however it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.server import ROOT, children_of
from tests.support.waiting import wait_until


def descendants(pid: int) -> list[int]:
    """The process ids of all that have come of a process."""
    found = children_of(pid)
    return found + [later for child in found for later in descendants(child)]


def alive(pid: int) -> bool:
    """Whether it runs; one that nobody has waited for yet does not."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_command_that_is_ended_ends_its_servers(tmp_path: Path) -> None:
    """A scene, with mixed traffic beside: two masters with a generation each."""
    command = [sys.executable, "-m", "stress", "--seconds=60"]
    command += ["--scenario=bell", "--scenario=mixed"]
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        try:
            wait_until(lambda: len(descendants(process.pid)) >= 5, 60, "all of them run")
            started = descendants(process.pid)
            process.terminate()
            assert process.wait(60) == 1
            wait_until(lambda: not any(map(alive, started)), 10, "all of them have ended")
        finally:
            if process.poll() is None:
                for pid in [*descendants(process.pid), process.pid]:
                    os.kill(pid, signal.SIGKILL)
                process.wait()
