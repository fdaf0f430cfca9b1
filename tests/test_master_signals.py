"""Threads added and taken, logs opened anew, and what a lonely process does of all this."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server import Server
from tests.support.waiting import wait_until

APP = "tests.supervise.waiting_app:app"
SECONDS = 30.0

Start = Callable[..., Server]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
BOTH = pytest.mark.parametrize("options", [(), ("--no-master",)], ids=["master", "no-master"])


@BOTH
def test_threads_are_added_and_taken(serve: Start, options: tuple[str, ...]) -> None:
    """SIGTTIN adds a thread that can be inside the application, SIGTTOU takes one; one per core
    stays."""
    server = serve(APP, "--threads", "1", "--graceful-timeout", "1", *options)
    stuck = [server.connect() for _ in range(2)]
    try:
        for number, client in enumerate(stuck, 2):
            server.signal(signal.SIGTTIN)
            server.wait_log(rf"There are {number} threads now")
            client.send(b"GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n")
            server.wait_log("inside /stuck", count=number - 1)
        with server.connect() as client:
            assert client.get("/").status == 200
        for expected in ("2 threads", "1 thread", "1 thread"):
            before = server.log.count(f"There are {expected} now")
            server.signal(signal.SIGTTOU)  # one at a time: the system joins equal signals
            server.wait_log(f"There are {expected} now", count=before + 1)
    finally:
        for client in stuck:
            client.close()
    assert server.stop() == 0


@BOTH
def test_access_log_is_opened_anew(serve: Start, tmp_path: Path, options: tuple[str, ...]) -> None:
    """After SIGUSR1 lines go to a new file of the same name."""
    path = tmp_path / "access.log"
    server = serve(APP, "--access-log", str(path), *options)
    with server.connect() as client:
        client.get("/first")
        wait_until(lambda: "/first" in path.read_text(), SECONDS)
        path.rename(tmp_path / "old.log")
        server.signal(signal.SIGUSR1)
        wait_until(path.exists, SECONDS)
        client.get("/second")
        wait_until(lambda: "/second" in path.read_text(), SECONDS)
    assert "/second" not in (tmp_path / "old.log").read_text()


def test_access_log_that_cannot_be_opened_anew(serve: Start, tmp_path: Path) -> None:
    """The old file is written on, and the log says why."""
    folder = tmp_path / "log"
    folder.mkdir()
    server = serve(APP, "--access-log", str(folder / "access.log"))
    folder.rename(tmp_path / "moved")
    server.signal(signal.SIGUSR1)
    server.wait_log("cannot be written: No such file.*; going on with the file as it was")
    with server.connect() as client:
        client.get("/still")
    wait_until(lambda: "/still" in (tmp_path / "moved/access.log").read_text(), SECONDS)


def test_signals_to_the_whole_group_spare_the_generation(serve: Start) -> None:
    """A service manager sends signals to all processes; only the master reacts."""
    server = serve(APP)
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGTTIN, signal.SIGINT):
        os.kill(server.serving, number)
    with server.connect() as client:
        assert client.get("/").status == 200
    assert len(server.generations()) == 1


def test_limit_without_a_master(serve: Start, tmp_path: Path) -> None:
    """The process ends in order, for whoever starts it again."""
    arguments = ("--no-master", "--max-requests", "3", "--pid-file", str(tmp_path / "pid"))
    server = serve(APP, *arguments)
    assert (tmp_path / "pid").read_text() == f"{server.pid}\n"
    with server.connect() as client:
        for _ in range(3):
            assert client.get("/").status == 200
    server.wait_log("Ending, because no master can replace this process: it has served 3 requests")
    assert server.wait() == 0
    assert not (tmp_path / "pid").exists()
