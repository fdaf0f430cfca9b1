"""Servers that a program starts: `nogilserve.serve`, `nogilserve.Server`, pytest's fixture."""

import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import websockets.sync.client

import nogilserve
from nogilserve.errors import AppImportError, BindError, ConfigError
from tests.support.server import ROOT, Output
from tests.support.waiting import wait_until

SECONDS = 20.0


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The least of a WSGI application."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"hello {environ['PATH_INFO']}".encode()]


def asked(server: nogilserve.Server, path: str = "/x") -> str:
    """What it answers to one request."""
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
    try:
        client.request("GET", path)
        return client.getresponse().read().decode()
    finally:
        client.close()


def test_function_of_this_module() -> None:
    """It is served from this process, on a port that the server reports; then again."""
    server = nogilserve.Server(hello, threads=2)
    for _ in range(2):
        with server:
            assert server.url == f"http://127.0.0.1:{server.port}"
            assert list(server.addresses) == [server.url]
            assert asked(server) == "hello /x"
            wait_until(lambda: server.counters["requests"] == 1)
        assert not server.addresses
        assert server.counters == {}


def test_several_at_once() -> None:
    """They do not disturb each other, and the first may end first."""
    with nogilserve.Server(hello) as first:
        second = nogilserve.Server("tests.apps.torture:app")
        second.start()
        assert asked(first) == "hello /x"
    try:
        assert second.counters["accepted"] == 0
        asked(second)
        wait_until(lambda: second.counters["accepted"] == 1)
    finally:
        assert second.stop()


def test_asgi_with_lifespan_and_websocket() -> None:
    """Start-up runs before `start` returns, shutdown before `stop` does."""
    happened: list[str] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                kind = (await receive())["type"]
                happened.append(kind)
                await send({"type": f"{kind}.complete"})
            return
        assert scope["type"] == "websocket"
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": (await receive())["text"] * 2})
        await send({"type": "websocket.close"})

    with nogilserve.Server(app, loop="asyncio") as server:
        assert happened == ["lifespan.startup"]
        url = server.url.replace("http", "ws")
        with websockets.sync.client.connect(url, open_timeout=SECONDS) as client:
            client.send("ab")
            assert client.recv(SECONDS) == "abab"
    assert happened == ["lifespan.startup", "lifespan.shutdown"]


def test_failure_of_the_lifespan() -> None:
    """It is raised, and nothing is left: no port, no thread."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    server = nogilserve.Server(app, loop="asyncio")
    with pytest.raises(AppImportError, match="no database"):
        server.start()
    assert not server.addresses


def test_request_in_progress_is_finished() -> None:
    """`stop` waits for its answer."""
    entered, leave = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        entered.set()
        assert leave.wait(SECONDS)
        return hello(environ, start_response)

    answers: list[str] = []
    server = nogilserve.Server(app)
    server.start()
    client = threading.Thread(target=lambda: answers.append(asked(server)))
    client.start()
    assert entered.wait(SECONDS)
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    leave.set()
    stopping.join(SECONDS)
    client.join(SECONDS)
    assert answers == ["hello /x"]


def test_application_that_does_not_answer() -> None:
    """`stop` says so when the time is over, and may be asked again."""
    entered, leave = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        entered.set()
        leave.wait(SECONDS)
        return hello(environ, start_response)

    server = nogilserve.Server(app)
    server.start()
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
    client.request("GET", "/")
    assert entered.wait(SECONDS)
    assert server.stop(0.05) is False
    leave.set()
    assert server.stop() is True
    client.close()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"treads": 2}, "did you mean threads?"),
        ({"threads": "many"}, "option --threads: 'many' from the argument 'threads'"),
        ({"threads": [1, 2]}, "neither text nor a number"),
        ({"chdir": "/"}, "os.chdir"),
        ({"reload": True}, "cannot do that: reload"),
        ({"workers": 2, "threads": 1}, "--workers: 2 is more than --threads 1"),
        ({"host": "::1", "bind": ":0"}, "cannot stand beside"),
        ({"static_path": ["/s=/nowhere/at/all"]}, "is not a directory"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], words: str) -> None:
    """They are refused by name, before anything is imported."""
    with pytest.raises(ConfigError) as caught:
        nogilserve.Server("no.such.module:app", **settings)
    assert words in str(caught.value)


@pytest.mark.parametrize("settings", [{"reload": True}, {"master": True}, {"runtime": "processes"}])
def test_what_needs_a_name(settings: dict[str, Any]) -> None:
    """An application that cannot be imported anew cannot be had twice."""
    with pytest.raises(ConfigError, match="name"):
        nogilserve.Server(hello, **settings)


def test_no_application() -> None:
    """What cannot be called, or cannot be told, is refused."""
    with pytest.raises(AppImportError, match="cannot be called"):
        nogilserve.Server(7)  # type: ignore[arg-type]
    with pytest.raises(AppImportError, match="interface"):
        nogilserve.Server(lambda: None)
    with (
        pytest.raises(AppImportError, match="no_such_module"),
        nogilserve.Server("no_such_module:a"),
    ):
        pass


def test_address_in_use() -> None:
    """BindError, and nothing is left of the second one."""
    with nogilserve.Server(hello) as first:
        with pytest.raises(BindError):
            nogilserve.Server(hello, bind=f"127.0.0.1:{first.port}").start()
        assert asked(first) == "hello /x"


def test_environment_and_files_have_no_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a test starts is what it says."""
    monkeypatch.setenv("NOGILSERVE_THREADS", "3")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nogilserve.toml").write_text("threads = 5\n")
    assert nogilserve.Server(hello, workers=1).config.threads not in (3, 5)


def test_starting_twice() -> None:
    """It is a mistake; stopping twice is none."""
    with nogilserve.Server(hello) as server:
        with pytest.raises(RuntimeError, match="already"):
            server.start()
    assert server.stop()


# ---- serve, in a program of its own ----------------------------------------------------------

PROGRAM = """
import sys
import nogilserve

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"of the program"]

if __name__ == "__main__":
    sys.exit(nogilserve.serve({app}, bind="127.0.0.1:0", threads=2))
"""


def test_serve_in_another_thread_names_the_way_out() -> None:
    """Signals are for the main thread; `Server` needs none."""
    raised: list[str] = []

    def start() -> None:
        try:
            nogilserve.serve(hello, bind="127.0.0.1:0")
        except RuntimeError as error:
            raised.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join(SECONDS)
    assert len(raised) == 1
    assert "nogilserve.Server" in raised[0]


@pytest.mark.parametrize("app", ["app", "'main:app'"])
def test_serve(tmp_path: Path, app: str) -> None:
    """It serves until SIGTERM, with a master where the application has a name."""
    (tmp_path / "main.py").write_text(PROGRAM.format(app=app))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "main.py"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    log = Output(process.stderr, "log")
    try:
        port = int(log.wait(r"Listening on http://127.0.0.1:(\d+)\s", SECONDS)[1])
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        client.request("GET", "/")
        assert client.getresponse().read() == b"of the program"
        client.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
        log.thread.join(SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_fixture(tmp_path: Path) -> None:
    """A project's tests have servers that end with each test."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["nogilserve.testing"]\n')
    (tmp_path / "test_it.py").write_text(
        "import urllib.request\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [b'tested']\n"
        "def test_it(nogilserve_server):\n"
        "    servers = [nogilserve_server(app) for _ in range(2)]\n"
        "    for server in servers:\n"
        "        with urllib.request.urlopen(server.url) as response:\n"
        "            assert response.read() == b'tested'\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    assert "1 passed" in ended.stdout
