"""python-socketio, served for real, with its own client: polling, WebSocket, and the change."""

import asyncio
from collections.abc import Iterator
from typing import Any

import aiohttp
import httpx
import pytest
import socketio

from tests.apps.asgi_served import LOOPS, AsgiServed
from tests.apps.raw_client import SECONDS


@pytest.fixture(scope="module", params=LOOPS)
def server(request: pytest.FixtureRequest) -> Iterator[AsgiServed]:
    """One server for all tests here. Its sessions and queues belong to one loop."""
    with AsgiServed("tests.apps.socketio_app:app", "--loop", request.param) as running:
        yield running
    assert "different loop" not in running.log


class Member:
    """A client and what it has heard. Owner: the event loop of the test."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self.client = socketio.AsyncClient(http_session=http, reconnection=False)
        self.heard: asyncio.Queue[Any] = asyncio.Queue()
        self.client.on("said", self.heard.put)
        self.client.on("left", self.hear_farewell)

    async def hear_farewell(self, name: str) -> None:
        """Somebody has left."""
        await self.heard.put(f"{name} left")

    async def connect(self, url: str, name: str, transports: list[str]) -> None:
        """Connect under a name."""
        await self.client.connect(url, auth={"name": name}, transports=transports)

    async def listen(self) -> Any:
        """What is heard next."""
        return await asyncio.wait_for(self.heard.get(), SECONDS)


@pytest.mark.parametrize("transports", [["polling"], ["websocket"], ["polling", "websocket"]])
def test_room(server: AsgiServed, transports: list[str]) -> None:
    """Acknowledgements, a room, and the farewell of one who leaves."""

    async def talk() -> None:
        async with aiohttp.ClientSession() as http:
            members = [Member(http) for _ in range(4)]
            for number, member in enumerate(members):
                await member.connect(server.url, f"m{number}", transports)
            answer = await members[1].client.call("ask", [1, "two"], timeout=SECONDS)
            assert answer == {"you": "m1", "asked": [1, "two"]}
            for number, member in enumerate(members):
                await member.client.emit("say", number)
                assert [await other.listen() for other in members] == [number] * 4
            await members[0].client.disconnect()
            assert await members[3].listen() == "m0 left"
            for member in members[1:]:
                await member.client.disconnect()

    asyncio.run(talk())


def test_refused(server: AsgiServed) -> None:
    """A connection that the application refuses."""

    async def refused() -> None:
        async with aiohttp.ClientSession() as http:
            member = Member(http)
            with pytest.raises(socketio.exceptions.ConnectionError):
                await member.connect(server.url, "evil", ["websocket"])

    asyncio.run(refused())


def test_the_application_around_it(server: AsgiServed) -> None:
    """What is no Socket.IO goes to the other application."""
    assert httpx.get(server.url + "/other", trust_env=False).text == "plain"
