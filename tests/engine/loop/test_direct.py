"""What serves our connections itself, below asyncio's loop on every poller, and below uvloop."""

import asyncio
import os
import socket

import pytest

from nogilserve.engine.loop.direct import DirectTransport
from nogilserve.engine.poller import POLLERS
from nogilserve.runtimes.eventloops import loop_factory
from tests.apps.asgi_served import NO_UVLOOP
from tests.engine.loop.notes import BIG, Notes, ended, open_one
from tests.engine.loop.rig import UVLOOP, LoopRig, on_loop, turn


@pytest.fixture(scope="module", autouse=True)
def libuv() -> None:
    """It keeps a pipe for the process from its first loop on, which the leak guard would find."""
    if not NO_UVLOOP:
        loop, sockets = loop_factory(UVLOOP, "auto")[1]()
        loop.close()
        assert sockets is not None
        sockets.close()


@pytest.fixture(
    params=[
        *POLLERS,
        pytest.param(UVLOOP, marks=pytest.mark.skipif(NO_UVLOOP, reason="no uvloop here")),
    ]
)
def poller(request: pytest.FixtureRequest) -> str:
    """The name of each poller that this system has, and uvloop."""
    name: str = request.param
    return name


# ---- data


def test_data_goes_both_ways(poller: str) -> None:
    """What is sent arrives, on either side, and `is_reading` says so."""

    async def main(rig: LoopRig) -> None:
        notes = Notes()
        peer = open_one(rig, notes)
        await peer.send(b"hello")
        await rig.until(lambda: notes.data == b"hello")
        notes.transport.write(bytearray(b"good"))
        notes.transport.writelines([b"", b"b", memoryview(b"ye"), b""])
        assert await peer.exactly(7) == b"goodbye"
        assert notes.transport.is_reading()
        assert notes.transport.get_write_buffer_size() == 0
        notes.transport.close()
        notes.transport.close()
        assert notes.transport.is_closing()
        await ended(rig, notes)
        assert notes.error is None
        assert await peer.rest() == b""

    on_loop(main, poller=poller)


@pytest.mark.parametrize("many", [False, True])
def test_back_pressure(poller: str, many: bool) -> None:
    """What the peer does not take is kept in order; the protocol hears it once, and the end."""

    async def main(rig: LoopRig) -> None:
        notes = Notes()
        peer = open_one(rig, notes, send_buffer=4096)
        transport = notes.transport
        if many:
            transport.writelines([BIG[i : i + 1000] for i in range(0, len(BIG), 1000)])
        else:
            transport.write(BIG)
        transport.write(b"more")
        transport.writelines([b"and", b"", b"more"])
        assert notes.events == ["made", "pause"]
        low, high = transport.get_write_buffer_limits()
        assert low < high < transport.get_write_buffer_size()
        assert await peer.exactly(len(BIG) + 11) == BIG + b"moreandmore"
        await rig.until(lambda: "resume" in notes.events)
        assert notes.events == ["made", "pause", "resume"]
        assert transport.get_write_buffer_size() == 0
        transport.abort()
        await ended(rig, notes)

    on_loop(main, poller=poller)


def test_close_sends_what_is_left(poller: str) -> None:
    """After `close` the rest still leaves, nothing more is taken, and then it is lost once."""

    async def main(rig: LoopRig) -> None:
        notes = Notes()
        peer = open_one(rig, notes, send_buffer=4096)
        notes.transport.write(BIG)
        notes.transport.close()
        notes.transport.write(b"too late")
        notes.transport.writelines([b"too late"])
        assert await peer.rest() == BIG
        await ended(rig, notes)
        assert notes.error is None

    on_loop(main, poller=poller)


@pytest.mark.parametrize("full", [False, True])
def test_write_eof(poller: str, full: bool) -> None:
    """Our side ends behind what was sent; the other one may still send."""

    async def main(rig: LoopRig) -> None:
        notes = Notes()
        peer = open_one(rig, notes, send_buffer=4096)
        data = BIG if full else b"short"
        notes.transport.write(data)
        assert notes.transport.can_write_eof()
        notes.transport.write_eof()
        notes.transport.write_eof()
        assert await peer.rest() == data
        await peer.send(b"still here")
        await rig.until(lambda: notes.data == b"still here")
        notes.transport.close()
        await ended(rig, notes)

    on_loop(main, poller=poller)


@pytest.mark.parametrize("stays", [False, True])
def test_half_close_of_the_peer(poller: str, stays: bool) -> None:
    """It is told once; the connection ends if the protocol wants that, and else can send."""

    async def main(rig: LoopRig) -> None:
        notes = Notes(stays=stays)
        peer = open_one(rig, notes)
        peer.half_close()
        await rig.until(lambda: "eof" in notes.events)
        await rig.turn()
        assert notes.events.count("eof") == 1
        assert not notes.transport.is_reading()
        notes.transport.resume_reading()
        assert not notes.transport.is_reading(), "there is nothing more to read"
        if stays:
            notes.transport.write(b"answer")
            assert await peer.exactly(6) == b"answer"
            notes.transport.close()
        await ended(rig, notes)

    on_loop(main, poller=poller)


@pytest.mark.parametrize("sending", [False, True])
def test_reset_by_the_peer(poller: str, sending: bool) -> None:
    """It ends the connection, with the error, whether something waits to be sent or not."""

    async def main(rig: LoopRig) -> None:
        notes = Notes()
        peer = open_one(rig, notes, send_buffer=4096)
        if sending:
            notes.transport.write(BIG)
        await rig.turn()
        peer.reset()
        await ended(rig, notes)
        assert isinstance(notes.error, ConnectionError)
        assert notes.transport.get_write_buffer_size() == 0

    on_loop(main, poller=poller)


def test_reset_while_half_closed_and_sending(poller: str) -> None:
    """A peer that has closed its side and then resets is noticed by what waits to be sent."""

    async def main(rig: LoopRig) -> None:
        notes = Notes()
        peer = open_one(rig, notes, send_buffer=4096)
        peer.half_close()
        await rig.until(lambda: "eof" in notes.events)
        notes.transport.write(BIG)
        peer.reset()
        await ended(rig, notes)

    on_loop(main, poller=poller)


def test_pause_reading(poller: str) -> None:
    """Nothing is read while paused, repeated or not; a reset meanwhile does not spin the loop."""

    async def main(rig: LoopRig) -> None:
        notes = Notes()
        peer = open_one(rig, notes)
        notes.transport.pause_reading()
        notes.transport.pause_reading()
        assert not notes.transport.is_reading()
        await peer.send(b"later")
        await rig.turn()
        assert not notes.data
        notes.transport.resume_reading()
        notes.transport.resume_reading()
        await rig.until(lambda: notes.data == b"later")
        notes.transport.pause_reading()
        peer.reset()
        await rig.turn()
        assert "lost" not in notes.events
        events = rig.sockets.poller.poll(0)
        assert not [fd for fd, _ in events if fd in rig.sockets.transports]
        notes.transport.write(b"x")
        await ended(rig, notes)

    on_loop(main, poller=poller)


# ---- the end


def test_abort_inside_a_callback(poller: str) -> None:
    """A protocol may end its connection from any of its methods."""

    async def main(rig: LoopRig) -> None:
        class Leaver(Notes):
            def data_received(self, data: bytes) -> None:
                self.transport.abort()
                self.transport.write(b"nobody")
                self.transport.close()
                self.transport.abort()

        notes = Leaver()
        peer = open_one(rig, notes)
        await peer.send(b"go")
        await ended(rig, notes)

    on_loop(main, poller=poller)


def test_abort_in_connection_made(poller: str) -> None:
    """A connection that is refused at once leaves nothing behind."""

    async def main(rig: LoopRig) -> None:
        class Refuser(Notes):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                self.transport.abort()

        notes = Refuser()
        open_one(rig, notes)
        await ended(rig, notes)

    on_loop(main, poller=poller)


def test_what_a_protocol_raises_costs_its_connection(
    poller: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The others, and the loop, go on."""

    async def main(rig: LoopRig) -> None:
        broken, well = Notes(), Notes()
        broken.raises = RuntimeError("a bug")
        peers = [open_one(rig, broken), open_one(rig, well)]
        for peer in peers:
            await peer.send(b"data")
        await ended(rig, broken)
        await rig.until(lambda: well.data == b"data")
        well.transport.close()
        await ended(rig, well)

    on_loop(main, poller=poller)
    assert "a bug" in caplog.text


def test_one_connection_ends_another_of_the_same_batch(poller: str) -> None:
    """Events that were taken together: the second one's socket is closed, and its number given to
    a new connection, before or after its event comes up. Nobody gets another's bytes."""

    async def main(rig: LoopRig) -> None:
        class Killer(Notes):
            victim: Notes

            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                self.victim.transport.abort()

        one, other = Killer(), Killer()
        one.victim, other.victim = other, one
        peers = [open_one(rig, one), open_one(rig, other)]
        for peer in peers:
            peer.sock.send(b"data")
        await rig.until(lambda: "lost" in one.events + other.events)
        survivor, victim = (one, other) if "lost" in other.events else (other, one)
        assert (bytes(survivor.data), bytes(victim.data)) == (b"data", b"")
        await ended(rig, victim)
        survivor.transport.abort()
        await ended(rig, survivor)
        fresh = [Notes() for _ in range(4)]
        ends = [open_one(rig, notes) for notes in fresh]
        for number, end in enumerate(ends):
            await end.send(b"%d" % number)
        await rig.until(lambda: all(notes.data for notes in fresh))
        assert [bytes(notes.data) for notes in fresh] == [b"0", b"1", b"2", b"3"]
        for notes in fresh:
            notes.transport.close()
            await ended(rig, notes)

    on_loop(main, poller=poller)


def test_the_number_of_a_lost_connection_is_used_again(poller: str) -> None:
    """Whatever a protocol does in `connection_lost`, the next connection with that descriptor
    number is not touched."""

    async def main(rig: LoopRig) -> None:
        class Stubborn(Notes):
            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                self.transport.abort()
                self.transport.pause_reading()
                self.transport.resume_reading()
                self.transport.write(b"x")

        numbers = set()
        for _ in range(3):
            notes = Stubborn()
            peer = open_one(rig, notes)
            numbers.add(notes.transport.get_extra_info("socket").fileno())
            await peer.send(b"data")
            while not notes.data:
                await turn()
            notes.transport.abort()
            notes.transport.abort()
            peer.sock.close()
            await ended(rig, notes)
        assert len(numbers) < 3, "the system has not used a number again"

    on_loop(main, poller=poller)


def test_a_descriptor_that_somebody_else_has_closed(poller: str) -> None:
    """An application that closes our descriptor: the connection is lost, the loop goes on."""

    async def main(rig: LoopRig) -> None:
        notes, well = Notes(), Notes()
        open_one(rig, notes)
        peer = open_one(rig, well)
        sock = notes.transport.get_extra_info("socket")
        number = sock.detach()
        if poller != "epoll":
            notes.transport.pause_reading()  # or select() itself would fail, as asyncio's does
        os.close(number)
        notes.transport.abort()
        await rig.until(lambda: "lost" in notes.events)
        await peer.send(b"data")
        await rig.until(lambda: well.data)
        well.transport.close()
        await ended(rig, well)

    on_loop(main, poller=poller)


def test_a_poller_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The maker gets the error, and still owns the socket; the protocol has heard nothing."""

    async def main(rig: LoopRig) -> None:
        def refuse(fd: int, mask: int) -> None:
            raise OSError("no more")

        notes = Notes()
        ours, _ = rig.pair()
        with monkeypatch.context() as patch:
            poller = rig.sockets.poller
            patch.setattr(type(poller), "register", lambda self, fd, mask: refuse(fd, mask))
            with pytest.raises(OSError, match="no more"):
                DirectTransport(rig.loop, rig.sockets, ours, notes)
        assert notes.events == []
        assert not rig.sockets.transports
        ours.close()

    on_loop(main)


def test_connections_left_open_are_closed_with_the_loop(poller: str) -> None:
    """A loop that ends in the middle leaves no descriptor behind (see the leak guard)."""
    left = []

    async def main(rig: LoopRig) -> None:
        ours, theirs = socket.socketpair()
        left.append(theirs)
        ours.setblocking(False)
        DirectTransport(rig.loop, rig.sockets, ours, Notes())
        rig.end = rig.turn  # type: ignore[method-assign]

    on_loop(main, poller=poller)
    with left[0] as theirs:
        theirs.settimeout(5)
        assert theirs.recv(1) == b""


def test_set_protocol(poller: str) -> None:
    """What comes goes to the new one."""

    async def main(rig: LoopRig) -> None:
        first, second = Notes(), Notes()
        peer = open_one(rig, first)
        transport = second.transport = first.transport
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        await peer.send(b"data")
        await rig.until(lambda: second.data == b"data")
        transport.close()
        await ended(rig, second)
        assert first.events == ["made"]

    on_loop(main, poller=poller)


# ---- sendfile's side


def test_writable_waits_for_what_was_written(poller: str) -> None:
    """It is done when everything before it has left and the system takes more."""

    async def main(rig: LoopRig) -> None:
        notes = Notes()
        peer = open_one(rig, notes, send_buffer=4096)
        transport = notes.transport
        transport.write(BIG)
        waiting = asyncio.ensure_future(transport.writable())
        await rig.turn()
        assert not waiting.done()
        assert await peer.exactly(len(BIG)) == BIG
        os.write(await waiting, b"!")
        assert await peer.exactly(1) == b"!"
        os.write(await transport.writable(), b"?")
        assert await peer.exactly(1) == b"?"
        transport.close()
        with pytest.raises(ConnectionError):
            await transport.writable()
        await ended(rig, notes)

    on_loop(main, poller=poller)


@pytest.mark.parametrize("how", ["abort", "close", "reset"])
def test_writable_never_gives_a_descriptor_of_the_past(poller: str, how: str) -> None:
    """Who waits for a connection that ends gets an error, not a number that others use by then."""

    async def main(rig: LoopRig) -> None:
        notes = Notes()
        peer = open_one(rig, notes, send_buffer=4096)
        if how == "reset":
            notes.transport.write(BIG)
        waiting = asyncio.ensure_future(notes.transport.writable())
        await turn()
        peer.reset() if how == "reset" else getattr(notes.transport, how)()
        with pytest.raises(ConnectionError):
            await waiting
        await ended(rig, notes)

    on_loop(main, poller=poller)


def test_writable_given_up(poller: str) -> None:
    """Somebody who does not wait any longer leaves no trace."""

    async def main(rig: LoopRig) -> None:
        notes = Notes()
        peer = open_one(rig, notes, send_buffer=4096)
        notes.transport.write(BIG)
        waiting = asyncio.ensure_future(notes.transport.writable())
        await turn()
        waiting.cancel()
        assert await peer.exactly(len(BIG)) == BIG
        await rig.turn()
        notes.transport.write(b"more")
        assert await peer.exactly(4) == b"more"
        notes.transport.close()
        await ended(rig, notes)

    on_loop(main, poller=poller)
