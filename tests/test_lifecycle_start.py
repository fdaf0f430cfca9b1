"""How a server starts: the banner, what it refuses to start with, unix sockets, systemd."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nogilserve import __version__
from tests.support.extension import compile_extension
from tests.support.server import ROOT, Output, Server
from tests.support.waiting import wait_until
from tests.support.wire import Client

APP = "tests.supervise.waiting_app:app"
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")
HELLO = (
    "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n"
)

Start = Callable[..., Server]


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run `python -m nogilserve` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "nogilserve", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )


# ---- the banner ------------------------------------------------------------------------------


def test_banner(serve: Start) -> None:
    """The first lines say what runs, on what, with how many threads, and where."""
    server = serve(APP, "--threads", "7", "--workers", "2")
    version = ".".join(str(part) for part in sys.version_info[:3])
    build = "free-threaded" if FREE_THREADED else "with the GIL"
    state = "on" if getattr(sys, "_is_gil_enabled", lambda: True)() else "off"
    expected = [
        f"nogilserve {__version__} on CPython {version} ({build}, GIL {state}), pid {server.pid}",
        f"Serving {APP} (WSGI): runtime threads, 7 threads on 2 cores",
        f"Listening on http://127.0.0.1:{server.port}",
    ]
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} \[INFO\] "
    found = server.log.splitlines()
    assert [re.sub(f"^{stamp}", "", line) for line in found] == expected
    assert all(re.match(stamp, line) for line in found)


def test_cores_are_at_most_as_many_as_threads(serve: Start) -> None:
    """One thread drives one core, however many processors there are; one is written so."""
    assert "1 thread on 1 core\n" in serve(APP, "--threads", "1").log


def test_log_lines_need_no_unbuffered_python(serve: Start) -> None:
    """Lines of the log are there when they are written, also without PYTHONUNBUFFERED."""
    server = serve(APP, "--access-log", "-", env={"PYTHONUNBUFFERED": ""})
    with server.connect() as client:
        assert client.get("/buffered").status == 200
    server.wait_out(r'"GET /buffered HTTP/1\.1" 200 6')


def test_log_level(serve: Start, tmp_path: Path) -> None:
    """--log-level error leaves the ordinary messages out."""
    path = tmp_path / "s"
    server = serve(APP, "--log-level", "error", "--uds", str(path), wait_ready=False)
    wait_until(path.is_socket, 20)
    with Client(str(path)) as client:
        assert client.get("/").status == 200
    assert server.stop() == 0
    assert server.log == ""


@pytest.mark.parametrize("way", ["module", "script"])
def test_ways_to_start(way: str) -> None:
    """`nogilserve` and `python -m nogilserve` are the same command."""
    script = Path(sysconfig.get_path("scripts")) / "nogilserve"
    if way == "script" and not script.exists():
        pytest.skip("the package is not installed")
    command = [str(script)] if way == "script" else [sys.executable, "-m", "nogilserve"]
    for arguments in (["--version"], ["--help"], ["--no-such-option"], [APP, "--check-config"]):
        ended = subprocess.run(
            [*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        module = run(*arguments)
        assert (ended.returncode, ended.stdout, ended.stderr) == (
            module.returncode,
            module.stdout,
            module.stderr,
        )


def test_extension_that_switches_the_gil_on(serve: Start, tmp_path: Path) -> None:
    """The module is named in a warning where there is one core, and the server serves."""
    if not FREE_THREADED:
        pytest.skip("this build has a GIL anyway")
    compile_extension(tmp_path, "unsafe_two", safe=False)
    (tmp_path / "main.py").write_text("import unsafe_two\n" + HELLO)
    server = serve("main", "--workers", "1", cwd=tmp_path)
    assert "(free-threaded, GIL on)" in server.log
    assert "[WARNING] The GIL was switched on by importing unsafe_two, which" in server.log
    with server.connect() as client:
        assert client.get("/").body == b"hello"


def test_extension_that_switches_the_gil_on_makes_processes(serve: Start, tmp_path: Path) -> None:
    """With two cores the banner says that it is processes, and because of which module."""
    if not FREE_THREADED:
        pytest.skip("this build has a GIL anyway")
    compile_extension(tmp_path, "unsafe_four", safe=False)
    (tmp_path / "main.py").write_text("import unsafe_four\n" + HELLO)
    server = serve("main", "--workers", "2", "--threads", "3", cwd=tmp_path)
    expected = "runtime processes, 2 with 2 threads each (unsafe_four switched the GIL on; it"
    assert expected in server.log
    assert "WARNING" not in server.log
    with server.connect() as client:
        assert client.get("/").body == b"hello"


def test_gil_that_the_user_switched_on(serve: Start) -> None:
    """Nobody is blamed for a GIL that PYTHON_GIL=1 asks for."""
    if not FREE_THREADED:
        pytest.skip("this build has a GIL anyway")
    server = serve(APP, "--workers", "1", env={"PYTHON_GIL": "1"})
    assert "(free-threaded, GIL on)" in server.log
    assert "PYTHON_GIL=1" in server.log
    assert "by importing" not in server.log


# ---- what it does not start with -------------------------------------------------------------


def test_failing_import_binds_nothing(tmp_path: Path) -> None:
    """The user's traceback, exit status 3, and no socket was made."""
    (tmp_path / "broken.py").write_text("def make():\n    return 1 / 0\n\napp = make()\n")
    ended = run("broken:app", "--uds", "s", cwd=tmp_path)
    assert ended.returncode == 3
    assert 'broken.py", line 2, in make' in ended.stderr
    assert "ZeroDivisionError" in ended.stderr
    assert "Listening" not in ended.stderr
    assert not (tmp_path / "s").exists()


def test_access_log_that_cannot_be_written(tmp_path: Path) -> None:
    """A wrong --access-log is a wrong configuration: 2, and nothing is bound."""
    ended = run(APP, "--uds", str(tmp_path / "s"), "--access-log", str(tmp_path / "no" / "log"))
    assert ended.returncode == 2
    assert "--access-log" in ended.stderr
    assert "cannot be written: No such file or directory" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "s").exists()


# ---- unix sockets ----------------------------------------------------------------------------


def test_unix_socket(serve: Start, tmp_path: Path) -> None:
    """Mode 0660 from the first moment, announced, removed at the end."""
    path = tmp_path / "s"
    server = serve(APP, "--uds", str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert server.addresses == [str(path)]
    with server.connect() as client:
        assert client.get("/").status == 200
    assert server.stop() == 0
    assert not path.exists()


def test_stale_unix_socket_is_replaced(serve: Start, tmp_path: Path) -> None:
    """A server that was killed leaves its socket; the next one takes its place."""
    path = tmp_path / "s"
    serve(APP, "--uds", str(path)).kill()
    assert path.is_socket()
    server = serve(APP, "--uds", str(path))
    with server.connect() as client:
        assert client.get("/").status == 200


def test_live_unix_socket_is_refused(serve: Start, tmp_path: Path) -> None:
    """A second server on the same path ends with 1, and does the first no harm."""
    path = tmp_path / "s"
    server = serve(APP, "--uds", str(path))
    ended = run(APP, "--uds", str(path))
    assert ended.returncode == 1
    assert "another server is listening there" in ended.stderr
    with server.connect() as client:
        assert client.get("/").status == 200


# ---- systemd ---------------------------------------------------------------------------------

# Does what systemd does: descriptors from 3 on, and variables that name this very process.
ACTIVATE = """
import fcntl, os, sys
fds = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 50) for fd in sys.argv[1].split(",")]
for number, fd in enumerate(fds):
    os.dup2(fd, 3 + number)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(fds)),
    "LISTEN_FDNAMES": "web:local"}
os.execv(sys.executable, [sys.executable, "-m", "nogilserve", *sys.argv[2:]])
"""


@LINUX
def test_socket_activation_with_two_sockets(tmp_path: Path) -> None:
    """Every passed socket is served on; the files and sockets stay systemd's."""
    path = tmp_path / "s"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as local,
    ):
        local.bind(str(path))
        local.listen()
        fds = (tcp.fileno(), local.fileno())
        with subprocess.Popen(
            [sys.executable, "-c", ACTIVATE, ",".join(map(str, fds)), APP],
            cwd=ROOT,
            pass_fds=fds,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stderr is not None
            errors = Output(process.stderr, "stderr")
            try:
                errors.wait(r"Listening on http://127\.0\.0\.1:\d+\n", 20)
                errors.wait(rf"Listening on unix:{re.escape(str(path))}\n", 20)
                for address in (tcp.getsockname(), str(path)):
                    with Client(address) as client:
                        assert client.get("/").status == 200
            finally:
                process.terminate()
                status = process.wait(20)
                errors.thread.join(5)
        assert status == 0, errors.text
        assert path.is_socket()
        # systemd goes on listening: a connection waits for the next start.
        socket.create_connection(tcp.getsockname(), 5).close()


@pytest.fixture
def notifications(tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The path of a socket for sd_notify, and the socket."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path)
        receiver.settimeout(20)
        yield path, receiver


@LINUX
def test_systemd_is_told(serve: Start, notifications: tuple[str, socket.socket]) -> None:
    """READY once connections are accepted, WATCHDOG while serving, STOPPING at the end."""
    path, receiver = notifications
    server = serve(APP, env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"}, wait_ready=False)
    ready = receiver.recv(1000).decode().split("\n")
    assert ready == ["READY=1", f"STATUS=Serving {APP}", f"MAINPID={server.pid}"]
    server.wait_ready()
    with server.connect() as client:
        assert client.get("/").status == 200
    for _ in range(3):
        assert receiver.recv(1000) == b"WATCHDOG=1"
    server.signal(signal.SIGTERM)
    while (message := receiver.recv(1000)) == b"WATCHDOG=1":
        pass
    assert message == b"STOPPING=1"
    assert server.wait() == 0


@LINUX
def test_nothing_is_said_to_a_watchdog_of_others(
    serve: Start, notifications: tuple[str, socket.socket]
) -> None:
    """Variables meant for another process are not answered."""
    path, receiver = notifications
    environment = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
    server = serve(APP, env=environment)
    assert receiver.recv(1000).startswith(b"READY=1")
    with server.connect() as client:
        assert client.get("/").status == 200
    assert server.stop() == 0
    assert receiver.recv(1000) == b"STOPPING=1"


@LINUX
def test_failed_start_is_not_ready(
    notifications: tuple[str, socket.socket], tmp_path: Path
) -> None:
    """A server that cannot start never says READY."""
    path, receiver = notifications
    receiver.setblocking(False)
    ended = subprocess.run(
        [sys.executable, "-m", "nogilserve", "no_such_module", "--uds", str(tmp_path / "s")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": path},
        capture_output=True,
        timeout=60,
    )
    assert ended.returncode == 3
    with pytest.raises(BlockingIOError):
        receiver.recv(1000)
