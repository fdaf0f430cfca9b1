"""Reloading five times under full load: clients notice only that they connect anew."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.apps.raw_client import Incomplete
from tests.apps.raw_websocket import CLOSE, TEXT, RawWebSocket, frame
from tests.support.server import Server
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")

SECONDS = 30.0
RELOADS = 5
WSGI = """
import threading

def app(environ, start_response):
    body = VERSION
    if environ["PATH_INFO"] == "/echo":
        body = environ["wsgi.input"].read()
    elif environ["PATH_INFO"] == "/slow":
        threading.Event().wait(0.05)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
ASGI = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
    else:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body")
        if scope["path"] == "/slow":
            await asyncio.sleep(0.05)
        if scope["path"] != "/echo":
            body = VERSION
        length = str(len(body)).encode()
        await send({"type": "http.response.start", "status": 200,
            "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": body})
"""


def write(folder: Path, source: str, version: int) -> None:
    """The application, in a version of its own."""
    new = folder / "main.new"
    new.write_text(f"VERSION = b'{version}'\n{source}")
    new.replace(folder / "main.py")


class Visitor(threading.Thread):
    """Asks until it is told to leave, in the way its `kind` says. `seen` and `errors` are its own
    until it has ended; `answers` is read by the test meanwhile, as a hint."""

    def __init__(self, server: Server, kind: str) -> None:
        super().__init__(name=kind)
        self.server = server
        self.kind = kind
        self.leave = threading.Event()
        self.seen: Counter[str] = Counter()
        self.errors: list[str] = []
        self.answers = 0

    def run(self) -> None:
        visit = self.talk if self.kind == "websocket" else self.ask
        while not self.leave.is_set():
            try:
                visit()
            except (OSError, EOFError, HTTPException, Incomplete, AssertionError) as error:
                self.errors.append(f"{self.kind}: {error!r}")

    def ask(self) -> None:
        """Requests on one connection, until it is to end."""
        body = os.urandom(300_000) if self.kind == "upload" else b""
        method, target = {"upload": ("POST", "/echo"), "slow": ("GET", "/slow")}.get(
            self.kind, ("GET", "/")
        )
        with self.server.connect(timeout=SECONDS) as client:
            while not self.leave.is_set():
                response = client.request(method, target, body=body)
                assert response.status == 200
                assert not body or response.body == body
                self.seen[response.get("Connection")] += 1
                self.answers += 1
                if response.get("Connection") == "close" or self.kind == "new":
                    return

    def talk(self) -> None:
        """A WebSocket, until the server sends the client away, which it has to say rightly."""
        with RawWebSocket(("127.0.0.1", self.server.port)) as client:
            client.open("/")
            while not self.leave.is_set():
                client.send_quietly(frame(TEXT, b"hello"))
                got = client.frame()
                if got.opcode == CLOSE:
                    assert got.code == 1012, got
                    client.send_quietly(frame(CLOSE, got.payload[:2]))
                    self.seen["close"] += 1
                    return
                assert got.payload == b"hello"
                self.answers += 1
            assert client.leave() == 1000


@pytest.mark.parametrize(
    ("source", "kinds"),
    [
        (WSGI, ["keep", "keep", "new", "slow", "upload"]),
        (ASGI, ["keep", "new", "slow", "upload", "websocket", "websocket"]),
    ],
    ids=["wsgi", "asgi"],
)
def test_nothing_is_lost(
    serve: Callable[..., Server], tmp_path: Path, source: str, kinds: list[str]
) -> None:
    """With keep-alive, new connections, slow requests, uploads and WebSockets every request of
    every client is answered, and every WebSocket is closed with 1012."""
    write(tmp_path, source, 1)
    server = serve("main:app", "--threads", "8", cwd=tmp_path)
    visitors = [Visitor(server, kind) for kind in kinds]
    for visitor in visitors:
        visitor.start()
    try:
        for number in range(2, RELOADS + 2):
            write(tmp_path, source, number)
            server.signal(signal.SIGHUP)
            server.wait_log(rf"Generation {number} has taken over", SECONDS)
            before = [visitor.answers for visitor in visitors]
            wait_until(
                lambda before=before: all(  # type: ignore[misc]
                    visitor.answers > count for visitor, count in zip(visitors, before, strict=True)
                ),
                SECONDS,
            )
            with server.connect(timeout=SECONDS) as client:
                assert client.get("/").body == b"%d" % number
    finally:
        for visitor in visitors:
            visitor.leave.set()
        for visitor in visitors:
            visitor.join(SECONDS)
    assert [error for visitor in visitors for error in visitor.errors] == []
    assert sum(visitor.seen["close"] for visitor in visitors) >= RELOADS
