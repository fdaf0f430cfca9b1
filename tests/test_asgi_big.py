"""Uploads of 100 MB and a response of 512 MB through ASGI: complete, and at flat memory."""

import hashlib
import json
from collections.abc import Iterator

import pytest

from tests.apps.asgi_served import LOOPS, TORTURE, AsgiServed
from tests.apps.raw_client import chunked, request

MIB = 1 << 20
UPLOAD = 100 * 1000 * 1000
DOWNLOAD = 512 * MIB
MAY_GROW = 64 * MIB


@pytest.fixture(scope="module", params=LOOPS)
def server(request: pytest.FixtureRequest) -> Iterator[AsgiServed]:
    """One server for all tests here."""
    with AsgiServed(TORTURE, "--loops", "2", "--loop", request.param) as running:
        yield running
    assert "Traceback" not in running.log


def pieces(size: int) -> Iterator[bytes]:
    """`size` bytes in pieces of a megabyte, no two alike."""
    made = 0
    while made < size:
        piece = (made.to_bytes(8) + b"0123456789abcdef" * 65536)[: min(MIB, size - made)]
        yield piece
        made += len(piece)


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_upload(server: AsgiServed, coding: str) -> None:
    """100 MB arrive complete, piece by piece, and never lie in the server's memory."""
    digest = hashlib.sha256()
    with server.raw() as client:
        client.get("/hello")
        before = peak = server.memory()
        if coding == "length":
            client.send(request("/upload", f"Content-Length: {UPLOAD}\r\n", "POST"))
            stream = pieces(UPLOAD)
        else:
            client.send(request("/upload", "Transfer-Encoding: chunked\r\n", "POST"))
            stream = chunked(pieces(UPLOAD))
        for number, piece in enumerate(stream):
            client.send(piece)
            if number % 10 == 0:
                peak = max(peak, server.memory())
        answer = json.loads(client.response().body)
    for piece in pieces(UPLOAD):
        digest.update(piece)
    assert (answer["size"], answer["sha256"]) == (UPLOAD, digest.hexdigest())
    assert answer["pieces"] > 10
    assert answer["largest"] <= MIB
    assert peak - before < MAY_GROW, f"{(peak - before) / MIB:.0f} MiB more than at the start"


@pytest.mark.parametrize("target", ["stream", "stream-with-length", "pathsend"])
def test_download(server: AsgiServed, target: str) -> None:
    """512 MB reach a client that reads in its own time; the server keeps none of it."""
    query = f"?n={DOWNLOAD}" + ("&length=1" if "length" in target else "")
    with server.raw() as client:
        client.get("/hello")
        before = peak = server.memory()
        client.send(request(f"/{target.removesuffix('-with-length')}{query}"))
        head = client.final_head()
        received = 0
        if head.header("content-length") is None:
            while size := len(client.chunk()):
                received += size
                peak = max(peak, server.memory()) if received % (64 * MIB) < 65536 else peak
        else:
            while received < DOWNLOAD:
                received += len(client.take(MIB))
                peak = max(peak, server.memory()) if received % (64 * MIB) == 0 else peak
    assert received == DOWNLOAD
    assert peak - before < MAY_GROW, f"{(peak - before) / MIB:.0f} MiB more than at the start"
