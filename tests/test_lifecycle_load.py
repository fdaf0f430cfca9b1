"""Stopping in the middle of heavy traffic: nothing is cut short, nothing is forgotten."""

import re
import signal
import threading
from collections import Counter
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.support.server import Server
from tests.support.waiting import wait_until
from tests.support.wire import Client

APP = "tests.supervise.waiting_app:app"
CLIENTS = 8
SECONDS = 20.0


class Visitor(threading.Thread):
    """A client that asks until it is turned away. `seen` is its own until it has ended; `answers`
    is read by the test meanwhile, as a hint."""

    def __init__(self, server: Server, per_connection: int) -> None:
        super().__init__(name=f"visitor, {per_connection} a connection")
        self.server = server
        self.per_connection = per_connection
        self.seen: Counter[str] = Counter()
        self.answers = 0

    def run(self) -> None:
        while not self.seen["refused"]:
            try:
                client = self.server.connect()
            except (ConnectionRefusedError, ConnectionResetError):
                self.seen["refused"] += 1  # reset: it stood in the queue as that was closed
                return
            with client:
                self.visit(client)

    def visit(self, client: Client) -> None:
        """Ask over one connection."""
        for _ in range(self.per_connection):
            try:
                client.get("/")
            except (ConnectionError, EOFError):
                self.seen["turned away"] += 1  # before any byte of an answer
                return
            except (HTTPException, TimeoutError) as error:
                self.seen[f"cut short: {error!r}"] += 1
                return
            self.seen["answered"] += 1
            self.answers += 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_under_load(
    serve: Callable[..., Server], tmp_path: Path, number: signal.Signals
) -> None:
    """Every answer that was begun is whole; server, access log and clients agree on how many."""
    path = tmp_path / "access.log"
    server = serve(APP, "--threads", "8", "--access-log", str(path))
    visitors = [Visitor(server, 1 if n % 2 else 50) for n in range(CLIENTS)]
    for visitor in visitors:
        visitor.start()
    wait_until(lambda: all(visitor.answers > 100 for visitor in visitors), SECONDS)
    server.signal(number)
    assert server.wait(SECONDS) == 0
    for visitor in visitors:
        visitor.join(SECONDS)
    seen = sum((visitor.seen for visitor in visitors), Counter[str]())
    assert set(seen) <= {"answered", "turned away", "refused"}
    stopped = re.search(r"Stopped after \S+ s: (\d+) requests", server.log)
    assert stopped
    assert int(stopped[1]) == seen["answered"]
    assert path.read_text().count('"GET / HTTP/1.1" 200 6 ') == seen["answered"]
