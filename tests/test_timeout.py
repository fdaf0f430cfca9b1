"""`--timeout`: a request that takes too long gets a 504, and costs no thread for good."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server import Server
from tests.support.waiting import wait_until

SECONDS = 30.0
APP = """
import sys, threading
gates = {}

def stuck_here(name):
    gates.setdefault(name, threading.Event()).wait(60)

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/stuck/"):
        stuck_here(path)
    elif path.startswith("/free/"):
        gates["/stuck/" + path[6:]].set()
    elif path == "/begun":
        write = start_response("200 OK", [("Content-Length", "4")])
        write(b"ab")
        threading.Event().wait(1.5)
        return [b"cd"]
    body = environ["wsgi.input"].read() or b"ok"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

Start = Callable[..., Server]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with main.py."""
    (tmp_path / "main.py").write_text(APP)
    return tmp_path


@pytest.mark.parametrize("threads", ["1", "4"])
def test_stuck_request(serve: Start, project: Path, threads: str) -> None:
    """504 and the end of the connection, the stack in the log; others are served, also when every
    thread was stuck."""
    server = serve(
        "main:app", "--runtime", "threads", "--timeout", "0.5", "--threads", threads, cwd=project
    )
    for number in range(int(threads) + 1):
        with server.connect(timeout=SECONDS) as client:
            response = client.get(f"/stuck/{number}")
            assert (response.status, response.get("Connection")) == (504, "close")
            assert response.body.startswith(b"504 Gateway Timeout: the application took too long")
            client.half_close()
            client.wait_closed()
    server.wait_log(r"request \w+: GET /stuck/0 has not begun its response in 0\.5 s")
    server.wait_log("in stuck_here", count=int(threads) + 1)
    for number in range(int(threads) + 1):
        with server.connect(timeout=SECONDS) as client:
            assert client.get(f"/free/{number}").status == 200
    server.wait_log(r"request \w+: the thread has come back", count=int(threads) + 1)
    with server.connect(timeout=SECONDS) as client:
        for _ in range(20):
            assert client.get("/").body == b"ok"


def test_answer_that_has_begun_may_take_longer(serve: Start, project: Path) -> None:
    """The limit is for the beginning of the response."""
    server = serve("main:app", "--runtime", "threads", "--timeout", "0.5", cwd=project)
    with server.connect() as client:
        assert client.get("/begun").body == b"abcd"
        upload = os.urandom(400_000)
        assert client.request("POST", "/", body=upload).body == upload


def test_access_log_has_the_504(serve: Start, project: Path) -> None:
    """The request stands there once, with the reason."""
    path = project / "access.log"
    arguments = ("--timeout", "0.3", "--access-log", str(path), "--access-log-format", "json")
    server = serve("main:app", "--runtime", "threads", *arguments, cwd=project)
    with server.connect() as client:
        assert client.request("POST", "/stuck/1", body=b"x" * 10).status == 504
    with server.connect() as client:
        assert client.get("/free/1").status == 200
    wait_until(lambda: path.read_text().count("\n") == 2, SECONDS)
    assert '"status": 504' in path.read_text()
    assert "took too long" in path.read_text()


def test_too_many_stuck_threads(serve: Start, project: Path) -> None:
    """The next generation takes over, and the old one does not wait for them."""
    server = serve(
        "main:app", "--runtime", "threads", "--timeout", "0.3", "--stuck-threads", "2", cwd=project
    )
    for number in range(2):
        with server.connect() as client:
            assert client.get(f"/stuck/{number}").status == 504
    server.wait_log(
        r"Starting generation 2: generation 1 asks for it: 2 threads are stuck", SECONDS
    )
    server.wait_log("Generation 2 has taken over", SECONDS)
    wait_until(lambda: len(server.generations()) == 1, SECONDS)
    assert "Stacks of all threads" not in server.log
