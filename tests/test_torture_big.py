"""Uploads of 100 MB and a response of 1 GB: complete, and at flat memory."""

import hashlib
import json
from collections.abc import Iterator

import httpx
import pytest

from tests.apps.raw_client import RawClient, chunked, request
from tests.apps.served import Served

MIB = 1 << 20
UPLOAD = 100 * 1000 * 1000
DOWNLOAD = 1 << 30
MAY_GROW = 64 * MIB


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    """One server for all tests here."""
    with Served("tests.apps.torture:app", "--threads", "4") as running:
        yield running
    assert "Traceback" not in running.log


class Watch:
    """The server's memory from here on. Owner: the test."""

    def __init__(self, server: Served) -> None:
        self._server = server
        self._start = server.memory()

    def check(self) -> None:
        """Fail when it has grown beyond what buffers may take."""
        grown = self._server.memory() - self._start
        assert grown < MAY_GROW, f"{grown / MIB:.0f} MiB more than at the start"


def pieces(size: int) -> Iterator[bytes]:
    """`size` bytes in pieces of a megabyte, no two alike."""
    made = 0
    while made < size:
        piece = (made.to_bytes(8) + b"0123456789abcdef" * 65536)[: min(MIB, size - made)]
        yield piece
        made += len(piece)


@pytest.fixture(scope="module")
def expected() -> dict[str, object]:
    """What the application has to report of the upload."""
    digest = hashlib.sha256()
    for piece in pieces(UPLOAD):
        digest.update(piece)
    return {"size": UPLOAD, "sha256": digest.hexdigest()}


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_upload(server: Served, expected: dict[str, object], coding: str) -> None:
    """100 MB arrive complete, and do not lie in the server's memory."""
    with server.raw() as client:
        client.get("/raw/hello")
        watch = Watch(server)
        if coding == "length":
            client.send(request("/raw/upload", f"Content-Length: {UPLOAD}\r\n", "POST"))
            for piece in pieces(UPLOAD):
                client.send(piece)
        else:
            client.send(request("/raw/upload", "Transfer-Encoding: chunked\r\n", "POST"))
            for piece in chunked(pieces(UPLOAD)):
                client.send(piece)
        watch.check()
        answer = client.response()
        watch.check()
    assert json.loads(answer.body) == expected


def test_upload_by_httpx(server: Served, expected: dict[str, object]) -> None:
    """The same by a common client, to the validated route."""
    answer = httpx.post(server.url + "/upload", content=pieces(UPLOAD), timeout=60, trust_env=False)
    assert answer.json() == expected


def discard(client: RawClient, size: int, watch: Watch) -> None:
    """Receive `size` bytes of a body, looking at the server's memory now and then."""
    buffer = memoryview(bytearray(MIB))
    left = size - client.drop_buffered()
    looked = left
    while left > 0:
        count = client.sock.recv_into(buffer, min(MIB, left))
        assert count, f"{left} bytes are missing"
        left -= count
        if looked - left > 64 * MIB:
            looked = left
            watch.check()
    assert left == 0


def test_download_of_stated_length(server: Served) -> None:
    """1 GB from a generator streams through memory that stays flat."""
    with server.raw() as client:
        client.get("/raw/hello")
        watch = Watch(server)
        client.send(request(f"/raw/download?n={DOWNLOAD}&length=1&piece={MIB}"))
        assert client.final_head().header("content-length") == str(DOWNLOAD)
        discard(client, DOWNLOAD, watch)
        assert client.get("/raw/hello").body == b"hello\n"


def test_download_chunked(server: Served) -> None:
    """The same without a stated length: every chunk is read, and the end is there."""
    with server.raw() as client:
        client.get("/raw/hello")
        watch = Watch(server)
        client.send(request(f"/raw/download?n={DOWNLOAD}&piece={MIB}"))
        assert client.final_head().header("transfer-encoding") == "chunked"
        total = 0
        for number, piece in enumerate(iter(client.chunk, b"")):
            total += len(piece)
            if number % 64 == 0:
                watch.check()
        assert total == DOWNLOAD


def test_download_nobody_reads_does_not_fill_memory(server: Served) -> None:
    """A generator is not run ahead of a client that does not read, beyond a bounded buffer."""
    with server.raw(receive_buffer=4096) as client:
        watch = Watch(server)
        client.send(request(f"/raw/download?n={DOWNLOAD}&piece={MIB}"))
        assert client.final_head().status == 200
        for _ in range(200):
            with server.raw() as other:
                assert other.get("/raw/hello", "Connection: close\r\n").body == b"hello\n"
        watch.check()
