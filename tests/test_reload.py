"""Reload: the next generation takes over, and no request is lost."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server import Server
from tests.support.waiting import wait_until
from tests.support.wire import Client, Response

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")

SECONDS = 30.0
APP = """
import os, threading

VERSION = {version!r}

def app(environ, start_response):
    body = VERSION.encode()
    if environ["PATH_INFO"] == "/echo":
        body = environ["wsgi.input"].read()
    elif environ["PATH_INFO"] == "/slow":
        threading.Event().wait(0.05)
    elif environ["PATH_INFO"] == "/pid":
        body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

Start = Callable[..., Server]


def write(folder: Path, version: str) -> None:
    """The application, in a version of its own."""
    new = folder / "main.new"
    new.write_text(APP.format(version=version))
    new.replace(folder / "main.py")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with main.py, version "one"."""
    write(tmp_path, "one")
    return tmp_path


def ask(server: Server, target: str = "/") -> str:
    """The answer on a new connection."""
    with server.connect() as client:
        return client.get(target).body.decode()


def reload(server: Server, generation: int) -> None:
    """SIGHUP, and wait until that generation alone accepts connections."""
    server.signal(signal.SIGHUP)
    server.wait_log(rf"Generation {generation} has taken over", SECONDS)


def test_new_code_is_served(serve: Start, project: Path) -> None:
    """After SIGHUP the application is imported anew, in another process, and the old one ends."""
    server = serve("main:app", cwd=project)
    old = ask(server, "/pid")
    assert ask(server) == "one"
    write(project, "two")
    reload(server, 2)
    assert ask(server) == "two"
    assert ask(server, "/pid") != old
    wait_until(lambda: len(server.generations()) == 1, SECONDS)
    assert server.stop() == 0


def test_failing_code_is_not_served(serve: Start, project: Path) -> None:
    """The old generation serves on; the log has the user's traceback; the next change works."""
    server = serve("main:app", cwd=project)
    (project / "main.py").write_text("def make():\n    return 1 / 0\n\napp = make()\n")
    server.signal(signal.SIGHUP)
    server.wait_log("Generation 2 did not start; the one before serves on: importing 'main' failed")
    server.wait_log(r'main\.py", line 2, in make')
    assert ask(server) == "one"
    write(project, "three")
    reload(server, 3)
    assert ask(server) == "three"


def test_import_that_never_ends(serve: Start, project: Path) -> None:
    """It is given up after --ready-timeout; a reload meanwhile starts afresh."""
    server = serve("main:app", "--ready-timeout", "6", cwd=project)
    hang = "import sys, threading\nprint('hanging', file=sys.stderr)\nthreading.Event().wait(60)\n"
    (project / "main.py").write_text(hang)
    server.signal(signal.SIGHUP)
    server.wait_log("Generation 2 did not start; .* was not ready within 6 s", SECONDS)
    assert ask(server) == "one"
    server.signal(signal.SIGHUP)
    server.wait_log("hanging", count=2)
    write(project, "two")
    reload(server, 4)
    assert ask(server) == "two"


def ask_to_the_end(client: Client, answer: Response) -> None:
    """Ask until an answer says that it was the last one; its connection may not have heard of the
    reload when the first comes."""
    while answer.get("Connection") != "close":
        answer = client.get("/")
        assert answer.body == b"one"
    client.wait_closed()


def test_request_in_flight_is_finished_by_the_old_generation(serve: Start, project: Path) -> None:
    """An upload that began before the reload is answered by the code it was sent to."""
    server = serve("main:app", cwd=project)
    with server.connect() as client, server.connect() as idle, server.connect() as fresh:
        assert idle.get("/").body == b"one"
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
        write(project, "two")
        reload(server, 2)
        client.send(b"def")
        answer = client.receive()
        assert answer.body == b"abcdef"
        ask_to_the_end(client, answer)
        for one in (idle, fresh):
            ask_to_the_end(one, one.get("/"))
    assert ask(server) == "two"
