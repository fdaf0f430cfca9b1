"""A real Redis that a test stops and starts again; it forgets everything meanwhile."""

import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.support.waiting import wait_until

__all__ = ["RestartableRedis"]


class RestartableRedis:
    """On a unix socket in the folder given."""

    def __init__(self, folder: Path) -> None:
        found = shutil.which("redis-server") or shutil.which("valkey-server")
        if found is None:
            pytest.skip("no Redis here (Debian: apt-get install redis-server)")
        self.binary: str = found
        self.socket = folder / "redis"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For --storage."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Start it, empty."""
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [self.binary, "--port", "0", "--unixsocket", str(self.socket), "--save", ""],
            cwd=self.socket.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        wait_until(self.socket.exists, 20, "Redis did not start")

    def stop(self) -> None:
        """End it, as a machine that fails."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
