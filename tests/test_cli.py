"""The command, run as a user runs it."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from nogilserve import __version__
from nogilserve.apps import FREE_THREADED
from nogilserve.cli import main
from tests.support.server import Server
from tests.support.wire import Client

ROOT = Path(__file__).resolve().parents[1]

APP = """
import os, sys

def app(environ, start_response):
    body = repr((
        os.getcwd(), os.environ.get("COLOUR"), environ["SERVER_NAME"], environ["SERVER_PORT"],
        sorted(name for name in os.environ if name.startswith("LISTEN_")),
    )).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

def create_app():
    return app
"""

type Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with main.py."""
    (tmp_path / "main.py").write_text(APP)
    return tmp_path


@pytest.fixture
def run(project: Path) -> Run:
    """Run `python -m nogilserve` in the project's directory to its end."""

    def start(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        own = ("NOGILSERVE_", "PORT", "WEB_CONCURRENCY", "LISTEN_")
        clean = {name: text for name, text in os.environ.items() if not name.startswith(own)}
        return subprocess.run(
            [sys.executable, "-m", "nogilserve", *arguments],
            cwd=project,
            env={**clean, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return start


def test_help(run: Run) -> None:
    """--help goes to standard output with status 0, whatever else is wrong."""
    ended = run("--threads", "zero", "-h", NOGILSERVE_TREADS="1")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("usage: nogilserve APP [options]")
    assert "--limit-request-field-size" in ended.stdout


@pytest.mark.parametrize("flag", ["-v", "--version"])
def test_version(run: Run, flag: str) -> None:
    """--version names the server, the Python build and the state of the GIL."""
    ended = run(flag)
    build = "free-threaded" if FREE_THREADED else "with a GIL"
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"nogilserve {__version__}, CPython 3.")
    assert f" {build}, GIL o" in ended.stdout


def test_print_config(run: Run, project: Path) -> None:
    """--print-config needs no application, and is TOML that says where settings come from."""
    (project / "nogilserve.toml").write_text("keep-alive = 7\n")
    ended = run("--print-config", "--threads=3", PORT="5000")
    assert (ended.returncode, ended.stderr) == (0, "")
    settings = tomllib.loads(ended.stdout)
    assert (settings["keep-alive"], settings["threads"], settings["bind"]) == (
        7,
        3,
        ["0.0.0.0:5000"],
    )
    assert "threads = 3  # the command line" in ended.stdout
    assert "# PORT" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["main:app"], "main:app is a WSGI application"),
        (["main:create_app", "--factory"], "main:create_app is a WSGI application"),
    ],
)
def test_check_config(run: Run, project: Path, arguments: list[str], words: str) -> None:
    """--check-config imports the application and binds nothing."""
    ended = run(*arguments, "--check-config", "--uds", "app.sock")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert words in ended.stdout
    assert not (project / "app.sock").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["main:unclear"], "cannot tell whether main:unclear is WSGI or ASGI"),
        (["main:asgi_"], "there is no 'asgi_' in 'main'"),
        (["main:os"], "main:os is not an application: it is a module and cannot be called"),
    ],
)
def test_checking_refuses_what_serving_refuses(
    run: Run, project: Path, arguments: list[str], words: str
) -> None:
    """What cannot be served is refused with the same words, whether checked or served."""
    (project / "main.py").write_text(APP + "def unclear(*arguments): pass\n")
    served = run(*arguments, "--uds", "app.sock")
    checked = run(*arguments, "--uds", "app.sock", "--check-config")
    assert (served.returncode, checked.returncode) == (3, 3)
    assert words in checked.stderr
    assert checked.stderr == served.stderr
    assert not (project / "app.sock").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["main:asgi"], "main:asgi is an ASGI application"),
        (["main:Two"], "main:Two is an ASGI application"),
        (["main:unclear", "--interface=asgi"], "main:unclear is an ASGI application"),
        (["main:unclear", "--interface=wsgi"], "main:unclear is a WSGI application"),
    ],
)
def test_checking_tells_the_interface(
    run: Run, project: Path, arguments: list[str], words: str
) -> None:
    """ASGI of both versions is known by its signature; where that does not tell, --interface is
    believed."""
    more = """
async def asgi(scope, receive, send): pass

class Two:
    def __init__(self, scope): pass
    async def __call__(self, receive, send): pass

def unclear(*arguments): pass
"""
    (project / "main.py").write_text(APP + more)
    ended = run(*arguments, "--check-config")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert words in ended.stdout


def test_check_config_of_sites(run: Run, project: Path) -> None:
    """Each application, or that there is none."""
    (project / "nogilserve.toml").write_text('[[site]]\nrespond = "x"\n')
    assert run("--check-config").stdout == (
        "The configuration is valid: sites without an application.\n"
    )
    (project / "nogilserve.toml").write_text('[[site]]\napp = "main:app"\n')
    assert run("--check-config").stdout == "The configuration is valid: main:app.\n"


@pytest.mark.parametrize("path", ["missing/access.log", ".", "main.py/access.log", "x" * 300])
def test_checking_refuses_an_access_log_that_cannot_be_written(run: Run, path: str) -> None:
    """The access log is tried too, with the words and the status of serving."""
    arguments = ("main:app", "--uds", "app.sock", f"--access-log={path}")
    served, checked = run(*arguments), run(*arguments, "--check-config")
    assert (served.returncode, checked.returncode) == (2, 2)
    assert checked.stderr.startswith(f"nogilserve: --access-log {path!r} cannot be written: ")
    assert checked.stderr == served.stderr


def test_checking_leaves_no_access_log(run: Run, project: Path) -> None:
    """A file that could be made is not made, one that exists stays as it is."""
    assert run("main:app", "--check-config", "--access-log=access.log").returncode == 0
    assert not (project / "access.log").exists()
    (project / "access.log").write_text("before\n")
    assert run("main:app", "--check-config", "--access-log=access.log").returncode == 0
    assert (project / "access.log").read_text() == "before\n"


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["main:app", "--threads=0"], {}, ["--threads", "'0'", "from 1 to 4096"]),
        (["main:app", "--treads=1"], {}, ["--treads", "did you mean --threads?"]),
        (["main:app"], {"NOGILSERVE_TREADS": "1"}, ["did you mean NOGILSERVE_THREADS?"]),
        (["main:app"], {"NOGILSERVE_CONFIG": "x.toml"}, ["--config", "x.toml"]),
        ([], {}, ["no application given"]),
        (["main:app", "--check-config", "-w0"], {}, ["--workers"]),
    ],
)
def test_wrong_configuration_ends_with_2(
    run: Run, project: Path, arguments: list[str], environment: dict[str, str], words: list[str]
) -> None:
    """A mistake is said on standard error without a traceback, and nothing is bound."""
    ended = run(*arguments, "--uds=app.sock", **environment)
    assert (ended.returncode, ended.stdout) == (2, "")
    for word in ["nogilserve: ", *words, "Try nogilserve --help."]:
        assert word in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (project / "app.sock").exists()


def test_wrong_application_ends_with_3(run: Run, project: Path) -> None:
    """A wrong name is one line; a failing import comes with the user's traceback only."""
    ended = run("main:ap", "--uds=app.sock")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.startswith("nogilserve: there is no 'ap' in 'main'; did you mean 'app'?")
    assert len(ended.stderr.splitlines()) == 1
    (project / "broken.py").write_text("import missing_module\n")
    for more in ([], ["--check-config"]):
        ended = run("broken:app", "--uds=app.sock", *more)
        assert ended.returncode == 3
        assert ended.stderr.startswith("Traceback (most recent call last):\n  File ")
        assert 'broken.py", line 1' in ended.stderr
        assert str(ROOT / "nogilserve") not in ended.stderr
        assert "nogilserve: importing 'broken' failed: ModuleNotFoundError" in ended.stderr
    assert not (project / "app.sock").exists()


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("statu", "did you mean the command 'status'?"),
        ("doctr", "did you mean the command 'doctor'?"),
        ("help", "did you mean --help?"),
        ("version", "did you mean --version?"),
        ("mian", "did you mean 'main'?"),
    ],
)
def test_misspelt_commands_are_guessed(run: Run, word: str, meant: str) -> None:
    """A word that is no module may have been meant as a command."""
    ended = run(word, "--uds=app.sock")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert meant in ended.stderr


def test_output_that_nobody_reads_is_no_failure_of_ours(project: Path) -> None:
    """`nogilserve --help | head -1` shows no traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as pipe:
        ended = subprocess.run(
            [sys.executable, "-u", "-m", "nogilserve", "--help"],
            cwd=project,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert (ended.returncode, ended.stderr) == (1, "")


def test_port_in_use_ends_with_1(run: Run) -> None:
    """The holder of the port is named, here this very test."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        ended = run("main:app", f"--bind=127.0.0.1:{port}")
    assert ended.returncode == 1
    assert f"nogilserve: cannot listen on 127.0.0.1:{port}: port {port} is in use" in ended.stderr
    assert "Traceback" not in ended.stderr
    if sys.platform == "linux":
        assert f"pid {os.getpid()} (" in ended.stderr


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_interrupted_import(project: Path) -> None:
    """Ctrl-C while the application is being imported ends with 130 and without a traceback."""
    # In short waits: CPython notices a signal that comes just before a wait only after it.
    slow = """
        import threading
        print('importing', flush=True)
        for _ in range(600):
            threading.Event().wait(0.1)
    """
    (project / "slow.py").write_text(textwrap.dedent(slow))
    with subprocess.Popen(
        [sys.executable, "-m", "nogilserve", "slow:app"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=30)[1]
    assert (process.returncode, errors) == (130, "nogilserve: interrupted\n")


@pytest.mark.skipif(os.name != "posix", reason="removes the current directory")
def test_removed_directory_is_explained(tmp_path: Path) -> None:
    """Started in a directory that is gone, the command says so instead of failing somewhere."""
    gone = tmp_path / "gone"
    gone.mkdir()
    code = "import os; os.rmdir(os.getcwd()); from nogilserve.cli import main; print(main(['m']))"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=gone,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.stdout == "2\n"
    assert "the current directory cannot be used: No such file" in ended.stderr


def test_main_can_be_called(capsys: pytest.CaptureFixture[str]) -> None:
    """`main` takes arguments and returns the status, for the console script and for embedding."""
    assert main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out
    assert main(["--no-such-option"]) == 2
    assert "unknown option --no-such-option" in capsys.readouterr().err


def test_directory_and_variables_are_set_before_the_import(
    project: Path, serve: Callable[..., Server]
) -> None:
    """--chdir, --env-file and --env are in force when the application is imported."""
    (project / ".env").write_text("COLOUR=red\n")
    checks = """
        import os
        assert os.environ["COLOUR"] == "red" and os.environ["SHAPE"] == "round"
        from main import app
    """
    (project / "strict.py").write_text(textwrap.dedent(checks))
    server = serve("strict", f"--chdir={project}", "--env-file=.env", "-e", "SHAPE=round")
    with server.connect() as client:
        assert repr((str(project), "red")).rstrip(")").encode() in client.get("/").body


def test_serves_on_every_address(project: Path, serve: Callable[..., Server]) -> None:
    """TCP and unix listeners of one command serve the same application."""
    arguments = (f"--chdir={project}", "-b", "127.0.0.1:0", "-b", "unix:app.sock")
    server = serve("main:app", *arguments, addresses=2)
    with server.connect(0) as client:
        assert repr(("127.0.0.1", str(server.port)))[1:-1].encode() in client.get("/").body
    with server.connect(1) as client:
        assert repr(("localhost", "80"))[1:-1].encode() in client.get("/").body
    assert server.stop() == 0
    assert not (project / "app.sock").exists()


def test_inherited_descriptor(project: Path, serve: Callable[..., Server]) -> None:
    """--fd serves on a socket that the parent opened."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        fd = sock.fileno()
        server = serve("main:app", f"--fd={fd}", cwd=project, pass_fds=(fd,))
        with Client(sock.getsockname()) as client:
            assert client.get("/").status == 200
        server.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")
def test_socket_activation(project: Path) -> None:
    """Sockets passed as systemd does are served on, and the variables are not passed on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        code = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3);"
            "os.environ |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1'};"
            "os.execv(sys.executable, [sys.executable, '-m', 'nogilserve', 'main'])"
        )
        fd = sock.fileno()
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(fd)],
            cwd=project,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PORT": "1"},
            pass_fds=(fd,),
            stderr=subprocess.PIPE,
        )
        try:
            with Client(sock.getsockname(), timeout=20) as client:
                response = client.get("/")
        finally:
            process.terminate()
            errors = process.communicate(timeout=20)[1].decode()
    assert response.status == 200, errors
    assert response.body.endswith(b"[])")
    assert process.returncode == 0, errors
