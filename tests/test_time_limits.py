"""Limits for routes: which one is meant, and that `--timeout-route` reaches the threads."""

from pathlib import Path

import pytest

from nogilserve.messages import TimeLimits
from tests.support.server import Server

LIMITS = TimeLimits(10.0, (("/upload", 300.0), ("/upload/small", 5.0), ("/events", 0.0)))

APP = """
import threading

def app(environ, start_response):
    if environ["PATH_INFO"].startswith("/slow"):
        threading.Event().wait(1.0)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.mark.parametrize(
    ("path", "seconds"),
    [
        ("/", 10.0),
        ("/upload", 300.0),
        ("/upload/big", 300.0),
        ("/uploads", 10.0),
        ("/upload/small", 5.0),
        ("/upload/small/x", 5.0),
        ("/events/1", 0.0),
        ("*", 10.0),
    ],
)
def test_longest_route_decides(path: str, seconds: float) -> None:
    """Routes end at a slash, and a limit of 0 lifts the general one."""
    assert LIMITS.of(path) == seconds


def test_root_is_a_route() -> None:
    """It is the shortest one, below which everything is."""
    assert TimeLimits(1.0, (("/", 2.0),)).of("/x") == 2.0


def test_whether_there_is_any() -> None:
    """Without one nothing is in the way of a request."""
    assert not TimeLimits()
    assert not TimeLimits(0.0, (("/x", 0.0),))
    assert TimeLimits(0.0, (("/x", 1.0),))


def test_threads(tmp_path: Path) -> None:
    """A route with a limit gets 504, one without does not."""
    (tmp_path / "main.py").write_text(APP)
    arguments = ("--timeout", "0.2", "--timeout-route", "/slow/fine=0", "--runtime", "threads")
    with Server("main:app", *arguments, cwd=tmp_path) as server:
        with server.connect(timeout=20.0) as client:
            assert client.get("/slow/fine").body == b"ok"
        with server.connect(timeout=20.0) as client:
            assert client.get("/slow").status == 504
