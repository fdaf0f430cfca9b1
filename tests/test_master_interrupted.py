"""SIGINT while the interpreter of a master or a generation starts: it waits until Python can take
it."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server import ROOT, Server

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signal masks are POSIX's")

TELL = """
import signal, sys
masked = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))
print("WHERE masks", masked, file=sys.stderr, flush=True)
"""
APP = (
    TELL.replace("WHERE", "application")
    + """
def app(environ, start_response):
    start_response("200 OK", [])
    return []
"""
)


def test_masked_until_it_can_be_taken(tmp_path: Path, serve: Callable[..., Server]) -> None:
    """Masked while Python starts, which would call it a fatal error, and no longer."""
    (tmp_path / "sitecustomize.py").write_text(TELL.replace("WHERE", "site"))
    (tmp_path / "main.py").write_text(APP)
    server = serve("main:app", env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
    told = re.findall(r"(\w+) masks \[(.*)\]", server.log)
    masked = ("site", "<Signals.SIGINT: 2>")
    assert told == [("site", ""), masked, masked, ("application", "")]
