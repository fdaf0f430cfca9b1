"""Responses that wait for each other: what they wait for, and what not.

The clock of the sockets is the test's. Requests that were sent before the loop polls again are
ready together, because the sockets are local ones. The handler of each looks what has come to the
clients so far.
"""

import asyncio

import pytest

from nogilserve.engine.loop import direct
from nogilserve.engine.loop.direct import DirectTransport
from nogilserve.engine.poller import READ
from nogilserve.messages import AsyncExchange
from tests.engine.loop.notes import Notes, ended, open_one
from tests.engine.loop.rig import LoopRig, Peer, get, has_bytes, on_loop, reply

MOST = 16
"""Responses that are held at once."""


class Clock:
    """What the sockets take for the time. Owner: the test's thread."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """It stands still unless the test moves it."""
    made = Clock()
    monkeypatch.setattr(direct, "monotonic", made)
    return made


class Watched:
    """A handler that notes how many clients have got something when it is called, and then takes
    as long as the target says, in microseconds. Owner: the loop."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.peers: list[Peer] = []
        self.arrived: list[int] = []

    async def __call__(self, exchange: AsyncExchange) -> None:
        self.arrived.append(sum(map(has_bytes, self.peers)))
        self.clock.now += int(exchange.request.query or 0) / 1e6
        await reply(exchange)

    async def ask(self, rig: LoopRig, *times: int) -> list[int]:
        """One request of each client, ready together; what their handlers have noted."""
        while len(self.peers) < len(times):
            self.peers.append(await rig.connect(local=True))
        self.arrived.clear()
        for peer, time in zip(self.peers, times, strict=False):
            peer.sock.send(get(f"/watched?{time}"))
        for peer, time in zip(self.peers, times, strict=False):
            await peer.until(f"/watched?{time}".encode())
        return self.arrived


def test_ready_together_sent_together(clock: Clock) -> None:
    """Sixteen at a time, the rest at the end of the turn; one that is alone waits for nothing."""
    watched = Watched(clock)

    async def main(rig: LoopRig) -> None:
        assert await watched.ask(rig, *[0] * 20) == [0] * MOST + [MOST] * 4
        assert await watched.ask(rig, 0) == [0]
        assert rig.core.counters.sent == sum(
            [len(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n/watched?0") + len(rig.core.common)]
            * 21
        )

    on_loop(main, {"/watched": watched})


def test_not_for_long(clock: Clock) -> None:
    """A millisecond after the first one all of them leave."""
    watched = Watched(clock)

    async def main(rig: LoopRig) -> None:
        assert await watched.ask(rig, *[300] * 9) == [0, 0, 0, 0, 4, 4, 4, 4, 8]

    on_loop(main, {"/watched": watched})


def test_not_for_slow_ones(clock: Clock) -> None:
    """After a request that took long nothing waits any more; the next turn is another one."""
    watched = Watched(clock)

    async def main(rig: LoopRig) -> None:
        assert await watched.ask(rig, 0, 2000, 0, 0) == [0, 0, 2, 3]
        assert await watched.ask(rig, 0, 0, 0, 0) == [0, 0, 0, 0]
        assert await watched.ask(rig, 2000, 2000, 2000) == [0, 1, 2], "all are slow"

    on_loop(main, {"/watched": watched})


def test_not_soon_after_a_very_slow_one(clock: Clock) -> None:
    """For ten times as long as somebody had to wait, nobody does."""
    watched = Watched(clock)

    async def main(rig: LoopRig) -> None:
        assert await watched.ask(rig, 0, 6000, 0) == [0, 0, 2]
        assert await watched.ask(rig, 0, 0, 0) == [0, 1, 2]
        clock.now += 0.055
        assert await watched.ask(rig, 0, 0, 0) == [0, 1, 2]
        clock.now += 0.006
        assert await watched.ask(rig, 0, 0, 0) == [0, 0, 0]

    on_loop(main, {"/watched": watched})


@pytest.mark.parametrize("slow", [2000, 6000])
def test_slow_ones_that_do_not_answer_yet(clock: Clock, slow: int) -> None:
    """What was ready before the first of them does not wait for the others."""
    watched = Watched(clock)
    go = asyncio.Event()

    async def later(exchange: AsyncExchange) -> None:
        watched.arrived.append(sum(map(has_bytes, watched.peers)))
        clock.now += slow / 1e6
        await go.wait()
        await reply(exchange)

    async def main(rig: LoopRig) -> None:
        watched.peers += [await rig.connect(local=True) for _ in range(4)]
        for peer, target in zip(watched.peers, ("/watched", *["/later"] * 3), strict=True):
            peer.sock.send(get(target))
        await watched.peers[0].until(b"/watched")
        await rig.until(lambda: len(watched.arrived) == 4)
        assert watched.arrived == [0, 0, 1, 1]
        late, watched.peers[1:] = watched.peers[1:], [await rig.connect(local=True)]
        assert await watched.ask(rig, 0, 0) == [0, int(slow > 5000)]
        go.set()
        for peer in late:
            await peer.until(b"/later")

    on_loop(main, {"/watched": watched, "/later": later})


def test_many_that_do_not_answer_yet(clock: Clock) -> None:
    """Not for them either, though each of them is quick."""
    watched = Watched(clock)
    go = asyncio.Event()

    async def later(exchange: AsyncExchange) -> None:
        watched.arrived.append(sum(map(has_bytes, watched.peers)))
        clock.now += 0.0004
        await go.wait()
        await reply(exchange)

    async def main(rig: LoopRig) -> None:
        watched.peers += [await rig.connect(local=True) for _ in range(6)]
        for peer, target in zip(watched.peers, ("/watched", *["/later"] * 5), strict=True):
            peer.sock.send(get(target))
        await rig.until(lambda: len(watched.arrived) == 6)
        assert watched.arrived == [0, 0, 0, 0, 1, 1]
        go.set()
        await watched.peers[0].until(b"/watched")
        for peer in watched.peers[1:]:
            await peer.until(b"/later")

    on_loop(main, {"/watched": watched, "/later": later})


def test_pipelined_ones_leave_in_one_piece(clock: Clock) -> None:
    """Several of one connection are held as one, in their order, up to 16 KiB."""
    watched = Watched(clock)

    async def big(exchange: AsyncExchange) -> None:
        watched.arrived.append(sum(map(has_bytes, watched.peers)))
        exchange.prepare("200 OK", [])
        exchange.send_whole(b"b" * 9000)

    async def main(rig: LoopRig) -> None:
        watched.peers += [await rig.connect(local=True), await rig.connect(local=True)]
        first, second = watched.peers
        first.sock.send(get("/watched?1") + get("/big") + get("/big") + get("/watched?2"))
        second.sock.send(get("/watched?3"))
        data = await first.until(b"/watched?2")
        assert data.count(b"HTTP/1.1 200 OK") == 4
        assert data.index(b"/watched?1") < data.index(b"bbb") < data.index(b"/watched?2")
        await second.until(b"/watched?3")
        assert sorted(watched.arrived) == [0, 0, 0, 1, 1], "two big ones are too much"

    on_loop(main, {"/watched": watched, "/big": big})


def test_what_follows_comes_after(clock: Clock) -> None:
    """A streamed response, a refusal and the end of the connection send first what waits."""
    seen: list[bytes] = []

    async def stream(exchange: AsyncExchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(None)
        exchange.send_data(b"<streamed>")
        exchange.send_end()

    async def large(exchange: AsyncExchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_whole(b"l" * 100_000)

    async def main(rig: LoopRig) -> None:
        peers = [await rig.connect(local=True) for _ in range(5)]
        peers[0].sock.send(get("/a") + get("/stream") + get("/b"))
        peers[1].sock.send(get("/c") + get("/large") + get("/d"))
        peers[2].sock.send(get("/e") + b"nonsense\r\n\r\n")
        peers[3].sock.send(get("/f", "Connection: close"))
        peers[4].sock.send(get("/g") + get("/h", "Connection: close"))
        for peer, last in zip(peers[:2], (b"/b", b"/d"), strict=True):
            seen.append(await peer.until(last))
        for peer in peers[2:]:
            peer.half_close()
            seen.append(await peer.rest())

    on_loop(main, {"/stream": stream, "/large": large})
    assert seen[0].index(b"/a") < seen[0].index(b"<streamed>") < seen[0].index(b"/b")
    assert seen[1].index(b"/c") < seen[1].index(b"lll") < seen[1].index(b"/d")
    assert seen[2].index(b"/e") < seen[2].index(b"400 Bad Request")
    assert seen[3].endswith(b"/f")
    assert seen[4].index(b"/g") < seen[4].index(b"/h")


def test_a_client_that_takes_little(clock: Clock) -> None:
    """What the system does not take when it is sent is kept and sent later."""

    async def big(exchange: AsyncExchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_whole(b"b" * 15_000 + b"!")

    async def main(rig: LoopRig) -> None:
        peers = [await rig.connect(send_buffer=1024) for _ in range(3)]
        for peer in peers:
            peer.sock.send(get("/big"))
        for peer in peers:
            assert (await peer.until(b"!")).count(b"b") == 15_000

    on_loop(main, {"/big": big})


class Writer(Notes):
    """Sends something whole as soon as something comes, and then does something else."""

    def __init__(self, then: str = "") -> None:
        super().__init__()
        self.then = then
        self.sizes: list[int] = []

    def data_received(self, data: bytes) -> None:
        """As above."""
        super().data_received(data)
        self.transport.write_whole(b"whole")
        self.sizes.append(self.transport.get_write_buffer_size())
        match self.then:
            case "write":
                self.transport.write(b"more")
            case "writelines":
                self.transport.writelines([b"mo", b"re"])
            case "close" | "abort" | "write_eof":
                getattr(self.transport, self.then)()
            case "interrupt":
                raise KeyboardInterrupt
            case "fail":
                raise RuntimeError("a bug")
        self.sizes.append(self.transport.get_write_buffer_size())


@pytest.mark.parametrize(
    ("then", "sizes", "sent"),
    [
        ("write", [5, 0], b"wholemore"),
        ("writelines", [5, 0], b"wholemore"),
        ("close", [5, 0], b"whole"),
        ("abort", [5, 0], b"whole"),
        ("write_eof", [5, 0], b"whole"),
        ("fail", [5], b""),
        ("", [5, 5], b"whole"),
    ],
)
def test_anything_else_comes_after(clock: Clock, then: str, sizes: list[int], sent: bytes) -> None:
    """What waits counts as unsent, and leaves before the transport does anything else. What an
    error of ours ends gets nothing any more."""

    async def main(rig: LoopRig) -> None:
        first, second = Writer(then), Writer()
        peers = [open_one(rig, first, local=True), open_one(rig, second, local=True)]
        for peer in peers:
            peer.sock.send(b"x")
        await rig.until(lambda: first.data and second.data)
        assert first.sizes == sizes
        if sent:
            assert await peers[0].exactly(len(sent)) == sent
        assert await peers[1].exactly(5) == b"whole"
        for notes in (first, second):
            notes.transport.close()
            await ended(rig, notes)
        assert await peers[0].rest() == b""

    on_loop(main)


def test_nothing_waits_when_the_loop_is_interrupted(clock: Clock) -> None:
    """What ends the loop in the middle of a turn leaves no response behind."""

    async def main(rig: LoopRig) -> None:
        first, second = Writer(), Writer("interrupt")
        peers = [open_one(rig, first, local=True), open_one(rig, second, local=True)]
        for peer in peers:
            peer.sock.send(b"x")
        numbers = [notes.transport.get_extra_info("socket").fileno() for notes in (first, second)]
        with pytest.raises(KeyboardInterrupt):
            rig.sockets.serve([(number, READ) for number in numbers])
        for peer in peers:
            assert await peer.exactly(5) == b"whole"
        assert not rig.sockets.holding
        for notes in (first, second):
            notes.transport.close()
            await ended(rig, notes)

    on_loop(main)


def test_outside_of_a_turn_nothing_waits(clock: Clock) -> None:
    """What the application sends later, or to a connection that still sends, goes its usual way."""

    async def main(rig: LoopRig) -> None:
        notes = Notes()
        peer = open_one(rig, notes, local=True)
        transport: DirectTransport = notes.transport
        transport.write_whole(b"whole")
        assert has_bytes(peer)
        assert transport.get_write_buffer_size() == 0
        assert await peer.exactly(5) == b"whole"
        transport.close()
        await ended(rig, notes)

    on_loop(main)
