"""HTTP connections on a real loop: the server stops, or the application gives up."""

import asyncio
from collections.abc import Callable

import pytest

from nogilserve.engine.loop.states import CLOSING
from nogilserve.errors import ClientDisconnected
from nogilserve.messages import AsyncExchange
from tests.engine.loop.rig import LoopRig, Peer, Route, get, on_loop, reply

BIG = bytes(1 << 20)


def post(size: int, *fields: str) -> bytes:
    """The head of a request with a body."""
    return get("/", f"Content-Length: {size}", *fields).replace(b"GET", b"POST")


def holding(route: dict[str, AsyncExchange], go: asyncio.Event) -> Route:
    """A route that shows its exchange and answers when told to."""

    async def hold(exchange: AsyncExchange) -> None:
        route["exchange"] = exchange
        await go.wait()
        await reply(exchange)

    return hold


# ---- stopping


async def idle(peer: Peer) -> None:
    """Nothing was sent."""


async def used(peer: Peer) -> None:
    """A request before."""
    await peer.send(get("/before"))
    await peer.until(b"/before")


@pytest.mark.parametrize("before", [idle, used])
def test_stop_ends_idle_connections(before: Callable[[Peer], asyncio.Future[None]]) -> None:
    """After a moment for what is on its way."""

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        await before(peer)
        rig.core.stop(patient=False)
        assert not rig.core.idle.is_set()
        assert await peer.rest() == b""
        await rig.core.idle.wait()

    on_loop(main)


def test_stop_lets_a_request_on_its_way_finish() -> None:
    """A request that arrives just then is served, with the word that it is the last."""

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        await peer.send(get("/1"))
        await peer.until(b"/1")
        rig.core.stop(patient=False)
        await peer.send(get("/2"))
        assert b"Connection: close" in await peer.until(b"/2")
        await peer.rest()
        peer.sock.close()
        await rig.core.idle.wait()

    on_loop(main)


def test_stop_in_the_middle_of_a_request() -> None:
    """It is answered, with the word that it is the last; then the core is idle."""
    go = asyncio.Event()
    shown: dict[str, AsyncExchange] = {}

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        await peer.send(get("/hold"))
        await rig.until(lambda: shown)
        rig.core.stop(patient=False)
        await rig.turn()
        assert not rig.core.idle.is_set()
        assert list(map(type(rig.connections[0]).now_running, rig.connections)) == ["GET /hold"]
        go.set()
        assert b"Connection: close" in await peer.until(b"/hold")
        await peer.rest()
        peer.sock.close()
        await rig.core.idle.wait()

    on_loop(main, {"/hold": holding(shown, go)})


def test_a_patient_stop() -> None:
    """An idle connection may ask once more; without that it ends with its keep-alive time."""

    async def main(rig: LoopRig) -> None:
        peers = [await rig.connect() for _ in range(2)]
        for peer in peers:
            await peer.send(get("/1"))
            await peer.until(b"/1")
        rig.core.stop(patient=True)
        await rig.turn()
        assert len(rig.core.clients) == 2
        await peers[0].send(get("/2"))
        assert b"Connection: close" in await peers[0].until(b"/2")
        await peers[0].rest()
        rig.look_after(7)
        await peers[1].rest()
        await rig.core.idle.wait()

    on_loop(main)


def test_stop_ends_event_streams_in_order() -> None:
    """Their clients connect anew; the application hears that its client is gone."""

    async def events(exchange: AsyncExchange) -> None:
        exchange.prepare("200 OK", [("Content-Type", "text/event-stream")])
        exchange.send_head(None)
        exchange.send_data(b"data: 1\n\n")
        while not exchange.gone:
            await exchange.news()
        exchange.send_data(b"data: 2\n\n")

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        await peer.send(get("/events"))
        await peer.until(b"data: 1")
        rig.core.stop(patient=False)
        assert (await peer.rest()).endswith(b"0\r\n\r\n")
        peer.sock.close()
        await rig.core.idle.wait()
        assert rig.core.gateway.disconnected  # type: ignore[attr-defined]

    on_loop(main, {"/events": events})


@pytest.mark.parametrize("state", ["head", "running", "draining", "linger", "writing"])
def test_cut_off_in_every_state(state: str) -> None:
    """Connections end at once and applications are cancelled, wherever they are."""
    never = asyncio.Event()

    async def wait(exchange: AsyncExchange) -> None:
        await never.wait()

    async def large(exchange: AsyncExchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(None)
        while True:
            exchange.send_data(BIG)
            await exchange.drain()

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect(send_buffer=4096)
        sent = {
            "head": b"GET",
            "running": get("/wait"),
            "draining": post(1000),
            "linger": b"nonsense\r\n\r\n",
            "writing": get("/large"),
        }[state]
        await peer.send(sent)
        await rig.turn(50)
        rig.core.stop(patient=False)
        rig.core.cut_off()
        await rig.core.idle.wait()
        assert not rig.core.clients
        assert not rig.core.tasks

    on_loop(main, {"/wait": wait, "/large": large})


def test_abort_by_the_application() -> None:
    """The client can tell that the response is not whole; nothing more is sent."""

    async def give_up(exchange: AsyncExchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(None)
        exchange.send_data(b"half")
        exchange.abort()
        exchange.abort()
        with pytest.raises(ClientDisconnected):
            exchange.send_data(b"more")

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        await peer.send(get("/"))
        data = await peer.rest()
        assert not data.endswith(b"0\r\n\r\n")
        assert rig.connections[0].state >= CLOSING

    on_loop(main, {"/": give_up})
