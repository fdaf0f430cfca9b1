"""HTTP connections on a real loop: bodies of requests, and responses that nobody reads."""

import asyncio
from contextlib import suppress

import pytest

from nogilserve.engine.loop.states import DRAINING, LINGER, RUNNING
from nogilserve.errors import TruncatedBody
from nogilserve.messages import AsyncExchange
from tests.engine.loop.rig import LoopRig, get, on_loop, reply, turn

BIG = bytes(1 << 20)


def post(size: int, *fields: str) -> bytes:
    """The head of a request with a body."""
    return get("/", f"Content-Length: {size}", *fields).replace(b"GET", b"POST")


# ---- bodies


@pytest.mark.parametrize("how", ["counted", "chunked"])
def test_a_body_that_nobody_reads_is_drained(how: str) -> None:
    """A small rest is thrown away, and the connection goes on."""

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        head = post(1000) if how == "counted" else get("/", "Transfer-Encoding: chunked")
        await peer.send(head)
        await peer.until(b"\r\n\r\n")
        connection = rig.connections[0]
        assert connection.state == DRAINING
        assert rig.core.active == 0
        await peer.send(bytes(1000) if how == "counted" else b"3\r\nabc\r\n0\r\n\r\n")
        await peer.send(get("/next"))
        await peer.until(b"/next")

    on_loop(main)


def test_a_large_body_that_nobody_reads_ends_the_connection() -> None:
    """The client is told so in the response, which it gets although it still sends."""

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        await peer.send(post(1 << 20) + bytes(1000))
        head = await peer.until(b"\r\n\r\n")
        assert b"Connection: close" in head
        assert rig.connections[0].state == LINGER
        with suppress(ConnectionError):
            await peer.send(bytes(1 << 16))
        await peer.rest()

    on_loop(main)


def test_draining_ends_in_time() -> None:
    """A client that does not send the rest of its body is not waited for indefinitely."""

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        await peer.send(post(1000))
        await peer.until(b"\r\n\r\n")
        rig.look_after(29)
        assert rig.connections[0].state == DRAINING
        rig.look_after(32)
        await peer.rest()

    on_loop(main)


def test_draining_ends_with_the_client() -> None:
    """A client that closes its side in the middle of such a body is let go."""

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        await peer.send(post(1000))
        await peer.until(b"\r\n\r\n")
        peer.half_close()
        await peer.rest()
        await rig.until(lambda: not rig.core.clients)

    on_loop(main)


async def read_all(exchange: AsyncExchange) -> None:
    """Answers with the size of the body."""
    size = 0
    while (piece := exchange.read_body()) != b"" or not exchange.body_complete:
        if piece:
            size += len(piece)
        else:
            await exchange.news()
    exchange.prepare("200 OK", [])
    exchange.send_whole(b"%d bytes" % size)


def test_a_body_is_read_as_the_application_takes_it() -> None:
    """What waits is bounded while it does not, and all of it arrives in the end."""
    go = asyncio.Event()

    async def slowly(exchange: AsyncExchange) -> None:
        await go.wait()
        await read_all(exchange)

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        sending = asyncio.ensure_future(peer.send(post(len(BIG)) + BIG))
        await rig.turn(300)
        assert rig.connections[0].protocol.buffered < 1 << 19
        go.set()
        await peer.until(b"%d bytes" % len(BIG))
        await sending

    on_loop(main, {"/": slowly})


def test_a_body_that_stalls_while_it_is_waited_for() -> None:
    """408, and the application's read fails."""
    raised = []

    async def read(exchange: AsyncExchange) -> None:
        try:
            await read_all(exchange)
        except TruncatedBody as exc:
            raised.append(exc)

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        await peer.send(post(10) + b"abc")
        await rig.until(lambda: rig.core.tasks)
        rig.look_after(29)
        rig.look_after(32)
        assert (await peer.until(b"\r\n")).startswith(b"HTTP/1.1 408")
        await rig.until(lambda: raised)

    on_loop(main, {"/": read})


def test_nobody_waits_for_the_body_any_longer() -> None:
    """An application that gave up reading and works on is not cut off: it is not the client that
    it waits for."""
    go = asyncio.Event()

    async def look_and_work(exchange: AsyncExchange) -> None:
        exchange.read_body()
        waiting = asyncio.ensure_future(exchange.news())
        await turn()
        waiting.cancel()
        await go.wait()
        await reply(exchange)

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        await peer.send(post(10) + b"abc")
        await rig.until(lambda: rig.core.tasks)
        await rig.turn()
        rig.look_after(32)
        assert rig.connections[0].state == RUNNING
        go.set()
        assert (await peer.until(b"\r\n")).startswith(b"HTTP/1.1 200")

    on_loop(main, {"/": look_and_work})


def test_the_body_has_its_deadline_again_after_the_response_was_stuck() -> None:
    """A client that reads on, but does not send the body that is waited for."""

    async def both(exchange: AsyncExchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(None)
        exchange.send_data(BIG)
        with suppress(TruncatedBody):
            await read_all(exchange)

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect(send_buffer=4096)
        await peer.send(post(10))
        await rig.until(lambda: rig.connections[0].congested)
        await rig.turn()
        await peer.exactly(len(BIG))
        await rig.until(lambda: not rig.connections[0].congested)
        rig.look_after(32)
        await rig.until(lambda: not rig.core.tasks)

    on_loop(main, {"/": both})


def test_asking_often_whether_the_client_is_there_costs_no_memory() -> None:
    """Waiters that were cancelled do not pile up."""
    most = 0

    async def ask(exchange: AsyncExchange) -> None:
        nonlocal most
        exchange.read_body()
        kept = asyncio.ensure_future(exchange.news())
        for _ in range(500):
            waiting = asyncio.ensure_future(exchange.news())
            await turn()
            waiting.cancel()
            await turn()
        assert not kept.done()
        most = len(exchange._readers.waiting)  # type: ignore[attr-defined]
        await reply(exchange)
        await kept

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        await peer.send(get("/"))
        await peer.until(b"\r\n\r\n")

    on_loop(main, {"/": ask})
    assert most < 10


def test_expect_continue_after_the_response_has_begun() -> None:
    """A client that was never told to send its body is not blamed for not sending it."""
    go = asyncio.Event()

    async def stream(exchange: AsyncExchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(None)
        exchange.send_data(b"begun")
        waiting = asyncio.ensure_future(exchange.news())
        await go.wait()
        waiting.cancel()
        exchange.send_data(b"ended")
        exchange.send_end()

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        await peer.send(post(10, "Expect: 100-continue"))
        await peer.until(b"begun")
        await rig.turn()
        rig.look_after(32)
        go.set()
        await peer.until(b"ended")
        await peer.rest()

    on_loop(main, {"/": stream})


# ---- responses that the client does not read


def test_drain_waits_for_the_client() -> None:
    """Memory is bounded by what the application sends before it waits."""

    async def stream(exchange: AsyncExchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(None)
        for _ in range(64):
            exchange.send_data(bytes(1 << 16))
            if exchange.crowded:
                await exchange.drain()
        exchange.send_end()

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect(send_buffer=4096)
        await peer.send(get("/"))
        await rig.until(lambda: rig.connections and rig.connections[0].congested)
        await rig.turn(100)
        assert rig.connections[0].transport.get_write_buffer_size() < 1 << 19
        await peer.until(b"0\r\n\r\n")

    on_loop(main, {"/": stream})


@pytest.mark.parametrize("progress", [False, True])
def test_a_response_that_is_not_read(progress: bool) -> None:
    """Without a byte in the write timeout the connection is cut off; with one it goes on."""

    async def stream(exchange: AsyncExchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(len(BIG))
        exchange.send_data(BIG)
        await exchange.drain()
        exchange.send_end()

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect(send_buffer=4096)
        await peer.send(get("/"))
        connections = rig.connections
        await rig.until(lambda: connections[0].congested)
        await rig.turn()
        rig.look_after(58)
        if progress:
            before = connections[0].transport.get_write_buffer_size()
            while connections[0].transport.get_write_buffer_size() == before:
                await peer.receive()
        rig.look_after(63)
        await rig.turn()
        assert (not rig.core.clients) is not progress
        assert ("response not read" in rig.refused) is not progress
        if progress:
            await rig.until(lambda: rig.core.clients)

    on_loop(main, {"/": stream})


@pytest.mark.parametrize("body", [0, 1 << 20])
def test_the_last_response_has_the_write_timeout_too(body: int) -> None:
    """A response after which the server closes is given as much time as any other."""

    async def large(exchange: AsyncExchange) -> None:
        exchange.prepare("200 OK", [])
        if not body:
            exchange.end_after()
        exchange.send_whole(BIG)

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect(send_buffer=4096)
        await peer.send(post(body) if body else get("/"))
        connections = rig.connections
        await rig.until(lambda: connections[0].congested)
        assert connections[0].state == LINGER
        rig.look_after(30)
        await rig.turn()
        data = await peer.rest()
        assert len(data) > len(BIG)
        peer.sock.close()
        await rig.until(lambda: not rig.core.clients)

    on_loop(main, {"/": large})


def test_draining_has_the_write_timeout_while_the_response_is_stuck() -> None:
    """The body timeout does not cut off a response that is still on its way."""

    async def large(exchange: AsyncExchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_whole(BIG)

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect(send_buffer=4096)
        await peer.send(post(1000))
        connections = rig.connections
        await rig.until(lambda: connections[0].congested)
        assert connections[0].state == DRAINING
        rig.look_after(40)
        await rig.turn()
        await peer.exactly(len(BIG))
        await rig.until(lambda: not connections[0].congested)
        rig.look_after(32)
        await rig.until(lambda: not rig.core.clients)

    on_loop(main, {"/": large})


def test_sending_a_file_that_was_given_up_ends_the_connection(tmp_path: object) -> None:
    """An application that cancels its send in the middle has not sent what was announced: the
    connection cannot carry another response."""
    path = f"{tmp_path}/file"
    with open(path, "wb") as file:
        file.write(BIG)

    async def impatient(exchange: AsyncExchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(len(BIG))
        with open(path, "rb", buffering=0) as file:
            sending = asyncio.ensure_future(exchange.send_file(file, 0, len(BIG)))
            for _ in range(50):
                await turn()
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending
        exchange.send_end()

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect(send_buffer=4096)
        await peer.send(get("/") + get("/second"))
        assert b"/second" not in await peer.rest()
        await rig.until(lambda: not rig.core.tasks)
        assert rig.core.gateway.ran == ["/"]  # type: ignore[attr-defined]

    on_loop(main, {"/": impatient})


def test_sendfile() -> None:
    """A range of a file, to a client that reads slowly."""

    async def send(exchange: AsyncExchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(None)
        with open(__file__, "rb", buffering=0) as file:
            await exchange.send_file(file, 3, 1000)
        exchange.send_end()

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect(send_buffer=4096)
        await peer.send(get("/"))
        data = await peer.until(b"\r\n0\r\n\r\n")
        with open(__file__, "rb") as file:
            assert file.read()[3:1003] in data

    on_loop(main, {"/": send})
