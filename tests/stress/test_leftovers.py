"""`python -m stress` leaves nothing running behind, however it ends."""

import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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


def marked(mark: str) -> list[int]:
    """The processes with that among their variables, which they have from whoever started them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue  # gone since, or somebody else's
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize(
    ("number", "scenarios"), [(1, ["mixed"]), (2, ["mixed"]), (1, ["bell", "mixed"])]
)
def test_one_that_is_just_being_started_is_ended(
    number: int, scenarios: list[str], tmp_path: Path
) -> None:
    """The first master, the second one, and the process for mixed traffic beside others."""
    mark = f"STRESS_MARK={secrets.token_hex(8)}"
    command = [sys.executable, "-m", "tests.stress.signalled", f"{number}", "--seconds=60"]
    command += [f"--scenario={name}" for name in scenarios]
    variables = os.environ | dict([mark.split("=")])
    with (tmp_path / "log").open("w+") as log:
        try:
            status = subprocess.run(
                command, cwd=ROOT, stdout=log, stderr=log, env=variables, timeout=60
            ).returncode
            wait_until(lambda: not marked(mark), 10, "all of them have ended")
        finally:
            for pid in marked(mark):
                os.kill(pid, signal.SIGKILL)
        log.seek(0)
        assert status == 1, log.read()
