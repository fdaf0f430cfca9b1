"""`--timeout` on event loops: a request that takes too long gets a 504 and is cancelled."""

from pathlib import Path

import pytest

from tests.support.server import Server

SECONDS = 30.0
APP = """
import asyncio

ended = []

async def stuck_here(path):
    try:
        await asyncio.Event().wait()
    finally:
        ended.append(path)

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("only http")
    path = scope["path"]
    if path.startswith("/stuck"):
        await stuck_here(path)
    start = {"type": "http.response.start", "status": 200, "headers": []}
    if path == "/begun":
        await send(start)
        await send({"type": "http.response.body", "body": b"ab", "more_body": True})
        await asyncio.sleep(1)
        await send({"type": "http.response.body", "body": b"cd"})
        return
    await send(start)
    await send({"type": "http.response.body", "body": " ".join(ended).encode()})
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_stuck_request(tmp_path: Path, loop: str) -> None:
    """504, the place where it waits in the log, the task cancelled; the connection goes on, and a
    response that has begun may take its time."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    (tmp_path / "main.py").write_text(APP)
    routes = ("--timeout-route", "/stuck=0.3", "--timeout-route", "/stuck/for/long=60")
    arguments = (*routes, "--loops", "1", "--loop", loop)
    with Server("main:app", *arguments, cwd=tmp_path) as server:
        with server.connect(timeout=SECONDS) as client:
            response = client.get("/stuck/1")
            assert response.status == 504
            assert response.body.startswith(b"Gateway Timeout\nrequest ")
            assert client.get("/begun").body == b"abcd"
            assert client.get("/").body == b"/stuck/1"
        server.wait_log(r"GET /stuck/1: no response in 0\.3 s; answered 504")
        server.wait_log("in stuck_here")
