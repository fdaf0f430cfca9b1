"""asyncio's own business on a loop whose selector serves our connections, on every poller."""

import asyncio
import os
import signal
import socket
import sys

import pytest

from nogilserve.engine.loop.direct import DirectTransport
from nogilserve.engine.loop.selector import DirectSelector
from nogilserve.engine.poller import POLLERS
from tests.engine.loop.notes import BIG, Notes, ended, open_one
from tests.engine.loop.rig import LoopRig, on_loop


@pytest.fixture(params=POLLERS)
def poller(request: pytest.FixtureRequest) -> str:
    """The name of each poller that this system has."""
    name: str = request.param
    return name


def selector_of(rig: LoopRig) -> DirectSelector:
    """That of asyncio's loop."""
    assert isinstance(rig.sockets, DirectSelector)
    return rig.sockets


# ---- asyncio on the same loop


def test_streams(poller: str) -> None:
    """asyncio's own servers and clients work beside ours."""

    async def main(rig: LoopRig) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(len(BIG)))
            await writer.drain()
            writer.close()

        notes = Notes()
        peer = open_one(rig, notes)
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(BIG)
            await peer.send(b"meanwhile")
            assert await reader.read(-1) == BIG
            writer.close()
            await writer.wait_closed()
        await rig.until(lambda: notes.data == b"meanwhile")
        notes.transport.close()
        await ended(rig, notes)

    on_loop(main, poller=poller)


def test_subprocess_and_threads(poller: str) -> None:
    """Pipes of children, and work in threads."""

    async def main(rig: LoopRig) -> None:
        code = "import sys; sys.stdout.write(sys.stdin.read().upper())"
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            code,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await child.communicate(b"quiet")
        assert (out, child.returncode) == (b"QUIET", 0)
        assert await asyncio.to_thread(sum, [1, 2]) == 3
        await rig.loop.shutdown_default_executor()

    on_loop(main, poller=poller)


def test_signals(poller: str) -> None:
    """A signal wakes a loop that waits."""

    async def main(rig: LoopRig) -> None:
        got = asyncio.Event()
        rig.loop.add_signal_handler(signal.SIGUSR1, got.set)
        rig.loop.call_later(0.01, os.kill, os.getpid(), signal.SIGUSR1)
        await got.wait()
        assert rig.loop.remove_signal_handler(signal.SIGUSR1)

    on_loop(main, poller=poller)


@pytest.mark.parametrize("as_number", [False, True])
def test_add_reader_and_writer(poller: str, as_number: bool) -> None:
    """Files and their numbers: watched, watched for both, changed, forgotten, closed first."""

    async def main(rig: LoopRig) -> None:
        loop = rig.loop
        near, far = socket.socketpair()
        near.setblocking(False)
        what = near.fileno() if as_number else near
        heard: list[str] = []
        loop.add_reader(what, heard.append, "first")
        loop.add_reader(what, heard.append, "read")
        loop.add_writer(what, heard.append, "write")
        assert selector_of(rig).get_key(what).fd == near.fileno()
        await rig.until(lambda: "write" in heard)
        assert loop.remove_writer(what)
        assert not loop.remove_writer(what)
        heard.clear()
        far.send(b"x")
        await rig.until(lambda: heard)
        assert set(heard) == {"read"}
        assert loop.remove_reader(what)
        assert not loop.remove_reader(what)
        heard.clear()
        await rig.turn()
        assert not heard
        loop.add_reader(what, heard.append, "again")
        near.close()
        assert loop.remove_reader(what), "it can be forgotten after it was closed"
        assert near not in [key.fileobj for key in selector_of(rig).get_map().values()]
        far.close()

    on_loop(main, poller=poller)


def test_register_twice(poller: str) -> None:
    """As every selector: KeyError for what is known, or not known; ValueError for what is none."""

    async def main(rig: LoopRig) -> None:
        near, far = socket.socketpair()
        selector = selector_of(rig)
        with near, far:
            selector.register(near, 1)
            with pytest.raises(KeyError):
                selector.register(near, 1)
            assert near in selector.get_map()
            assert len(selector.get_map()) == len(list(selector.get_map()))
            selector.unregister(near)
            for call in (selector.unregister, selector.get_key):
                with pytest.raises(KeyError):
                    call(near)
            with pytest.raises(KeyError):
                selector.modify(near, 1)
            with pytest.raises(ValueError, match="Invalid"):
                selector.register(object(), 1)

    on_loop(main, poller=poller)


def test_a_forgotten_reader_does_not_harm_the_next_owner_of_its_number(poller: str) -> None:
    """An application that closes a file and only later stops watching its number, which by
    then belongs to a connection of ours."""

    async def main(rig: LoopRig) -> None:
        near, far = socket.socketpair()
        number = near.fileno()
        rig.loop.add_reader(number, lambda: None)
        if poller != "epoll":
            rig.sockets.poller.unregister(number)  # it would fail the call at once, as asyncio's
        near.close()
        far.close()
        ours, peer = rig.pair()
        with ours:
            again = socket.socket(fileno=os.dup2(ours.fileno(), number))
        again.setblocking(False)
        notes = Notes()
        DirectTransport(rig.loop, rig.sockets, again, notes)
        rig.loop.remove_reader(number)
        await peer.send(b"data")
        await rig.until(lambda: notes.data == b"data")
        notes.transport.close()
        await ended(rig, notes)

    on_loop(main, poller=poller)
