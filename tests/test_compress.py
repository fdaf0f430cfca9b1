"""Compressed responses from real servers, on threads and on event loops."""

import gzip
import sys
import zlib
from collections.abc import Iterator
from importlib import import_module

import pytest

from tests.apps import to_compress
from tests.support.server import Server
from tests.support.wire import Client, Response

ENGINES = [
    pytest.param(("tests.apps.to_compress:wsgi",), id="wsgi"),
    pytest.param(
        ("tests.apps.to_compress:asgi", "--loop", "asyncio", "--lifespan", "off"), id="asgi"
    ),
]
ZSTD = sys.version_info >= (3, 14)


@pytest.fixture(scope="module", params=ENGINES)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that compresses."""
    with Server(*request.param, "--compress", "auto") as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A connection."""
    with server.connect() as connection:
        yield connection


def decoded(answer: Response) -> bytes:
    """The body as the application gave it."""
    coding = answer.get("Content-Encoding")
    if coding == "gzip":
        return gzip.decompress(answer.body)
    if coding == "zstd":
        data: bytes = import_module("compression.zstd").decompress(answer.body)
        return data
    assert coding == ""
    return answer.body


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_compressed(client: Client, coding: str) -> None:
    """A whole body and a file: shorter, and the same once decoded; the connection goes on."""
    if coding == "zstd" and not ZSTD:
        pytest.skip("zstd comes with Python 3.14")
    contents = {"/html": to_compress.HTML[1], "/file": to_compress.FILE.read_bytes()}
    for path, content in contents.items():
        answer = client.get(path, Accept_Encoding=coding)
        assert answer.status == 200
        assert answer.get("Content-Encoding") == coding
        assert len(answer.body) < len(content)
        assert decoded(answer) == content
        assert answer.get("Vary") == "Accept-Encoding"


def test_preference(client: Client) -> None:
    """The client's weights, then ours."""
    assert client.get("/html", Accept_Encoding="zstd;q=0.1, gzip").get("Content-Encoding") == "gzip"
    best = client.get("/html", Accept_Encoding="gzip, deflate, zstd").get("Content-Encoding")
    assert best == ("zstd" if ZSTD else "gzip")


def test_not_for_everybody(client: Client) -> None:
    """Who does not ask gets it plain, but caches are told."""
    for accepted in ({}, {"Accept-Encoding": "identity"}, {"Accept-Encoding": "gzip;q=0"}):
        answer = client.request("GET", "/html", accepted)
        assert answer.get("Content-Encoding") == ""
        assert answer.get("Vary") == "Accept-Encoding"
        assert answer.body == to_compress.HTML[1]


@pytest.mark.parametrize("path", ["/tiny", "/image", "/coded", "/untouched", "/part"])
def test_not_for_everything(client: Client, path: str) -> None:
    """Tiny, compressed already, not to be transformed, a part."""
    answer = client.get(path, Accept_Encoding="gzip")
    assert answer.body == to_compress.BODIES[path][1]
    assert answer.get("Content-Encoding") == ("x-own" if path == "/coded" else "")
    assert answer.get("Content-Length") == str(len(answer.body))


def test_head_says_what_is_true(client: Client) -> None:
    """A weak tag, Vary completed, no ranges, the length of what is sent."""
    answer = client.get("/page", Accept_Encoding="gzip")
    assert answer.get("ETag") == 'W/"v1"'
    varies = [value for name, value in answer.headers if name.lower() == "vary"]
    assert varies == ["Cookie", "Accept-Encoding"]
    assert answer.get("Accept-Ranges") == ""
    assert answer.get("Content-Length") == str(len(answer.body))
    plain = client.get("/page")
    assert (plain.get("ETag"), plain.get("Accept-Ranges")) == ('"v1"', "bytes")


def test_head_requests_and_statuses_without_body(client: Client) -> None:
    """HEAD as GET, without the body; 204 is left alone."""
    got = client.get("/page", Accept_Encoding="gzip")
    head = client.request("HEAD", "/page", {"Accept-Encoding": "gzip"})
    assert head.body == b""
    assert head.get("Content-Encoding") == got.get("Content-Encoding")
    assert head.get("Content-Length") == got.get("Content-Length")
    answer = client.request("HEAD", "/file", {"Accept-Encoding": "gzip"})
    assert (answer.status, answer.get("Content-Encoding")) == (200, "gzip")
    nothing = client.get("/go", Accept_Encoding="gzip")
    assert (nothing.status, nothing.get("Content-Encoding"), nothing.get("Vary")) == (204, "", "")


def test_events_stay_live(client: Client, server: Server) -> None:
    """The second event waits until the client has decoded the first."""
    client.send(b"GET /events HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
    assert b"Content-Encoding: gzip" in client.receive_head()
    decoder = zlib.decompressobj(16 + zlib.MAX_WBITS)
    seen = b""
    while b"first" not in seen:
        seen += decoder.decompress(chunk(client))
    assert b"second" not in seen
    with server.connect() as other:
        assert other.get("/go").status == 204
    while data := chunk(client):
        seen += decoder.decompress(data)
    assert seen == b"data: first\n\ndata: second\n\n"
    assert decoder.eof
    assert client.get("/tiny").status == 200


def chunk(client: Client) -> bytes:
    """The next chunk of a chunked body."""
    size = int(client.receive_until(b"\r\n"), 16)
    return client.receive_exactly(size + 2)[:-2]


@pytest.mark.parametrize("path", ["/short", "/long"])
def test_wrong_content_length_is_still_found(server: Server, path: str) -> None:
    """A body that is not as long as was declared does not pass for complete."""
    with server.connect() as client:
        client.send(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n".encode("ascii")
        )
        rest = client.receive_rest()
    assert not rest.endswith(b"0\r\n\r\n")
    word = "shorter" if path == "/short" else "longer"
    server.wait_log(f"bytes {word} than Content-Length")


@pytest.mark.parametrize("engine", ENGINES)
def test_coding_that_is_not_there(engine: tuple[str, ...]) -> None:
    """Refused at the start, with what to do."""
    try:
        import_module("brotli")
    except ImportError:
        pass
    else:
        pytest.skip("brotli is installed")
    with Server(*engine, "--compress", "br", wait_ready=False) as server:
        assert server.wait() == 2
        assert "install the package brotli" in server.log


def test_off_by_default() -> None:
    """Nobody's responses are changed unasked."""
    with Server("tests.apps.to_compress:wsgi") as server, server.connect() as client:
        answer = client.get("/html", Accept_Encoding="gzip")
        assert (answer.get("Content-Encoding"), answer.get("Vary")) == ("", "")
