"""The end of processes with an application that nothing frees: its files are written all the same,
and where it is freed, its finalizers are run."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.server import MEMBERS, RUNTIME, Server, children_of
from tests.support.waiting import wait_until

SECONDS = 30.0
TWO = ("--workers", "2", "--threads", "4")

pytestmark = pytest.mark.skipif(
    RUNTIME in MEMBERS, reason="names the runtime itself, and counts processes"
)

APP = """
import atexit, os

FOLDER = os.path.dirname(os.path.abspath(__file__))

class Journal:
    def __init__(self, name):
        self.file = open(f"{FOLDER}/{name}-{os.getpid()}.txt", "w")

class Ending:
    def __del__(self, write=os.write, number=os.open(f"{FOLDER}/ended", os.O_WRONLY | os.O_CREAT)):
        write(number, b"ended")

class App:
    def __init__(self):
        self.journal = Journal("text")
        self.ending = Ending()
        self.octets = open(f"{FOLDER}/octets-{os.getpid()}.txt", "wb")
        self.octets.write(b"begun")

    def __call__(self, environ, start_response):
        self.journal.file.write(environ["PATH_INFO"])
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

app = App()
atexit.register(lambda: app.journal.file.write(" end"))
"""


def journal(folder: Path, name: str = "text") -> list[str]:
    """What is in the files of that name."""
    return [file.read_text() for file in sorted(folder.glob(f"{name}-*.txt"))]


def ask(server: Server, path: str) -> None:
    """A request that is written down, but only in memory."""
    with server.connect() as client:
        assert client.get(path).status == 200


@pytest.mark.parametrize("options", [(), ("--no-master",), ("--prepare", "none")])
def test_files_are_written_at_the_end(
    serve: Callable[..., Server], tmp_path: Path, options: tuple[str, ...]
) -> None:
    """What requests have left there, and what the application adds at its very end."""
    (tmp_path / "main.py").write_text(APP)
    server = serve("main:app", *TWO, *options, cwd=tmp_path)
    ask(server, "/asked")
    assert journal(tmp_path) == [""]
    assert server.stop() == 0
    assert journal(tmp_path) == ["/asked end"]
    assert journal(tmp_path, "octets") == ["begun"]


def test_files_of_members_are_written_at_the_end(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    """Each process has its own."""
    (tmp_path / "main.py").write_text(APP)
    server = serve("main:app", *TWO, "--runtime", "processes", cwd=tmp_path)
    ask(server, "/asked")
    assert server.stop() == 0
    assert sorted(journal(tmp_path)) == [" end", "/asked end"]
    assert journal(tmp_path, "octets") == ["begun", "begun"]


@pytest.mark.parametrize("steps", ["none", "freeze,defer"])
def test_finalizers_run_at_the_end(
    serve: Callable[..., Server], tmp_path: Path, steps: str
) -> None:
    """Where nothing is immortal, also with a master, which a thread listens to until the end."""
    (tmp_path / "main.py").write_text(APP)
    server = serve("main:app", *TWO, "--prepare", steps, cwd=tmp_path)
    ask(server, "/asked")
    assert (tmp_path / "ended").read_bytes() == b""
    assert server.stop() == 0
    assert (tmp_path / "ended").read_bytes() == b"ended"


def gone(server: Server, process: int) -> bool:
    """Whether a process of the server has ended."""
    return process not in children_of(server.pid)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="asks by signal")
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads /proc")
def test_a_reload_frees_all_of_the_generation_before(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    """With its process, so whatever is immortal in it."""
    (tmp_path / "main.py").write_text(APP)
    server = serve("main:app", *TWO, cwd=tmp_path)
    for number in range(3):
        before = server.serving
        ask(server, f"/{number}")
        server.signal(signal.SIGHUP)
        server.wait_log(r"generation \d+: Stopped after", SECONDS, number + 1)
        wait_until(partial(gone, server, before), SECONDS, "the end of the generation before")
        assert len(server.generations()) == 1
    assert sorted(journal(tmp_path)) == ["", "/0 end", "/1 end", "/2 end"]


STUCK = """
import os, threading
reading, writing = os.pipe()
file = open(writing, "wb")
thread = threading.Thread(target=file.write, args=(bytes(1 << 20),), daemon=True)

def app(environ, start_response):
    if not thread.ident:
        thread.start()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


def test_who_is_stuck_in_a_file_does_not_hold_up_the_end(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    """A thread that nobody waits for, and that has the file to itself."""
    (tmp_path / "main.py").write_text(STUCK)
    server = serve("main:app", *TWO, "--no-master", cwd=tmp_path)
    ask(server, "/")
    assert server.stop() == 0
