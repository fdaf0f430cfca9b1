"""`./dev`: what it runs behaves as if it had been run directly, and what it refuses is named."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def dev(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `./dev` to its end with extra environment variables."""
    return subprocess.run(
        [str(ROOT / "dev"), *arguments],
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def interpreter() -> str:
    """The interpreter of the environment that the tests run in, so that it is ready made."""
    recorded = Path(sys.prefix) / ".interpreter"
    if not recorded.exists():
        pytest.skip("the tests were not started by ./dev")
    return recorded.read_text().strip()


def test_help_names_every_command() -> None:
    """Without arguments it says what there is, and succeeds."""
    result = dev()
    assert result.returncode == 0
    for command in ("serve", "run", "test", "check", "stress", "bench", "lock"):
        assert f"\n  {command} " in result.stdout


def test_unknown_command_is_refused() -> None:
    """A misspelt command prints the usage to standard error and exits with 2."""
    result = dev("sevre")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("usage: ./dev")


def test_chosen_interpreter_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    """NOGILSERVE_PYTHON is never silently replaced by another interpreter."""
    result = dev("run", "true", NOGILSERVE_PYTHON=str(tmp_path / "python"))
    assert result.returncode == 1
    assert "there is no such program" in result.stderr


def test_chosen_interpreter_that_is_unfit_is_an_error(tmp_path: Path) -> None:
    """The reason is what the interpreter itself said."""
    unfit = tmp_path / "python"
    unfit.write_text("#!/bin/sh\necho it is a shell script\nexit 1\n")
    unfit.chmod(0o755)
    result = dev("run", "true", NOGILSERVE_PYTHON=str(unfit))
    assert result.returncode == 1
    assert "cannot be used: it is a shell script" in result.stderr


def test_run_passes_the_exit_status_through(interpreter: str) -> None:
    """The status of the command is that of ./dev, and its words are its own."""
    result = dev("run", "sh", "-c", "echo out; exit 7", NOGILSERVE_PYTHON=interpreter)
    assert (result.returncode, result.stdout) == (7, "out\n")


def test_run_hides_its_own_variables_from_the_server(interpreter: str) -> None:
    """NOGILSERVE_… are the server's options; the interpreter's name is none of them."""
    result = dev("run", "env", NOGILSERVE_PYTHON=interpreter)
    assert result.returncode == 0
    assert "NOGILSERVE_PYTHON" not in result.stdout


def test_run_becomes_the_command(interpreter: str) -> None:
    """The command has the process id of ./dev, so a signal reaches it."""
    with subprocess.Popen(
        [str(ROOT / "dev"), "run", "sh", "-c", "echo $$; exec cat"],
        env=os.environ | {"NOGILSERVE_PYTHON": interpreter},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM


def test_source_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    """A tarball with another checksum is not built, whatever its name."""
    tarball = tmp_path / "python3.14_3.14.7.orig.tar.xz"
    tarball.write_bytes(b"not Python")
    result = subprocess.run(
        [str(ROOT / "tools" / "build-python.sh")],
        env=os.environ
        | {"NOGILSERVE_PYTHON_SOURCE": str(tarball), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert "the SHA-256 of NOGILSERVE_PYTHON_SOURCE is not in" in result.stderr
    assert "building" not in result.stderr
    assert [path.name for path in (tmp_path / "cache" / "nogilserve").iterdir()] == ["lock"]
