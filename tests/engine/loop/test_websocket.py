"""WebSocket connections on a real loop: handshake, pings, both closing handshakes, flow control."""

import asyncio
from contextlib import suppress

import pytest

from nogilserve.errors import ClientDisconnected
from nogilserve.messages import WebSocketExchange
from tests.engine.loop.rig import LoopRig, Peer, get, on_loop, turn
from tests.protocols.websocket.peer import frame

UPGRADE = get(
    "/ws",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


async def message(exchange: WebSocketExchange) -> str | bytes | None:
    """The next one, None at the end."""
    while (got := exchange.next_message()) is None and not exchange.close_code:
        await exchange.news()
    return got


async def echo(exchange: WebSocketExchange) -> None:
    """Sends everything back."""
    exchange.accept(None, [])
    while (got := await message(exchange)) is not None:
        if isinstance(got, str):
            exchange.send_text(got)
        else:
            exchange.send_bytes(got)
        if exchange.crowded:
            await exchange.drain()


async def frame_of(peer: Peer) -> tuple[int, bytes]:
    """Opcode and payload of the next frame of the server."""
    first, size = await peer.exactly(2)
    if size == 126:
        size = int.from_bytes(await peer.exactly(2))
    elif size == 127:
        size = int.from_bytes(await peer.exactly(8))
    return first & 15, await peer.exactly(size)


async def open_one(rig: LoopRig, trailing: bytes = b"") -> Peer:
    """A client whose handshake was accepted."""
    peer = await rig.connect()
    await peer.send(UPGRADE + trailing)
    assert (await peer.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    return peer


def close_of(code: int) -> bytes:
    """A client's Close frame."""
    return frame(CLOSE, code.to_bytes(2))


def test_messages_behind_the_handshake() -> None:
    """Bytes that came with the upgrade are the first frames, and are counted once."""

    async def main(rig: LoopRig) -> None:
        trailing = frame(TEXT, b"early") + frame(BINARY, b"bird")
        peer = await open_one(rig, trailing)
        assert await frame_of(peer) == (TEXT, b"early")
        assert await frame_of(peer) == (BINARY, b"bird")
        assert rig.core.counters.received == len(UPGRADE + trailing)
        assert rig.core.active == 0, "an open WebSocket is not waited for"

    on_loop(main, websocket=echo)


def test_waiting_for_messages_before_the_handshake() -> None:
    """Who waits when another task accepts gets the messages that come."""

    async def two_tasks(exchange: WebSocketExchange) -> None:
        waiting = asyncio.ensure_future(message(exchange))
        await turn()
        exchange.accept(None, [])
        exchange.send_text(f"got {await waiting!r}")

    async def main(rig: LoopRig) -> None:
        peer = await open_one(rig)
        await peer.send(frame(TEXT, b"it"))
        assert await frame_of(peer) == (TEXT, b"got 'it'")

    on_loop(main, websocket=two_tasks)


def test_the_client_closes() -> None:
    """The Close comes back, then the server ends the connection; the application is told."""
    ends = []

    async def listen(exchange: WebSocketExchange) -> None:
        exchange.accept(None, [])
        assert await message(exchange) == "last"
        assert await message(exchange) is None
        ends.append((exchange.close_code, exchange.close_reason))
        with pytest.raises(ClientDisconnected):
            exchange.send_text("too late")

    async def main(rig: LoopRig) -> None:
        peer = await open_one(rig)
        await peer.send(frame(TEXT, b"last") + close_of(3000))
        assert await frame_of(peer) == (CLOSE, (3000).to_bytes(2))
        assert await peer.rest() == b""
        await rig.until(lambda: ends)

    on_loop(main, websocket=listen)
    assert ends == [(3000, "")]


@pytest.mark.parametrize("answer", ["close", "silence", "eof"])
def test_the_application_closes(answer: str) -> None:
    """The client's Close is waited for, some seconds; what it sends before is dropped."""

    async def leave(exchange: WebSocketExchange) -> None:
        exchange.accept(None, [])
        exchange.close(4000, "bye")
        while not exchange.close_code:
            assert exchange.next_message() is None
            await exchange.news()

    async def main(rig: LoopRig) -> None:
        peer = await open_one(rig)
        assert await frame_of(peer) == (CLOSE, (4000).to_bytes(2) + b"bye")
        for _ in range(50):
            await peer.send(frame(BINARY, bytes(5000)))
        await rig.turn()
        assert rig.core.clients
        if answer == "close":
            await peer.send(close_of(4000))
        elif answer == "eof":
            peer.half_close()
        else:
            rig.look_after(7)
        await peer.rest()
        await rig.until(lambda: not rig.core.clients and not rig.core.tasks)

    on_loop(main, websocket=leave)


def test_closing_with_the_clients_close_already_there() -> None:
    """A Close that waits behind messages nobody has taken is found at once."""

    async def deaf(exchange: WebSocketExchange) -> None:
        exchange.accept(None, [])
        await go.wait()
        exchange.close(1000, "")

    async def main(rig: LoopRig) -> None:
        peer = await open_one(rig)
        await peer.send(frame(BINARY, bytes(30000)) * 10 + close_of(1000))
        await rig.turn(100)
        go.set()
        assert (await frame_of(peer))[0] == CLOSE
        await rig.turn()
        assert not rig.core.clients
        assert await peer.rest() == b""

    go = asyncio.Event()
    on_loop(main, websocket=deaf)


# ---- pings


def test_a_client_that_answers_pings() -> None:
    """It is pinged again and again, and stays."""

    async def main(rig: LoopRig) -> None:
        peer = await open_one(rig)
        for number in range(1, 3):
            assert await frame_of(peer) == (PING, number.to_bytes(4))
            await peer.send(frame(PONG, number.to_bytes(4)))
        assert not rig.refused

    on_loop(main, websocket=echo, ws_ping_interval=0.2, ws_ping_timeout=5.0)


def test_a_client_that_does_not_answer_pings() -> None:
    """It is let go with 1011, and the application is told."""
    ends = []

    async def listen(exchange: WebSocketExchange) -> None:
        exchange.accept(None, [])
        assert await message(exchange) is None
        ends.append(exchange.close_code)

    async def main(rig: LoopRig) -> None:
        peer = await open_one(rig)
        assert (await frame_of(peer))[0] == PING
        opcode, payload = await frame_of(peer)
        assert (opcode, payload[:2]) == (CLOSE, (1011).to_bytes(2))
        assert await peer.rest() == b""
        assert rig.refused == {"WebSocket ping not answered": 1}

    on_loop(main, websocket=listen, ws_ping_interval=0.2, ws_ping_timeout=0.2)
    assert ends == [1011]


def test_no_pings() -> None:
    """With an interval of 0 there are none, and no deadline either."""

    async def main(rig: LoopRig) -> None:
        peer = await open_one(rig)
        rig.look_after(1000)
        await peer.send(frame(TEXT, b"still here"))
        assert await frame_of(peer) == (TEXT, b"still here")

    on_loop(main, websocket=echo, ws_ping_interval=0.0)


def test_a_pong_that_cannot_be_read_is_not_missed() -> None:
    """A client is not blamed for what waits behind messages that the application does not take."""

    async def deaf(exchange: WebSocketExchange) -> None:
        exchange.accept(None, [])
        await go.wait()

    async def main(rig: LoopRig) -> None:
        peer = await open_one(rig)
        await peer.send(frame(BINARY, bytes(30000)) * 5)
        await rig.turn(100)
        for _ in range(2):
            assert (await frame_of(peer))[0] == PING
        assert rig.core.clients
        assert not rig.refused
        go.set()

    go = asyncio.Event()
    on_loop(main, websocket=deaf, ws_ping_interval=0.2, ws_ping_timeout=0.2)


# ---- flow


def test_messages_that_nobody_takes_are_not_read() -> None:
    """The client has to wait; then all of them arrive."""

    async def slow(exchange: WebSocketExchange) -> None:
        exchange.accept(None, [])
        await go.wait()
        count = 0
        while await message(exchange) is not None:
            count += 1
        counts.append(count)

    async def main(rig: LoopRig) -> None:
        peer = await open_one(rig)
        sending = asyncio.ensure_future(peer.send(frame(BINARY, bytes(30000)) * 300))
        await rig.turn(300)
        assert not sending.done()
        assert rig.core.counters.received < 1 << 20
        go.set()
        await sending
        await peer.send(close_of(1000))
        await rig.until(lambda: counts)

    go = asyncio.Event()
    counts: list[int] = []
    on_loop(main, websocket=slow)
    assert counts == [300]


def test_a_client_that_does_not_read() -> None:
    """drain() waits; without a byte in the write timeout the connection is cut off."""

    async def flood(exchange: WebSocketExchange) -> None:
        exchange.accept(None, [])
        while True:
            exchange.send_bytes(bytes(1 << 16))
            if exchange.crowded:
                await exchange.drain()

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect(send_buffer=4096)
        await peer.send(UPGRADE)
        await rig.turn(100)
        assert len(rig.core.tasks) == 1
        rig.look_after(62)  # the system had taken some since the connection was congested
        rig.look_after(124)
        await rig.until(lambda: not rig.core.clients and not rig.core.tasks)
        assert rig.refused == {"response not read": 1}

    on_loop(main, websocket=flood)


# ---- the server stops


@pytest.mark.parametrize(("patient", "code"), [(False, 1001), (True, 1012)])
@pytest.mark.parametrize("busy", [False, True])
def test_stop(patient: bool, code: int, busy: bool) -> None:
    """1001, or 1012 where another process goes on; then the client's Close is waited for, even
    when it has messages on the way. The application is told at once."""

    async def main(rig: LoopRig) -> None:
        peer = await open_one(rig)
        rig.core.stop(patient=patient)
        assert await frame_of(peer) == (CLOSE, code.to_bytes(2))
        await rig.until(lambda: not rig.core.tasks)
        if busy:
            for _ in range(5):
                await peer.send(frame(TEXT, b"on its way"))
                await rig.turn()
        assert rig.core.clients, "the client has not answered yet"
        assert not rig.core.idle.is_set()
        await peer.send(close_of(code))
        assert await peer.rest() == b""
        await rig.core.idle.wait()

    on_loop(main, websocket=echo)


def test_stop_with_a_client_that_does_not_answer() -> None:
    """It is let go after some seconds, and not counted as one that reads nothing."""

    async def main(rig: LoopRig) -> None:
        peer = await open_one(rig)
        rig.core.stop(patient=False)
        assert (await frame_of(peer))[0] == CLOSE
        rig.look_after(7)
        await peer.rest()
        await rig.core.idle.wait()
        assert not rig.refused

    on_loop(main, websocket=echo)


def test_stop_between_the_request_and_its_answer() -> None:
    """An application that accepts when the server stops already: the client is told to leave."""

    async def late(exchange: WebSocketExchange) -> None:
        await go.wait()
        exchange.accept(None, [])
        assert await message(exchange) is None

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        await peer.send(UPGRADE)
        await rig.until(lambda: rig.core.tasks)
        rig.core.stop(patient=False)
        go.set()
        await peer.until(b"\r\n\r\n")
        assert await frame_of(peer) == (CLOSE, (1001).to_bytes(2))
        await peer.send(close_of(1001))
        await rig.core.idle.wait()

    go = asyncio.Event()
    on_loop(main, websocket=late)


@pytest.mark.parametrize("how", ["reset", "eof"])
def test_the_client_is_gone_before_the_answer(how: str) -> None:
    """accept() raises, or the end is told right after it; nothing is left over."""

    async def late(exchange: WebSocketExchange) -> None:
        while not exchange.http.gone:
            await exchange.news()
        exchange.accept(None, [])
        assert await message(exchange) is None
        assert exchange.close_code == 1006

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        await peer.send(UPGRADE)
        await rig.until(lambda: rig.core.tasks)
        peer.reset() if how == "reset" else peer.half_close()
        await rig.until(lambda: not rig.core.tasks and not rig.core.clients)
        with suppress(OSError):
            await peer.rest()

    on_loop(main, websocket=late)


def test_a_handshake_that_is_refused_by_the_engine() -> None:
    """426 with the version there is; the application is not asked."""

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        await peer.send(UPGRADE.replace(b"Version: 13", b"Version: 12"))
        assert (await peer.until(b"\r\n")).startswith(b"HTTP/1.1 426")
        assert rig.core.active == 0

    on_loop(main, websocket=echo)
