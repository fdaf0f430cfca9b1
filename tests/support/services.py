"""Real PostgreSQL and Redis servers for tests, on unix sockets in folders of their own.

They come from the system's packages (Debian: postgresql, redis-server); where one is missing, the
tests that want it are skipped and say so. PostgreSQL refuses to run as root, so a test run by root
starts it as the user postgres, or nobody.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

__all__ = ["postgresql", "redis_server"]

SECONDS = 60.0


def _newest_postgresql() -> Path:
    """The folder of the newest PostgreSQL; skips the test where there is none."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda folder: float(folder.parent.name),
        reverse=True,
    )
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    pytest.skip("no PostgreSQL here (Debian: apt-get install postgresql)")


def _somebody() -> int | None:
    """The user to run as: None for ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    pytest.skip("PostgreSQL does not run as root, and there is neither a postgres nor a nobody")


@contextmanager
def _process(command: list[str], folder: Path, user: int | None) -> Iterator[None]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=user
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(SECONDS)


@contextmanager
def postgresql() -> Iterator[str]:
    """A database for the length of the block: its URL for SQLAlchemy with asyncpg."""
    binaries, user = _newest_postgresql(), _somebody()
    # Not below pytest's folder: nobody else may look into that.
    folder = Path(tempfile.mkdtemp(prefix="nogilserve-pg-"))
    try:
        if user is not None:
            os.chown(folder, user, -1)
        data = folder / "data"
        initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust"]
        initdb += ["--no-sync", "-E", "UTF8", "--locale=C"]
        made = subprocess.run(
            initdb, cwd=folder, user=user, capture_output=True, text=True, timeout=SECONDS
        )
        assert made.returncode == 0, made.stderr
        command = [str(binaries / "postgres"), "-D", str(data), "-F", "-k", str(folder)]
        with _process([*command, "-c", "listen_addresses="], folder, user):
            ready = [str(binaries / "pg_isready"), "-q", "-h", str(folder)]
            wait_until(
                lambda: subprocess.run(ready, timeout=SECONDS).returncode == 0,
                SECONDS,
                "PostgreSQL did not start",
            )
            yield f"postgresql+asyncpg://postgres@/postgres?host={folder}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def redis_server() -> Iterator[str]:
    """A Redis for the length of the block: its URL."""
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        pytest.skip("no Redis here (Debian: apt-get install redis-server)")
    with tempfile.TemporaryDirectory(prefix="nogilserve-redis-") as name:
        folder = Path(name)
        socket = folder / "socket"
        command = [binary, "--port", "0", "--unixsocket", str(socket), "--save", ""]
        with _process([*command, "--dir", name], folder, None):
            wait_until(socket.exists, SECONDS, "Redis did not start")
            yield f"unix://{socket}"
