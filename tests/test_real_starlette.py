"""Starlette, served for real: StaticFiles, streaming, middleware, who leaves in the middle."""

import os
import random
from collections.abc import Iterator

import httpx
import pytest
from websockets.sync.client import connect

from tests.apps.asgi_served import LOOPS, AsgiServed
from tests.apps.raw_client import SECONDS, request
from tests.support.waiting import wait_until

BIG = bytes(range(256)) * 20_000
PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture(scope="module", params=LOOPS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AsgiServed]:
    """One server with a folder of files for all tests here."""
    folder = tmp_path_factory.mktemp("static")
    (folder / "index.html").write_text("<title>hello</title>")
    (folder / "small.txt").write_text("small\n")
    (folder / "big.bin").write_bytes(BIG)
    (folder / "empty.txt").touch()
    environment = {"TORTURE_FOLDER": str(folder)}
    arguments = ("--loops", "2", "--loop", request.param)
    with AsgiServed("tests.apps.starlette_app:app", *arguments, env=environment) as running:
        yield running


@pytest.fixture
def client(server: AsgiServed) -> Iterator[httpx.Client]:
    """An ordinary client."""
    with httpx.Client(base_url=server.url, trust_env=False, timeout=SECONDS) as http:
        yield http


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("", b"<title>hello</title>"),
        ("small.txt", b"small\n"),
        ("big.bin", BIG),
        ("empty.txt", b""),
    ],
)
def test_static_files(client: httpx.Client, name: str, content: bytes) -> None:
    """GET, HEAD, and a second GET that finds nothing new."""
    answer = client.get(f"/static/{name}", headers=PLAIN)
    assert (answer.status_code, answer.content) == (200, content)
    head = client.head(f"/static/{name}", headers=PLAIN)
    assert head.headers["content-length"] == str(len(content))
    assert head.content == b""
    again = client.get(f"/static/{name}", headers=PLAIN | {"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_ranges(client: httpx.Client) -> None:
    """One range, several, and one that is not there."""
    one = client.get("/static/big.bin", headers=PLAIN | {"Range": "bytes=1000-1999"})
    assert (one.status_code, one.content) == (206, BIG[1000:2000])
    several = client.get("/static/big.bin", headers=PLAIN | {"Range": "bytes=0-9,100-109"})
    assert several.status_code == 206
    assert BIG[100:110] in several.content
    none = client.get("/static/big.bin", headers=PLAIN | {"Range": "bytes=99999999-"})
    assert none.status_code == 416


def test_no_way_out_of_the_folder(server: AsgiServed) -> None:
    """Neither plain nor encoded dots lead out."""
    for path in ("/static/../pyproject.toml", "/static/%2e%2e/pyproject.toml", "/static/..%2fa"):
        with server.raw() as raw:
            assert raw.get(path).status == 404


def test_compressed(client: httpx.Client) -> None:
    """Through the gzip middleware, a body whose length is not known beforehand."""
    answer = client.get("/stream?n=5000")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.text.count("\n") == 5000


def test_attachment(client: httpx.Client) -> None:
    """FileResponse, through pathsend where the middleware lets it."""
    answer = client.get("/file", headers=PLAIN)
    assert answer.content == BIG
    assert "caf%C3%A9.bin" in answer.headers["content-disposition"]
    assert answer.headers["x-timed"] == "yes"


def test_stream(client: httpx.Client) -> None:
    """Lines arrive as they are made."""
    want = "".join(f"line {number}\n" for number in range(1000))
    assert client.get("/stream?n=1000", headers=PLAIN).text == want


def test_stream_ends_with_the_client(server: AsgiServed, client: httpx.Client) -> None:
    """A client that leaves in the middle ends the generator within a second."""
    key = str(random.random())
    with server.raw() as raw:
        raw.send(request(f"/stream?n=100000&ms=10&key={key}"))
        raw.chunk_of_response()
    wait_until(lambda: client.get(f"/ended?key={key}").json() == "cancelled", 1.0)


def test_upload_that_breaks_off(server: AsgiServed, client: httpx.Client) -> None:
    """Starlette tells its endpoint by ClientDisconnect."""
    key = str(random.random())
    with server.raw() as raw:
        raw.send(request(f"/upload?key={key}", "Content-Length: 1000\r\n", "POST") + b"abc")
        with server.raw() as other:
            other.get("/state")
    wait_until(lambda: client.get(f"/ended?key={key}").json() == "ClientDisconnect", SECONDS)


def test_big_upload(client: httpx.Client) -> None:
    """Through a middleware that wraps receive()."""
    content = os.urandom(1 << 20) * 20
    assert client.post("/upload", content=content).json() == {"size": len(content)}


def test_lifespan_state(client: httpx.Client) -> None:
    """`request.state` has what the lifespan yielded."""
    assert client.get("/state").json() == {"word": "started"}


def test_websocket_endpoint(server: AsgiServed) -> None:
    """A class-based endpoint."""
    with connect(server.url.replace("http", "ws") + "/ws", proxy=None) as socket:
        for text in ("one", "two \u2603", "x" * 100_000):
            socket.send(text)
            assert socket.recv(SECONDS) == text
