"""The examples in docs/event-loops.md, served as they stand there, on two loops."""

import contextlib
import http.client
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.server import Server
from tests.support.waiting import wait_until

PAGE = Path(__file__).resolve().parents[1] / "docs" / "event-loops.md"
EXAMPLES = {
    match[1].partition(":")[0]: match[2]
    for match in re.finditer(r"```python\n# (.+?)(\n.*?)```", PAGE.read_text(), re.DOTALL)
}


class Upstream(BaseHTTPRequestHandler):
    """Answers everything, on connections that are kept."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """An empty 200."""
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Be quiet."""


@contextlib.contextmanager
def upstream(_: Path) -> Iterator[dict[str, str]]:
    """An HTTP server for the httpx example."""
    pytest.importorskip("httpx")
    with ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield {"UPSTREAM": f"http://127.0.0.1:{server.server_port}/"}
        finally:
            server.shutdown()
            thread.join(20)


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[dict[str, str]]:
    """A real redis-server on a unix socket."""
    pytest.importorskip("redis")
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server")
    path = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]
    with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as process:

        def listens() -> bool:
            with socket.socket(socket.AF_UNIX) as probe:
                return probe.connect_ex(str(path)) == 0

        try:
            wait_until(listens, 20, "redis-server does not start")
            yield {"REDIS_URL": f"unix://{path}"}
        finally:
            process.terminate()


@contextlib.contextmanager
def sqlite(folder: Path) -> Iterator[dict[str, str]]:
    """A file for the SQLAlchemy example."""
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("aiosqlite")
    yield {"DATABASE_URL": f"sqlite+aiosqlite:///{folder}/file.db"}


def event_loops(server: Server) -> set[str]:
    """The names of the threads that run an event loop; the system has none before Python 3.14."""
    if "GIL off" not in server.log:
        return set()
    tasks = Path(f"/proc/{server.serving}/task").glob("*/comm")
    return {name for task in tasks if re.fullmatch(r"loop-\d+", name := task.read_text().strip())}


SERVICES = {"SQLAlchemy": sqlite, "httpx": upstream, "redis": redis_server}


def test_page_has_an_example_of_each() -> None:
    """None is overlooked because of how it is written."""
    assert EXAMPLES.keys() == SERVICES.keys()


@pytest.mark.parametrize("name", SERVICES)
def test_example_serves_every_request_on_two_loops(
    tmp_path: Path, serve: Callable[..., Server], name: str
) -> None:
    """Without being told nogilserve takes two loops, warns of nothing, and nothing fails."""
    pytest.importorskip("fastapi")
    (tmp_path / "main.py").write_text(EXAMPLES[name])
    with SERVICES[name](tmp_path) as environment:
        # On a busy machine imports may hold a loop up; that is no mistake of the example.
        calm = ("--blocked-loop-timeout", "0")
        server = serve(
            "main:app", "--workers", "2", "--loop", "asyncio", *calm, cwd=tmp_path, env=environment
        )
        kept = threading.Barrier(16)

        def ask(_: int) -> list[int]:
            client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            with contextlib.closing(client):
                client.connect()
                kept.wait(30)  # sixteen connections at once: eight on each loop
                statuses = []
                for _ in range(5):
                    client.request("GET", "/")
                    response = client.getresponse()
                    response.read()
                    statuses.append(response.status)
                return statuses

        with ThreadPoolExecutor(16) as clients:
            assert [*clients.map(ask, range(16))] == [[200] * 5] * 16, server.log
        loops = event_loops(server)
        server.stop()
    assert "[WARNING]" not in server.log
    assert "Traceback" not in server.log
    assert loops in ({"loop-0", "loop-1"}, set())


def test_example_without_per_loop_is_served_on_one_loop(
    tmp_path: Path, serve: Callable[..., Server]
) -> None:
    """The same client in a module global costs the other loops, and the warning says so."""
    pytest.importorskip("fastapi")
    text = EXAMPLES["httpx"].replace(
        "per_loop(httpx.AsyncClient, close=httpx.AsyncClient.aclose)", "httpx.AsyncClient()"
    )
    (tmp_path / "main.py").write_text(text)
    server = serve("main:app", "--workers", "2", "--loop", "asyncio", cwd=tmp_path)
    if "GIL off" not in server.log:
        pytest.skip("with the GIL there is one loop anyway")
    assert "main:client (httpx.AsyncClient)" in server.log
    assert event_loops(server) in ({"loop-0"}, set())
