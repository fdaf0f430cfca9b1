"""HTTP connections on a real loop: requests, pipelining, idle connections and their deadlines."""

import asyncio
from contextlib import suppress

import pytest

from nogilserve.engine.loop.states import HEAD, LINGER
from nogilserve.messages import AsyncExchange, RequestRecord
from tests.engine.loop.rig import LoopRig, Route, get, on_loop, reply


def holding(route: dict[str, AsyncExchange], go: asyncio.Event) -> Route:
    """A route that shows its exchange and answers when told to."""

    async def hold(exchange: AsyncExchange) -> None:
        route["exchange"] = exchange
        await go.wait()
        await reply(exchange)

    return hold


# ---- requests


def test_requests_one_after_the_other() -> None:
    """The connection stays, is counted, and goes idle in between."""
    records: list[RequestRecord] = []

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        for number in range(3):
            await peer.send(get(f"/{number}"))
            await peer.until(f"/{number}".encode())
            assert rig.connections[0].state == HEAD
        assert rig.core.counters.requests == 3
        assert rig.core.counters.accepted == 1

    on_loop(main, records=records)
    assert [record.target for record in records] == ["/0", "/1", "/2"]


@pytest.mark.parametrize("count", [2, 16, 17, 1000])
def test_pipelining(count: int) -> None:
    """However many come at once, each is answered, in order."""

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        sending = asyncio.ensure_future(peer.send(b"".join(get(f"/{i}") for i in range(count))))
        for number in range(count):
            assert (await peer.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await peer.exactly(len(f"/{number}")) == f"/{number}".encode()
        await sending

    on_loop(main)


def test_pipelined_behind_one_that_waits() -> None:
    """The second one is not begun before the first is answered; what piles up is bounded."""
    go = asyncio.Event()
    shown: dict[str, AsyncExchange] = {}

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        sending = asyncio.ensure_future(peer.send(get("/hold") + get("/x" * 500) * 8000))
        await rig.until(lambda: shown)
        await rig.turn(200)
        connection = rig.connections[0]
        assert connection.protocol.buffered < 1 << 19
        assert not sending.done()
        go.set()
        reading = asyncio.ensure_future(peer.until(b"/end"))
        await sending
        await peer.send(get("/end"))
        await reading

    on_loop(main, {"/hold": holding(shown, go)})


def test_a_client_that_pipelines_and_does_not_read() -> None:
    """It is not read from any more, so that neither requests nor responses pile up."""

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect(send_buffer=4096)
        sending = asyncio.ensure_future(peer.send(get("/" + "x" * 1000) * 8000))
        connection = rig.connections
        await rig.until(lambda: connection[0].congested)
        await rig.turn(1000)
        assert connection[0].protocol.buffered < 1 << 19
        assert connection[0].transport.get_write_buffer_size() < 1 << 19
        assert not sending.done()
        sending.cancel()

    on_loop(main)


def test_a_client_that_pipelines_faster_than_it_is_served() -> None:
    """Its requests do not pile up between turns."""
    most = 0

    async def main(rig: LoopRig) -> None:
        async def watch(exchange: AsyncExchange) -> None:
            nonlocal most
            most = max(most, rig.connections[0].protocol.buffered)
            await reply(exchange)

        rig.core.gateway.routes["/w"] = watch  # type: ignore[attr-defined]
        peer = await rig.connect()
        count = 3000
        sending = asyncio.ensure_future(peer.send(get("/w?" + "x" * 500) * count))
        while rig.core.counters.requests < count:
            await peer.receive()
        await sending

    on_loop(main)
    assert most < 1 << 19


def test_a_long_head_is_read_whole() -> None:
    """Reading pauses behind heads, never in the middle of one."""

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        fields = [f"X-{i}: {'x' * 8000}" for i in range(8)]
        await peer.send(get("/x" * 100) * 200 + get("/long", *fields))
        assert (await peer.until(b"/long")).count(b"HTTP/1.1 200") == 201

    on_loop(main)


@pytest.mark.parametrize("whole", [True, False])
def test_half_close(whole: bool) -> None:
    """Requests that came before the end are answered; half a request is dropped."""

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        await peer.send(get("/1") + get("/2") + (b"" if whole else get("/3")[:-2]))
        peer.half_close()
        data = await peer.rest()
        assert data.count(b"200 OK") == 2
        assert b"/2" in data

    on_loop(main)


def test_a_client_that_leaves_during_its_request() -> None:
    """The application is told, and what it sends raises."""
    records: list[RequestRecord] = []

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        told = []

        async def wait(exchange: AsyncExchange) -> None:
            while not exchange.gone:
                await exchange.news()
            told.append(True)
            await rig.until(lambda: rig.core.active == 0)
            await reply(exchange)

        rig.core.gateway.routes["/w"] = wait  # type: ignore[attr-defined]
        await peer.send(get("/w"))
        await rig.until(lambda: rig.core.active)
        peer.reset()
        await rig.until(lambda: not rig.core.tasks)
        assert told == [True]
        assert len(rig.core.gateway.disconnected) == 1  # type: ignore[attr-defined]

    on_loop(main, records=records)
    assert [(record.status, record.complete) for record in records] == [(0, False)]


# ---- idle connections


@pytest.mark.parametrize(
    ("sent", "seconds", "status"),
    [
        (b"", 12, b""),
        (b"GET / HT", 12, b"408"),
        (get("/"), 7, b"200"),
        (get("/") + b"GE", 12, b"408"),
        (b"\r\n", 12, b""),
    ],
)
def test_idle_connections_end(sent: bytes, seconds: float, status: bytes) -> None:
    """Nothing sent, half a head, between requests: each has its deadline and its answer."""

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        await peer.send(sent)
        await rig.turn()
        rig.look_after(seconds / 3)
        assert rig.core.clients
        rig.look_after(seconds)
        assert status in await peer.rest()
        peer.sock.close()
        await rig.until(lambda: not rig.core.clients)

    on_loop(main)


def test_a_head_in_pieces_has_one_deadline() -> None:
    """A client that sends a byte now and then gains nothing by it."""

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        connection = rig.connections[0]
        await peer.send(b"GET / ")
        await rig.turn()
        deadline = connection.deadline
        await peer.send(b"HTTP/1.1\r\nHo")
        await rig.turn()
        assert connection.deadline == deadline

    on_loop(main)


def test_deadlines_fire_by_themselves() -> None:
    """The loop's own timer finds them, when nothing else happens."""

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        assert await peer.rest() == b""

    on_loop(main, head_timeout=0.1)


@pytest.mark.parametrize("leave", ["linger", "flood", "end"])
def test_lingering(leave: str) -> None:
    """After a refusal the client's rest is read for a while, up to an amount, or to its end."""

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        await peer.send(b"nonsense\r\n\r\n")
        assert (await peer.rest()).startswith(b"HTTP/1.1 400")
        assert rig.connections[0].state == LINGER
        if leave == "linger":
            rig.look_after(4)
        elif leave == "end":
            peer.half_close()
        else:
            with suppress(ConnectionError):
                await peer.send(bytes(1 << 21))
        await rig.until(lambda: not rig.core.clients)

    on_loop(main)
