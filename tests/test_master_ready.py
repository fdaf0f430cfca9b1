"""`--ready-path`, and the limits after which a generation gives way to the next."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server import Server
from tests.support.waiting import wait_until

SECONDS = 30.0
APP = """
import os, sys
kept = []

def app(environ, start_response):
    path = environ["PATH_INFO"]
    status = "200 OK"
    if path == "/grow":
        kept.append(b"x" * (1 << 22))
    elif path == "/ready":
        print("asked by", environ["SERVER_NAME"], file=sys.stderr, flush=True)
        status = {status!r}
    start_response(status, [("Content-Length", "2")])
    return [b"ok"]
"""

Start = Callable[..., Server]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="reads /proc, sends signals")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with main.py, which is ready."""
    (tmp_path / "main.py").write_text(APP.format(status="200 OK"))
    return tmp_path


def test_ready_path_is_asked_before_anything_is_accepted(serve: Start, project: Path) -> None:
    """Once per generation, over no address that anybody else can reach."""
    server = serve("main:app", "--ready-path", "/ready", cwd=project)
    log = server.log
    assert log.index("asked by localhost") < log.index("Listening on")
    with server.connect() as client:
        assert client.get("/").status == 200
    assert server.stop() == 0
    assert server.log.count("asked by") == 1


@pytest.mark.parametrize("options", [(), ("--no-master",)])
def test_application_that_is_not_ready(project: Path, options: tuple[str, ...]) -> None:
    """It is a failure of the application: 3, and nothing was bound."""
    (project / "main.py").write_text(APP.format(status="500 No"))
    arguments = ("--uds", "s", "--ready-path", "/ready", *options)
    server = Server("main:app", *arguments, cwd=project, wait_ready=False)
    assert server.wait() == 3
    assert server.log.endswith("GET /ready was answered with 500 No (--ready-path)\n")
    assert not (project / "s").exists()


def recycled(server: Server, words: str) -> None:
    """Wait for the next generation, and check that it serves."""
    server.wait_log(rf"Starting generation 2: generation 1 asks for it: {words}", SECONDS)
    server.wait_log("Generation 2 has taken over", SECONDS)
    with server.connect() as client:
        assert client.get("/").status == 200
    wait_until(lambda: len(server.generations()) == 1, SECONDS)


def test_max_requests(serve: Start, project: Path) -> None:
    """After that many requests the next generation takes over."""
    server = serve("main:app", "--max-requests", "5", "--max-requests-jitter", "5", cwd=project)
    with server.connect() as client:
        for _ in range(10):
            assert client.get("/").status == 200
    recycled(server, r"it has served \d+ requests \(--max-requests\)")


def test_max_rss(serve: Start, project: Path) -> None:
    """Memory that grows is given back by the next generation."""
    server = serve("main:app", "--max-rss", "100MiB", cwd=project)
    with server.connect() as client:
        for _ in range(25):
            assert client.get("/grow").status == 200
    recycled(server, r"it uses \d+ MiB of memory \(--max-rss\)")


def test_generation_lifetime(serve: Start, project: Path) -> None:
    """However well it is, it gives way after that time."""
    server = serve("main:app", "--generation-lifetime", "1", cwd=project)
    recycled(server, r"it has served for \d+ s \(--generation-lifetime\)")
