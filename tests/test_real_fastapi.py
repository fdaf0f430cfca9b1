"""FastAPI, served for real on several loops: what its users do every day."""

import hashlib
import json
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from tests.apps.asgi_served import LOOPS, AsgiServed
from tests.apps.raw_client import SECONDS, request
from tests.support.waiting import wait_until

pytest.importorskip("fastapi", reason="FastAPI has no wheels for this interpreter")
from websockets.sync.client import connect

PROMPTLY = 1.0


@pytest.fixture(scope="module", params=LOOPS)
def server(request: pytest.FixtureRequest) -> Iterator[AsgiServed]:
    """One server for all tests here."""
    arguments = ("--loops", "4", "--loop", request.param)
    with AsgiServed("tests.apps.fastapi_app:app", *arguments) as running:
        yield running
    assert "different loop" not in running.log


@pytest.fixture
def client(server: AsgiServed) -> Iterator[httpx.Client]:
    """An ordinary client."""
    with httpx.Client(base_url=server.url, trust_env=False, timeout=SECONDS) as http:
        yield http


def test_routes_and_dependencies(client: httpx.Client) -> None:
    """Path, query, dependencies that yield, and the error one of them raises."""
    before = client.get("/counts").json()
    answer = client.get("/items/7?q=x", headers={"X-User": "me"})
    assert answer.json() | {"loop": 0} == {"number": 7, "q": "x", "token": "token of me", "loop": 0}
    assert client.get("/items/seven").status_code == 422
    assert client.get("/items/7", headers={"X-User": "evil"}).status_code == 403
    made = client.post("/items", json={"name": "a", "price": 1.5})
    assert (made.status_code, made.json()) == (201, {"name": "a", "price": 1.5, "tags": []})
    after = client.get("/counts").json()
    for name in ("opened", "closed"):
        assert after[name] - before.get(name, 0) >= 2


def test_openapi(client: httpx.Client) -> None:
    """The document and its page."""
    assert "/items/{number}" in client.get("/openapi.json").json()["paths"]
    assert "swagger" in client.get("/docs").text.lower()


def test_background_tasks(client: httpx.Client) -> None:
    """They run after the response."""
    key = str(random.random())
    assert client.get(f"/background?key={key}").json() == {"accepted": key}
    wanted = {f"async {key}", f"sync {key}"}
    wait_until(lambda: wanted <= set(client.get("/counts").json()), SECONDS)


def test_upload(client: httpx.Client) -> None:
    """A form with a file of 20 MB."""
    content = os.urandom(1 << 20) * 20
    answer = client.post("/upload", files={"file": ("a.bin", content)}).json()
    digest = hashlib.sha256(content).hexdigest()
    assert answer == {"name": "a.bin", "size": len(content), "sha256": digest}


def test_stream_there_and_back(client: httpx.Client) -> None:
    """A body of unknown length is streamed through."""
    answer = client.post("/stream", content=(b"piece %d," % number for number in range(1000)))
    assert answer.content == b"".join(b"PIECE %d," % number for number in range(1000))


def test_synchronous_endpoints_run_in_parallel(server: AsgiServed) -> None:
    """They wait in threads, not on the loop."""

    def visit(_: int) -> int:
        with httpx.Client(base_url=server.url, trust_env=False, timeout=SECONDS) as http:
            return int(http.get("/meet").json()["thread"])

    with ThreadPoolExecutor(12) as pool:
        threads = list(pool.map(visit, range(12)))
    assert len(set(threads)) == 12


@pytest.mark.parametrize("path", ["/sse", "/events"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_server_sent_events_end_with_the_client(server: AsgiServed, path: str, how: str) -> None:
    """Events arrive as they are made; a client that leaves ends the generator within a second."""
    key = str(random.random())
    with server.raw() as client:
        client.send(request(f"{path}?key={key}"))
        assert (client.final_head().header("content-type") or "").startswith("text/event-stream")
        received = b""
        while b"data: 5" not in received:
            received += client.chunk()
        if how == "reset":
            client.reset()
    with httpx.Client(base_url=server.url, trust_env=False, timeout=SECONDS) as http:
        wait_until(lambda: http.get("/counts").json().get(f"ended {key}") == 1, PROMPTLY)


def test_error_nobody_handles(server: AsgiServed, client: httpx.Client) -> None:
    """A 500, the traceback in the log, and the server goes on."""
    assert client.get("/fail").status_code == 500
    server.wait_log("nobody handles this")
    assert client.get("/loop").status_code == 200


def test_broadcast_between_loops(server: AsgiServed) -> None:
    """Clients of one process on different loops hear each other, by plain shared memory."""
    with ExitStack() as stack:
        base = server.url.replace("http", "ws")
        names = [f"client{number}" for number in range(8)]
        clients = {
            name: stack.enter_context(connect(f"{base}/chat/{name}", proxy=None)) for name in names
        }
        where = {name: json.loads(client.recv(SECONDS)) for name, client in clients.items()}
        assert len({place["loop"] for place in where.values()}) == 4
        assert len({place["process"] for place in where.values()}) == 1
        for turn in range(10):
            for client in clients.values():
                client.send(f"turn {turn}")
        for client in clients.values():
            heard = [str(client.recv(SECONDS)) for _ in range(10 * len(names))]
            for name in names:
                said = [line for line in heard if line.startswith(f"{name}:")]
                assert said == [f"{name}: turn {turn}" for turn in range(10)]
        clients["client0"].close()
        assert clients["client5"].recv(SECONDS) == "client0 left"


def test_hundred_requests_at_once(server: AsgiServed) -> None:
    """Sixteen clients; every answer belongs to its request, and all loops take part."""

    def visit(number: int) -> set[int]:
        loops = set()
        with httpx.Client(base_url=server.url, trust_env=False, timeout=SECONDS) as http:
            for turn in range(15):
                answer = http.get(f"/items/{turn}?q={number}", headers={"X-User": f"u{number}"})
                document = answer.json()
                assert (document["number"], document["q"]) == (turn, str(number))
                assert document["token"] == f"token of u{number}"
                loops.add(document["loop"])
        return loops

    with ThreadPoolExecutor(16) as pool:
        assert len(set[int]().union(*pool.map(visit, range(16)))) == 4
