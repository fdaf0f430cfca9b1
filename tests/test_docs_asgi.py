"""docs/asgi.md says what the code does: the scope, the extensions, the example, the log lines."""

import json
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from nogilserve.gateways.asgi import calls
from tests.apps.raw_websocket import RawWebSocket
from tests.support.server import Server

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "asgi.md").read_text()

APP = """
import json
import time

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["here"] = True
        await send({"type": "lifespan.startup.complete"})
        await receive()
        return await send({"type": "lifespan.shutdown.complete"})
    if scope["type"] == "websocket":
        await receive()
        if scope["path"] == "/scope":
            await send({"type": "websocket.accept"})
            keys = {"keys": [*scope], "extensions": [*scope["extensions"]]}
            await send({"type": "websocket.send", "text": json.dumps(keys)})
        return
    if scope["path"] == "/x":
        raise ValueError("a mistake")
    if scope["path"] == "/returns":
        return
    if scope["path"] == "/blocks":
        time.sleep(0.8)
    keys = {"keys": [*scope], "extensions": [*scope["extensions"]]}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(keys).encode()})
"""


def first_cells(heading: str) -> list[str]:
    """The names in code type in the first column of the table with this heading."""
    table = PAGE.partition(f"| {heading} |")[2].partition("\n\n")[0]
    rows = [line.split(" | ")[0] for line in table.splitlines()[2:]]
    return [name for row in rows for name in re.findall(r"`([\w.]+)`", row)]


@pytest.fixture
def server(tmp_path: Path, serve: Callable[..., Server]) -> Server:
    """The application above, on two loops, in debug mode."""
    (tmp_path / "main.py").write_text(APP)
    return serve("main:app", "--workers", "2", "--loop", "asyncio", "--debug", cwd=tmp_path)


def test_scope_and_extensions_are_those_on_the_page(server: Server) -> None:
    """What a request and a WebSocket connection get is what the two tables list, together."""
    with server.connect() as client:
        http = json.loads(client.get("/").body)
    with RawWebSocket(("127.0.0.1", server.port)) as websocket:
        websocket.open("/scope")
        upgraded = websocket.document()
    assert {*http["keys"], *upgraded["keys"]} == set(first_cells("key | value"))
    assert "method" not in upgraded["keys"]
    named = {*http["extensions"], *upgraded["extensions"]}
    assert named == set(first_cells("extension | here"))


def test_connection_fields_are_those_on_the_page() -> None:
    """The list of what is dropped."""
    listed = PAGE.partition("**Connection fields**")[2].partition("are dropped")[0]
    assert {name.lower() for name in re.findall(r"`([\w-]+)`", listed)} == calls._CONNECTION_FIELDS


def test_log_lines_are_those_on_the_page(server: Server) -> None:
    """The two kinds of failures, and a loop that is blocked."""
    with server.connect() as client:
        for path, status in (("/x", 500), ("/returns", 500), ("/blocks", 200)):
            assert client.get(path).status == status
    server.wait_log(r"time\.sleep\(0\.8\)")
    for line in (
        r"\[\w{12}\] GET /x: exception in main:app$",
        r"\[\w{12}\] GET /returns: illegal response in main:app$",
    ):
        assert re.search(line, server.log, re.MULTILINE), server.log
    stated = re.search(r"\[WARNING\] (?:generation \d+: )?(Event loop .+ It is in:)", PAGE)
    logged = re.search(r"\[WARNING\] (?:generation \d+: )?(Event loop .+ It is in:)", server.log)
    assert stated is not None
    assert logged is not None
    assert re.sub(r"[\d.]+ s", "", stated[1])[13:] == re.sub(r"[\d.]+ s", "", logged[1])[13:]


def test_example_reaches_clients_of_every_loop(
    tmp_path: Path, serve: Callable[..., Server]
) -> None:
    """Eight clients on four loops: what one says, all get."""
    found = re.search(r"```python\n# main.py:.+?\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    (tmp_path / "main.py").write_text(found[1])
    server = serve("main:app", "--loops", "4", "--loop", "asyncio", cwd=tmp_path)
    with ExitStack() as stack:
        clients = []
        for number in range(8):
            clients.append(stack.enter_context(RawWebSocket(("127.0.0.1", server.port))))
            clients[-1].open("/")
            assert clients[-1].ask(f"here is {number}") == f"here is {number}"
        for number, listener in enumerate(clients):
            # Those of different loops may come in any order.
            others = {f"here is {later}" for later in range(number + 1, 8)}
            assert {listener.message() for _ in others} == others
        for number, speaker in enumerate(clients):
            speaker.say(f"from {number}")
            for listener in clients:
                assert listener.message() == f"from {number}"
        for each in clients:
            assert each.leave() == 1000
    server.stop()
    assert "Traceback" not in server.log
