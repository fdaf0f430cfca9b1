"""Commands for a running server, the upgrade of its master, pid file, user and umask."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.server import ROOT, Output, Server
from tests.support.waiting import wait_until
from tests.support.wire import Client

pytestmark = pytest.mark.skipif(os.name != "posix", reason="unix sockets, POSIX signals")

SECONDS = 30.0
APP = """
import os

def app(environ, start_response):
    os.close(os.open(f"made-{os.getpid()}", os.O_CREAT | os.O_WRONLY, 0o666))
    body = f"{VERSION} {os.getpid()} {os.getuid()} {os.getgid()}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

Start = Callable[..., Server]
type Command = Callable[..., "subprocess.CompletedProcess[str]"]


def write(folder: Path, version: str) -> None:
    """The application, in a version of its own."""
    (folder / "main.py").write_text(f"VERSION = {version!r}\n{APP}")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with main.py, version "one"."""
    write(tmp_path, "one")
    return tmp_path


@pytest.fixture
def places() -> Iterator[dict[str, str]]:
    """Variables that keep control sockets in a place of this test; its path is short enough."""
    with tempfile.TemporaryDirectory(prefix="ng", dir="/tmp") as folder:
        yield {"XDG_RUNTIME_DIR": folder, "TMPDIR": folder}


@pytest.fixture
def command(project: Path, places: dict[str, str]) -> Command:
    """Run `nogilserve COMMAND` in the project's directory."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "nogilserve", *arguments],
            cwd=project,
            env={**os.environ, "PYTHONPATH": str(ROOT), **places},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def ask(address: tuple[str, int] | str) -> list[str]:
    """Version, pid, user and group of who answers."""
    with Client(address, SECONDS) as client:
        return client.get("/").body.decode().split()


def test_reload_command(
    serve: Start, project: Path, command: Command, places: dict[str, str]
) -> None:
    """`nogilserve reload` finds the only server and returns when the new code is served."""
    server = serve("main:app", cwd=project, env=places)
    write(project, "two")
    ended = command("reload")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "Generation 2 has taken over\n"
    assert ask(server.addresses[0])[0] == "two"


def test_reload_of_failing_code(
    serve: Start, project: Path, command: Command, places: dict[str, str]
) -> None:
    """It says why, with exit status 1, and the old code is served on."""
    server = serve("main:app", cwd=project, env=places)
    (project / "main.py").write_text("1 / 0\n")
    ended = command("reload")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(
        "nogilserve: generation 2 did not start: importing 'main' failed: ZeroDivisionError"
    )
    assert ask(server.addresses[0])[0] == "one"


def test_status_and_stop(
    serve: Start, project: Path, command: Command, places: dict[str, str]
) -> None:
    """`status` names what runs, `stop` ends it in order; then nobody is found."""
    server = serve("main:app", cwd=project, env=places)
    status = command("status")
    assert f"pid {server.pid}, main:app on {server.url}" in status.stdout
    assert f"generation 1, serving for 0 s, pid {server.serving}" in status.stdout.replace(
        "for 1 s", "for 0 s"
    )
    assert command("stop").returncode == 0
    assert server.wait() == 0
    assert not list((Path(places["XDG_RUNTIME_DIR"]) / "nogilserve").iterdir())
    assert "no running server of this user was found" in command("status").stderr


def test_which_server_is_meant(
    serve: Start, project: Path, command: Command, places: dict[str, str]
) -> None:
    """Of several it is the one whose address is named, or whose socket is."""
    first = serve("main:app", cwd=project, env=places)
    second = serve("main:app", "--control-socket", "own.sock", cwd=project, env=places)
    third = serve("main:app", cwd=project, env=places)
    ended = command("status")
    assert ended.returncode == 1
    assert "several servers are running: say --bind" in ended.stderr
    for server, arguments in (
        (first, ("--bind", f"127.0.0.1:{first.port}")),
        (second, ("--control-socket", "own.sock")),
        (third, ("--port", str(third.port))),
    ):
        assert f"pid {server.pid}," in command("status", *arguments).stdout
    assert stat.S_IMODE((project / "own.sock").stat().st_mode) == 0o600


def test_control_socket_of_a_running_server(
    serve: Start, project: Path, command: Command, places: dict[str, str]
) -> None:
    """A second server is refused it, and the first one can be told to stop; what a killed server
    left behind is replaced; a file that is no socket is left alone."""
    own = ("--control-socket", "own.sock")
    first = serve("main:app", *own, cwd=project, env=places)
    second = Server("main:app", *own, cwd=project, env=places, wait_ready=False)
    assert second.wait() == 1
    assert f"another server is listening there (process {first.pid})" in second.log
    assert f"pid {first.pid}," in command("status", *own).stdout
    (child,) = first.generations()
    first.kill()
    wait_until(lambda: not Path(f"/proc/{child}").exists(), SECONDS)
    assert (project / "own.sock").is_socket()
    third = serve("main:app", *own, cwd=project, env=places)
    assert f"pid {third.pid}," in command("status", *own).stdout
    assert command("stop", *own).returncode == 0
    assert third.wait() == 0
    (project / "own.sock").write_text("mine")
    fourth = Server("main:app", *own, cwd=project, env=places, wait_ready=False)
    assert fourth.wait() == 1
    assert "no socket is there, and is left alone" in fourth.log
    assert (project / "own.sock").read_text() == "mine"


def test_servers_whose_control_sockets_would_be_called_the_same(
    serve: Start, project: Path, command: Command, places: dict[str, str]
) -> None:
    """The second one gets another, says so, and leaves the first one's alone. Who asks by the
    address is told which there are."""
    one, two = (Path(places["TMPDIR"]) / name for name in ("web-1", "web_1"))
    first = serve("main:app", "--uds", str(one), cwd=project, env=places)
    second = serve("main:app", "--uds", str(two), cwd=project, env=places)
    paths = re.search(r"has the control socket (\S+): give .* --control-socket (\S+)", second.log)
    assert paths is not None, second.log
    for server, path in zip((first, second), paths.groups(), strict=True):
        assert f"pid {server.pid}," in command("status", "--control-socket", path).stdout
    for arguments in ((), ("--uds", str(one))):
        ended = command("status", *arguments)
        assert ended.returncode == 1
        for server, path in zip((first, second), paths.groups(), strict=True):
            assert re.search(rf"{re.escape(path)}: nogilserve .* pid {server.pid},", ended.stderr)
    second.kill()
    third = serve("main:app", "--uds", str(two), cwd=project, env=places)
    assert f"--control-socket {paths[2]}\n" in third.log  # what a dead server left is no server
    first.stop()
    assert f"pid {third.pid}," in command("status", "--uds", str(two)).stdout


def test_the_successor_of_a_server_that_is_stopping(
    serve: Start, project: Path, command: Command, places: dict[str, str]
) -> None:
    """Commands by the address are for it; the one that stops can still be asked by its socket."""
    patience = ("--header-timeout", "120", "--graceful-timeout", "120")
    old = serve("main:app", *patience, cwd=project, env=places)
    (path,) = (Path(places["XDG_RUNTIME_DIR"]) / "nogilserve").iterdir()
    address = f"127.0.0.1:{old.port}"
    with Client(old.addresses[0], SECONDS) as client:
        client.send(b"GET / HTTP/1.1\r\n")
        wait_until(lambda: "1 connection" in command("status").stdout, SECONDS)
        old.signal(signal.SIGTERM)
        wait_until(lambda: not accepts(old.port), SECONDS, "it refuses others")
        new = serve("main:app", "--bind", address, cwd=project, env=places)
        assert f"pid {new.pid}," in command("status", "--bind", address).stdout
        assert f"pid {old.pid}," in command("status", "--control-socket", str(path)).stdout
        assert "Another server has" not in new.log
        client.send(b"Host: a\r\n\r\n")
        assert client.receive().status == 200
    assert old.wait() == 0
    assert command("reload", "--bind", address).returncode == 0


def accepts(port: int) -> bool:
    """Whether connections to that port are taken."""
    try:
        socket.create_connection(("127.0.0.1", port), SECONDS).close()
    except ConnectionError:
        return False
    return True


def test_address_that_nobody_has(
    serve: Start, project: Path, command: Command, places: dict[str, str]
) -> None:
    """A command that names an address is for no other server, were it the only one."""
    server = serve("main:app", cwd=project, env=places)
    ended = command("stop", "--bind", "127.0.0.1:1")
    assert ended.returncode == 1
    assert "no running server of this user listens on 127.0.0.1:1" in ended.stderr
    assert ask(server.addresses[0])[0] == "one"


def test_a_mistake_in_the_file_keeps_nobody_from_stopping(
    serve: Start, project: Path, command: Command, places: dict[str, str]
) -> None:
    """Where the server is named it is found without the file."""
    server = serve("main:app", cwd=project, env=places)
    (project / "nogilserve.toml").write_text("thread = 3\n")
    ended = command("stop")
    assert ended.returncode == 2
    assert "unknown key 'thread'" in ended.stderr
    assert "found all the same by --bind" in ended.stderr
    named = f"--bind=127.0.0.1:{server.port}"
    ended = command("reload", named)
    assert ended.returncode == 1
    assert "unknown key 'thread'" in ended.stderr
    assert command("stop", named).returncode == 0
    assert server.wait() == 0


@pytest.mark.parametrize("name", ["status", "reload", "upgrade", "stop"])
def test_help_of_a_command(
    serve: Start, project: Path, command: Command, places: dict[str, str], name: str
) -> None:
    """It is explained, not carried out."""
    server = serve("main:app", cwd=project, env=places)
    ended = command(name, "--help")
    assert ended.returncode == 0
    assert ended.stdout.startswith(f"usage: nogilserve {name} ")
    assert len(server.generations()) == 1
    assert ask(server.addresses[0])[0] == "one"


@pytest.mark.parametrize("how", ["chdir", "shell"])
def test_link_to_another_release(serve: Start, tmp_path: Path, how: str) -> None:
    """A reload imports from where the link to the release points by then."""
    for number in ("one", "two"):
        (tmp_path / number).mkdir()
        write(tmp_path / number, number)
    current = tmp_path / "current"
    current.symlink_to("one")
    if how == "chdir":
        server = serve("main:app", "--chdir", str(current), cwd=tmp_path)
    else:
        server = serve("main:app", cwd=current, env={"PWD": str(current)})
    assert ask(server.addresses[0])[0] == "one"
    current.unlink()
    current.symlink_to("two")
    server.signal(signal.SIGHUP)
    server.wait_log("has taken over")
    assert ask(server.addresses[0])[0] == "two"


def test_nonsense_on_the_control_socket(serve: Start, project: Path) -> None:
    """It is answered or let go, and the server lives on."""
    server = serve("main:app", "--control-socket", "c", cwd=project)
    for sent in (b"", b"nonsense\n", b"[]\n", b"{}\n", b'{"command": "fly"}\n', b"\n"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(SECONDS)
            sock.connect(str(project / "c"))
            sock.sendall(sent)
            sock.shutdown(socket.SHUT_WR)
            answer = sock.recv(4096)
            assert not answer or json.loads(answer)["ok"] is False
    assert ask(server.addresses[0])[0] == "one"


def test_directory_of_others_is_not_trusted(serve: Start, project: Path) -> None:
    """Where anybody could put a socket, none is made, and the log says so."""
    folder = project / f"nogilserve-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    server = serve("main:app", cwd=project, env={"TMPDIR": str(project), "XDG_RUNTIME_DIR": ""})
    server.wait_log("No control socket")
    assert list(folder.iterdir()) == []


# ---- upgrade


@pytest.mark.parametrize("way", ["signal", "command"])
def test_upgrade(project: Path, command: Command, places: dict[str, str], way: str) -> None:
    """A new master with the same sockets takes over; the old one leaves with 0; nothing is
    refused meanwhile, and the files stay."""
    arguments = ("--uds", "s", "--pid-file", "pid")
    server = Server("main:app", *arguments, cwd=project, env=places)
    address = str(project / "s")
    with server, Client(address) as idle:
        assert idle.get("/").status == 200
        write(project, "two")
        if way == "signal":
            server.signal(signal.SIGUSR2)
        else:
            ended = command("upgrade", "--uds", "s")
            assert "has taken over" in ended.stdout, ended.stderr
        server.wait_log(r"The master with pid (\d+) has taken over", SECONDS)
        new = int(server.wait_log(r"The master with pid (\d+) has taken over")[1])
        try:
            assert idle.get("/").body.startswith(b"one")
            assert server.process.wait(SECONDS) == 0
            server.awaited = True
            assert (project / "pid").read_text() == f"{new}\n"
            assert ask(address)[0] == "two"
            assert command("status", "--uds", "s").stdout.startswith("nogilserve")
        finally:
            os.kill(new, signal.SIGTERM)
            wait_until(lambda: not (project / "pid").exists(), SECONDS)
            server.join_outputs()
    assert not (project / "s").exists()
    assert server.log.count("Listening on") == 2


def test_upgrade_takes_over_the_control_socket(project: Path, command: Command) -> None:
    """The next master has the one it was told before; another server's it is refused."""
    own = ("--control-socket", "own.sock")
    (project / "nogilserve.toml").write_text('control-socket = "own.sock"\n')
    with Server("main:app", cwd=project) as server:
        ended = command("upgrade", *own)
        assert "has taken over" in ended.stdout, ended.stderr
        new = int(server.wait_log(r"The master with pid (\d+) has taken over", SECONDS)[1])
        try:
            assert server.process.wait(SECONDS) == 0
            server.awaited = True
            assert f"pid {new}," in command("status", *own).stdout
            with Server("main:app", "--control-socket", "other.sock", cwd=project) as other:
                (project / "nogilserve.toml").write_text('control-socket = "other.sock"\n')
                assert command("upgrade", *own).returncode == 1
                server.wait_log(rf"listening there \(process {other.pid}\)", SECONDS)
                for pid, path in ((new, "own.sock"), (other.pid, "other.sock")):
                    assert f"pid {pid}," in command("status", "--control-socket", path).stdout
        finally:
            os.kill(new, signal.SIGTERM)
            server.join_outputs()
    assert not (project / "own.sock").exists()


def test_upgrade_that_fails(serve: Start, project: Path) -> None:
    """The old master serves on, and keeps its sockets."""
    server = serve("main:app", "--uds", "s", cwd=project)
    (project / "main.py").write_text("1 / 0\n")
    server.signal(signal.SIGUSR2)
    server.wait_log("The upgrade has failed: this master serves on", SECONDS)
    assert ask(str(project / "s"))[0] == "one"
    write(project, "two")
    server.signal(signal.SIGHUP)
    server.wait_log("Generation 2 has taken over", SECONDS)
    assert ask(str(project / "s"))[0] == "two"


# What systemd does for a service with a socket: descriptors from 3 on, named for this process.
ACTIVATED = """
import os, sys
os.dup2(int(sys.argv.pop(1)), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.executable, [sys.executable, "-m", "nogilserve", *sys.argv[1:]])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")
def test_upgrade_with_a_socket_of_systemd(project: Path) -> None:
    """The new master is given that socket too, and nobody ever listens elsewhere."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        address = sock.getsockname()
        with subprocess.Popen(
            [sys.executable, "-c", ACTIVATED, str(sock.fileno()), "main:app"],
            cwd=project,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            pass_fds=(sock.fileno(),),
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stderr is not None
            errors = Output(process.stderr, "stderr")
            errors.wait("Listening on", SECONDS)
            write(project, "two")
            process.send_signal(signal.SIGUSR2)
            new = int(errors.wait(r"The master with pid (\d+) has taken over", SECONDS)[1])
            try:
                assert process.wait(SECONDS) == 0
                assert ask(address)[0] == "two"
            finally:
                os.kill(new, signal.SIGTERM)
                errors.thread.join(SECONDS)
        assert errors.text.count(f"Listening on http://127.0.0.1:{address[1]}\n") == 2


# ---- who and where


def test_pid_file(serve: Start, project: Path) -> None:
    """It names the master, is not overwritten while that runs, and is removed at the end."""
    server = serve("main:app", "--pid-file", "pid", cwd=project)
    assert (project / "pid").read_text() == f"{server.pid}\n"
    second = Server("main:app", "--pid-file", "pid", cwd=project, wait_ready=False)
    assert second.wait() == 2
    assert f"belongs to process {server.pid}, which is running" in second.log
    assert server.stop() == 0
    assert not (project / "pid").exists()
    (project / "pid").write_text("999999999\n")  # left behind by a server that was killed
    again = serve("main:app", "--pid-file", "pid", cwd=project)
    assert (project / "pid").read_text() == f"{again.pid}\n"


def test_umask(serve: Start, project: Path) -> None:
    """Files of the application are made under it."""
    server = serve("main:app", "--umask", "077", cwd=project)
    ask(server.addresses[0])
    (made,) = project.glob("made-*")
    assert stat.S_IMODE(made.stat().st_mode) == 0o600


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="needs root")
def test_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Both processes give up root after binding; sockets and files belong to the user."""
    folder = Path(tmp_path_factory.mktemp("user"))
    try:
        subprocess.run([sys.executable, "-c", ""], user="nobody", check=True)
    except PermissionError:
        pytest.skip("this interpreter is out of reach for other users")
    for parent in (folder, *folder.parents[:3]):
        parent.chmod(0o755)
    os.chown(folder, 65534, -1)
    write(folder, "one")
    arguments = ("--user", "nobody", "--uds", "s", "--pid-file", "pid")
    env = {"XDG_RUNTIME_DIR": "", "TMPDIR": str(folder)}
    with Server("main:app", *arguments, cwd=folder, env=env) as server:
        assert ask(str(folder / "s"))[2] == "65534"
        status = Path(f"/proc/{server.pid}/status").read_text()
        assert "Uid:\t65534\t65534\t65534\t65534" in status
        assert (folder / "s").stat().st_uid == 65534
        assert list((folder / "nogilserve-65534").iterdir()) != []
        server.signal(signal.SIGHUP)
        server.wait_log("Generation 2 has taken over", SECONDS)
        assert ask(str(folder / "s"))[2] == "65534"
    assert not (folder / "s").exists()
    assert not (folder / "pid").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--user", "no-such-user"), "there is no user 'no-such-user'"),
        (("--group", "no-such-group"), "there is no group 'no-such-group'"),
    ],
)
def test_unknown_user(project: Path, arguments: tuple[str, ...], words: str) -> None:
    """A wrong name is a wrong configuration."""
    server = Server("main:app", *arguments, cwd=project, wait_ready=False)
    assert server.wait() == 2
    assert words in server.log
