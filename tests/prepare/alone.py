"""Code in a process of its own: what is deferred or immortal stays so."""

import subprocess
import sys

from tests.support.server import ROOT

__all__ = ["python"]

SECONDS = 120.0


def python(code: str) -> str:
    """What code prints."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
