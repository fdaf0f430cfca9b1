"""HTTP/2 with clients that nobody here wrote (Debian: curl, nghttp2-client)."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.server import Server

ENGINES = ["tests.apps.http2_app:app", "tests.apps.http2_asgi:app"]


@pytest.fixture(scope="module", params=ENGINES, ids=["wsgi", "asgi"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One for all."""
    # On the standard library's loop: tests/test_http2.py has the other one, where there is one.
    with Server(request.param, "--threads", "16", "--workers", "2", "--loop", "asyncio") as running:
        yield running


def run(*command: str, data: bytes = b"") -> str:
    """What a program writes; skips the test where there is none."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} here (Debian: apt-get install curl nghttp2-client)")
    done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode("latin-1")


def test_curl(server: Server, tmp_path: Path) -> None:
    """curl with prior knowledge: an upload, a download, HEAD."""
    big = tmp_path / "big"
    big.write_bytes(b"u" * 2_000_000)
    curl = ("curl", "-sS", "--http2-prior-knowledge")
    assert run(*curl, "-w", "%{http_version}", f"{server.url}/").endswith("hello\n2")
    assert run(*curl, "--data-binary", f"@{big}", f"{server.url}/echo") == "u" * 2_000_000
    assert len(run(*curl, f"{server.url}/stream/3000000")) == 3_000_000
    assert "HTTP/2 200" in run(*curl, "-I", f"{server.url}/bytes/10")


def test_nghttp(server: Server) -> None:
    """nghttp: several requests on one connection, with priorities and trailers."""
    urls = [f"{server.url}/bytes/{size}" for size in (10, 20000, 300000)]
    told = run("nghttp", "-n", "-v", "--trailer", "x-end: 1", "-d", "/dev/null", *urls)
    assert told.count(":status: 200") == 3
    assert "GOAWAY" not in told.replace("send GOAWAY", "")


def test_nghttp_with_small_windows(server: Server) -> None:
    """A window of 2^6-1 bytes for streams and connection."""
    told = run("nghttp", "-w", "6", "-W", "16", f"{server.url}/stream/30000")
    assert told == "s" * 30000


def test_h2load(server: Server) -> None:
    """h2load: ten connections of ten streams; every request is answered."""
    told = run("h2load", "-n", "3000", "-c", "10", "-m", "10", f"{server.url}/bytes/10240")
    assert "3000 succeeded, 0 failed, 0 errored, 0 timeout" in told


def test_h2load_with_uploads(server: Server, tmp_path: Path) -> None:
    """The same with bodies."""
    body = tmp_path / "body"
    body.write_bytes(b"x" * 5000)
    command = ("h2load", "-n", "1000", "-c", "5", "-m", "20", "-d", str(body))
    assert "1000 succeeded, 0 failed" in run(*command, f"{server.url}/sum")


def test_httpx(server: Server) -> None:
    """httpx, on the package h2."""
    pytest.importorskip("h2", reason="httpx needs h2 for HTTP/2")
    with httpx.Client(http1=False, http2=True, base_url=server.url, timeout=20) as client:
        answer = client.get("/")
        assert (answer.http_version, answer.status_code, answer.text) == ("HTTP/2", 200, "hello\n")
        sent = b"e" * 500_000
        assert client.post("/echo", content=sent).content == sent
        assert client.post("/echo", content=iter([b"a", b"b"])).content == b"ab"
        assert client.head("/bytes/100").headers["content-length"] == "100"
        assert client.get("/", headers={"cookie": "a=b"}).status_code == 200
        with client.stream("GET", "/stream/1000000") as streamed:
            assert sum(map(len, streamed.iter_bytes())) == 1_000_000


@pytest.mark.parametrize("app", ENGINES, ids=["wsgi", "asgi"])
def test_upgrade(app: str) -> None:
    """curl asks for HTTP/2 by Upgrade, and gets it only where that is switched on."""
    curl = ("curl", "-sS", "--http2", "-w", "%{http_version}")
    with Server(app, "--h2c-upgrade", "--workers", "1") as running:
        assert run(*curl, f"{running.url}/bytes/3", f"{running.url}/bytes/4") == "bbb2bbbb2"
        with running.connect() as client:
            asking = "GET /bytes/5 HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\n"
            client.send(f"{asking}Upgrade: h2c\r\nHTTP2-Settings: not/base64\r\n\r\n".encode())
            answer = client.receive()
            assert (answer.status, answer.body) == (200, b"bbbbb")  # by HTTP/1
            client.send(f"{asking}Upgrade: h2c\r\nHTTP2-Settings: AAIAAAAF\r\n\r\n".encode())
            # ENABLE_PUSH 5: the connection ends with PROTOCOL_ERROR.
            client.receive_until(b"101 Switching Protocols")
            assert b"ENABLE" not in client.receive_rest()


def test_upgrade_is_off_by_default(server: Server) -> None:
    """Behind a proxy that passes the field on it would open a way around the proxy's rules."""
    told = run("curl", "-sS", "--http2", "-w", "%{http_version}", f"{server.url}/bytes/3")
    assert told == "bbb1.1"
