"""Generations that die, freeze or never start: the service goes on."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server import ROOT, Server
from tests.support.waiting import wait_until
from tests.support.wire import Client

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")

SECONDS = 30.0
APP = """
import os, signal, sys, threading

def app(environ, start_response):
    path = environ["PATH_INFO"]
    body = str(os.getpid()).encode()
    if path == "/exit":
        os._exit(7)
    elif path == "/crash":
        os.kill(os.getpid(), signal.SIGSEGV)
        threading.Event().wait(10)
    elif path == "/wait":
        print("inside", path, file=sys.stderr, flush=True)
        threading.Event().wait(60)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

Start = Callable[..., Server]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with main.py."""
    (tmp_path / "main.py").write_text(APP)
    return tmp_path


def pid_of(client: Client) -> int:
    """Of the process that answers."""
    return int(client.get("/").body)


def test_killed_generation_is_replaced(serve: Start, project: Path) -> None:
    """The log says which signal and what was running; clients that connect meanwhile wait in the
    queue of the system and are served by the next one."""
    server = serve("main:app", "--runtime", "threads", "--threads", "4", cwd=project)
    with server.connect() as client:
        old = pid_of(client)
        assert old == server.serving != server.pid
        with server.connect() as stuck:
            stuck.send(b"GET /wait?for=me HTTP/1.1\r\nHost: a\r\n\r\n")
            server.wait_log("inside /wait")
            # Until it is on the board; nothing tells when that is.
            wait_until(lambda: "for=me" in board_of(server, project), SECONDS)
            os.kill(old, signal.SIGKILL)
            stuck.wait_closed()
        waiting = [server.connect() for _ in range(10)]
        try:
            new = {pid_of(one) for one in waiting}
        finally:
            for one in waiting:
                one.close()
    assert len(new) == 1
    assert new != {old}
    server.wait_log(
        r"\[ERROR\] Generation 1 was killed by SIGKILL; last seen inside the application: "
        r"GET /wait\?for=me\n"
    )
    server.wait_log(r"Generation 2 serves, pid \d+")


def board_of(server: Server, project: Path) -> str:
    """What the generation has written for its master."""
    for name in os.listdir(f"/proc/{server.serving}/fd") if os.path.isdir("/proc/self") else []:
        with contextlib.suppress(OSError):
            path = f"/proc/{server.pid}/fd/{name}"
            if "nogilserve-board" in os.readlink(path):
                return Path(path).read_bytes().decode("latin-1")
    return "for=me"  # no /proc: the look into the log has to do


@pytest.mark.parametrize(
    ("target", "words"),
    [("/exit", "has ended with status 7"), ("/crash", "was killed by SIGSEGV")],
)
def test_view_that_ends_the_process(serve: Start, project: Path, target: str, words: str) -> None:
    """os._exit or a crash in a view costs the requests of that moment, not the service."""
    server = serve("main:app", "--runtime", "threads", "--threads", "4", cwd=project)
    with server.connect() as client:
        client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        client.wait_closed()
    with server.connect(timeout=SECONDS) as client:
        assert client.get("/").status == 200
    server.wait_log(f"Generation 1 {words}")
    assert ("Fatal Python error: Segmentation fault" in server.log) is (target == "/crash")


def test_generations_that_keep_dying(serve: Start, project: Path) -> None:
    """The pauses grow; a server that was stopped meanwhile ends."""
    server = serve("main:app", "--runtime", "threads", cwd=project)
    for number in range(1, 4):
        server.wait_log(rf"Generation {number} serves" if number > 1 else "Listening", SECONDS)
        os.kill(server.serving, signal.SIGKILL)
    server.wait_log(r"Trying again in 0\.5 s")
    server.wait_log(r"Trying again in 1 s")
    assert server.stop() == 0


def test_frozen_generation_is_replaced(serve: Start, project: Path) -> None:
    """One that gives no sign of life is replaced, and killed when the next one serves."""
    code = (
        "import nogilserve.supervise.master as m, sys; m._STALLED, m._LOOK = 2.0, 0.2; "
        "import nogilserve.supervise.entry as e; e._start_over = e._run; "
        "from nogilserve.cli import main; sys.exit(main())"
    )
    server = serve("main:app", "--runtime", "threads", cwd=project, program=("-c", code))
    old = server.serving
    os.kill(old, signal.SIGSTOP)
    server.wait_log(r"\[ERROR\] Generation 1 gives no sign of life for 2 s", SECONDS)
    server.wait_log("Generation 2 serves", SECONDS)
    wait_until(lambda: server.generations() != [] and old not in server.generations(), SECONDS)
    with server.connect() as client:
        assert pid_of(client) == server.serving


def test_import_that_kills_the_process(tmp_path: Path) -> None:
    """At the start it is a failure of the application, and nothing was bound."""
    for code, words in (
        ("import os; os._exit(5)", "has ended with status 5"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL"),
    ):
        (tmp_path / "main.py").write_text(code)
        ended = subprocess.run(
            [sys.executable, "-m", "nogilserve", "main", "--uds", "s", "--runtime", "threads"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 3
        assert ended.stderr == f"nogilserve: the process that imports the application {words}\n"
        assert not (tmp_path / "s").exists()


def test_generation_without_master_ends(serve: Start, project: Path) -> None:
    """When the master is killed the generation finishes what it has and goes."""
    server = serve("main:app", "--runtime", "threads", cwd=project)
    with server.connect() as client:
        assert client.get("/").status == 200
        server.process.send_signal(signal.SIGKILL)
        assert server.wait() == -signal.SIGKILL
        client.wait_closed()
    assert "The master is gone" in server.log
    assert "Stopped after" in server.log
    with pytest.raises(ConnectionRefusedError):
        server.connect()


def test_generation_told_to_end_by_others(serve: Start, project: Path) -> None:
    """SIGTERM to the serving process alone: the next one takes over, nothing is lost."""
    server = serve("main:app", "--runtime", "threads", cwd=project)
    with server.connect() as client:
        old = pid_of(client)
        os.kill(old, signal.SIGTERM)
        server.wait_log("Generation 2 has taken over", SECONDS)
        assert pid_of(client) == old
    with server.connect() as client:
        assert pid_of(client) != old


def test_interrupt_of_the_whole_group(project: Path) -> None:
    """Ctrl-C reaches every process of the terminal: it counts once, and what runs is finished."""
    server = Server("main:app", cwd=project, program=("-c", GROUP))
    with server, server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHo")
        os.killpg(server.pid, signal.SIGINT)
        server.wait_log("Stopping: finishing what was accepted")
        client.send(b"st: a\r\n\r\n")
        assert client.receive().status == 200
        assert server.wait() == 0
    assert "Told twice" not in server.log
    assert "Traceback" not in server.log


GROUP = "import os, sys; os.setpgrp(); from nogilserve.cli import main; sys.exit(main())"


def test_listening_socket_is_not_left_to_the_application(serve: Start, project: Path) -> None:
    """What the application starts does not keep the port when the server is gone."""
    (project / "main.py").write_text(
        APP + "import subprocess\n"
        "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
    )
    server = serve("main:app", "--runtime", "threads", cwd=project)
    assert server.stop() == 0
    with socket.create_server(("127.0.0.1", server.port)):
        pass
