"""The upgrade of a server with tenants, as its clients see it."""

import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.server import Server
from tests.support.waiting import wait_until
from tests.support.wire import Client

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sockets are passed as on POSIX")

SECONDS = 40.0
APP = """
import os

def app(environ, start_response):
    body = f"{os.path.basename(os.getcwd())} {os.getppid()}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def ask(client: Client, host: str) -> list[str]:
    """The tenant that answers, and the master of its process."""
    return client.request("GET", "/", {"Host": host}).body.decode().split()


def test_clients_that_have_said_nothing_yet(tmp_path: Path) -> None:
    """The old master waits for them, whether their tenant runs there or not; then it ends. Others
    are the new one's."""
    for name in ("one.test", "two.test"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "main.py").write_text(APP)
    with ExitStack() as stack:
        server = Server(
            "main:app",
            f"--working-dir={tmp_path}/{{host}}",
            f"--control-socket={tmp_path}/c",
            *("--header-timeout=120", "--graceful-timeout=120", "--keep-alive=120"),
        )
        stack.callback(server.kill)
        asked, first, second = (stack.enter_context(server.connect(timeout=SECONDS)) for _ in "123")
        assert ask(asked, "one.test") == ["one.test", str(server.pid)]
        server.signal(signal.SIGUSR2)
        new = int(server.wait_log(r"The master with pid (\d+) has taken over", SECONDS)[1])
        stack.callback(wait_until, lambda: not Path(f"/proc/{new}").exists(), SECONDS)
        stack.callback(os.kill, new, signal.SIGTERM)
        server.wait_log("Waiting for 2 clients to say", SECONDS)
        for client, host in ((first, "one.test"), (second, "two.test")):
            assert ask(client, host) == [host, str(server.pid)]
        for client in (asked, first, second):
            client.close()
        assert server.process.wait(SECONDS) == 0
        with server.connect(timeout=SECONDS) as client:
            assert ask(client, "one.test") == ["one.test", str(new)]
