"""Commands for a running server, as a user gives them."""

import subprocess
import sys
from pathlib import Path

from tests.support.server import ROOT

__all__ = ["command"]


def command(control: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """A command for the server with this control socket."""
    return subprocess.run(
        [sys.executable, "-m", "nogilserve", *words, f"--control-socket={control}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
