"""A reload reads the configuration again."""

import signal
from pathlib import Path

from tests.support.commands import command
from tests.support.server import Server
from tests.support.waiting import wait_until

APP = '[[site]]\nhosts = ["a.test"]\nrespond = "one"\n'


def body(server: Server, host: str = "a.test") -> bytes:
    """What a host says."""
    with server.connect() as client:
        return client.request("GET", "/", headers={"Host": host}).body


def test_reload_follows_the_file(tmp_path: Path) -> None:
    """New sites count from the next generation on; a mistake changes nothing and is told; what
    the master holds is named."""
    path = tmp_path / "nogilserve.toml"
    path.write_text(f'log-level = "info"\nenv = {{A = "1"}}\n{APP}')
    with Server(f"--config={path}") as server:
        assert body(server) == b"one"
        path.write_text(APP.replace("one", "two") + '[[site]]\nhosts = "b.test"\nrespond = "b"\n')
        server.signal(signal.SIGHUP)
        server.wait_log("Generation 2 has taken over")
        assert body(server) == b"two"
        assert body(server, "b.test") == b"b"
        path.write_text("thread = 3\n[[site]]\nhosts = 'x'\n")
        server.signal(signal.SIGHUP)
        server.wait_log(r"No reload, .*there are 2 mistakes")
        assert "line 1; did you mean threads?" in server.log
        assert body(server) == b"two"
        path.write_text('pid-file = "here.pid"\n' + APP.replace("one", "three"))
        server.signal(signal.SIGHUP)
        server.wait_log("--pid-file changed, which only another master can follow")
        wait_until(lambda: body(server) == b"three", 20)
        assert not (tmp_path / "here.pid").exists()


def test_ready_path_is_asked_at_a_host_that_has_it(tmp_path: Path) -> None:
    """Where hosts tell sites apart, the readiness check takes one of theirs."""
    path = tmp_path / "nogilserve.toml"
    path.write_text(
        'ready-path = "/up"\n'
        + APP
        + '[[site]]\nhosts = ["*.b.test"]\npath = "/up"\nrespond = "b"\n'
    )
    with Server(f"--config={path}") as server:
        assert body(server) == b"one"
    path.write_text('ready-path = "/down"\n[[site]]\nhosts="b.test"\npath="/up"\nrespond="b"\n')
    with Server(f"--config={path}", wait_ready=False) as server:
        assert server.wait() == 3
        assert "GET /down was answered with 421" in server.log


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    """`nogilserve reload` ends with the mistakes and status 1."""
    path = tmp_path / "nogilserve.toml"
    path.write_text(f'control-socket = "{tmp_path}/control"\n{APP}')
    with Server(f"--config={path}") as server:
        path.write_text(f'control-socket = "{tmp_path}/control"\n{APP}compress = "gz"\n')
        done = command(tmp_path / "control", "reload")
        assert done.returncode == 1
        assert "no reload" in done.stderr
        assert "'gz'" in done.stderr
        assert body(server) == b"one"


def test_what_a_command_has_changed_holds(tmp_path: Path) -> None:
    """Over a reload, until something else is written there."""
    path = tmp_path / "nogilserve.toml"
    text = f'control-socket = "{tmp_path}/control"\nruntime = "threads"\n{APP}'
    path.write_text(f"threads = 4\n{text}")

    def give(*words: str) -> str:
        done = command(tmp_path / "control", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with Server(f"--config={path}") as server:
        give("threads", "6")
        give("log-level", "debug")
        server.signal(signal.SIGTTIN)
        server.wait_log("There are 7 threads now")
        give("reload")
        assert give("threads", "+0") == "There are 7 threads now\n"
        path.write_text(f"threads = 3\n{text}")
        give("reload")
        assert give("threads", "+0") == "There are 3 threads now\n"
