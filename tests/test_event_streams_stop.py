"""Event streams when the server stops: ended in order, so that their clients connect anew."""

import signal
from pathlib import Path

import pytest

from tests.support.server import Server

WSGI = """
import threading

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    number = 0
    while True:
        yield b"data: %d\\n\\n" % number
        number += 1
        threading.Event().wait(0.1)
"""
ASGI = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("only http")
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while True:
        await send({"type": "http.response.body", "body": b"data: x\\n\\n", "more_body": True})
        await asyncio.sleep(0.1)
"""


@pytest.mark.parametrize("source", [WSGI, ASGI], ids=["wsgi", "asgi"])
def test_stream_is_ended(tmp_path: Path, source: str) -> None:
    """The client sees a complete chunked body long before the deadline."""
    (tmp_path / "main.py").write_text(source)
    with Server("main:app", "--graceful-timeout", "60", cwd=tmp_path) as server:
        with server.connect(timeout=20.0) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            client.receive_until(b"data: ")
            server.signal(signal.SIGTERM)
            assert client.receive_rest().endswith(b"\r\n0\r\n\r\n")
        assert server.wait() == 0
