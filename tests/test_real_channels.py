"""Django's ASGI handler and Channels with its in-memory layer, served for real."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest
from websockets.sync.client import connect

from tests.apps.asgi_served import LOOPS, AsgiServed
from tests.apps.raw_client import SECONDS


@pytest.fixture(scope="module", params=LOOPS)
def server(request: pytest.FixtureRequest) -> Iterator[AsgiServed]:
    """One server, on whatever number of loops it thinks right."""
    app = "tests.apps.channels_app:application"
    with AsgiServed(app, "--workers", "2", "--loop", request.param) as running:
        yield running
    assert "different loop" not in running.log


@pytest.fixture
def client(server: AsgiServed) -> Iterator[httpx.Client]:
    """An ordinary client."""
    with httpx.Client(base_url=server.url, trust_env=False, timeout=SECONDS) as http:
        yield http


def test_django_views(client: httpx.Client) -> None:
    """Synchronous, asynchronous and streaming ones, and an HTTP consumer of Channels."""
    assert client.get("/hello").json()["path"] == "/hello"
    assert client.post("/echo", content="caf\u00e9 " * 100_000).text.startswith("CAF")
    assert client.get("/stream").text.count("\n") == 100
    assert client.get("/long").text == "0,1,2,3,4,5,6,7,8,9,end"
    assert client.get("/nothing").status_code == 404


def test_many_clients(server: AsgiServed) -> None:
    """Sixteen clients in both kinds of views at once."""

    def visit(number: int) -> None:
        with httpx.Client(base_url=server.url, trust_env=False, timeout=SECONDS) as http:
            for turn in range(10):
                assert http.post("/echo", content=f"a{number}b{turn}").text == f"A{number}B{turn}"
                assert http.get("/hello").status_code == 200

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(visit, range(16)))


def test_synchronous_consumer(server: AsgiServed) -> None:
    """It answers, and takes its leave."""
    base = server.url.replace("http", "ws")
    with connect(f"{base}/sync", proxy=None) as socket:
        for number in range(10):
            socket.send(json.dumps(number))
            assert json.loads(socket.recv(SECONDS)) == {"echo": number}


def test_one_loop_and_why(server: AsgiServed) -> None:
    """The layer's queues belong to one loop: the server found that out, chose one, and says so."""
    assert "channels.layers.InMemoryChannelLayer" in server.log
    assert "is served on one event loop" in server.log


def test_group(server: AsgiServed) -> None:
    """What one says to the group, all of it hear, in order."""
    with ExitStack() as stack:
        base = server.url.replace("http", "ws")
        clients = [stack.enter_context(connect(f"{base}/room", proxy=None)) for _ in range(6)]
        for client in clients:
            assert json.loads(client.recv(SECONDS))["loop"]
        for number in range(20):
            clients[number % 6].send(json.dumps(number))
            for client in clients:
                assert json.loads(client.recv(SECONDS)) == {"heard": number}


def test_unknown_path_is_refused(server: AsgiServed) -> None:
    """A route that is not there: the router raises, the handshake fails."""
    with server.websocket() as client:
        assert client.upgrade("/nowhere").status in (403, 404, 500)
    server.wait_log("No route found")
