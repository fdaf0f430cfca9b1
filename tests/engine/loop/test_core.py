"""What the connections of a loop share: adoption, deadlines, stopping, signs of life."""

import asyncio
import os
import socket
from typing import Any

import pytest

from nogilserve.engine.loop.core import Accepted, Client, LoopCore
from nogilserve.engine.wheel import NEVER
from nogilserve.messages import AsyncExchange
from tests.engine.loop.rig import LoopRig, get, on_loop, reply, turn


def test_a_connection_that_fails_does_not_cost_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Of a batch with a descriptor that is no socket, and one whose client cannot be made, the last
    is served."""

    async def main(rig: LoopRig) -> None:
        make = rig.core._make_client

        def fail(core: LoopCore, accepted: Accepted) -> Any:
            if accepted.server[0] == "cannot be made":
                raise RuntimeError("a bug")
            return make(core, accepted)

        near, far = os.pipe()
        batch = [Accepted(near, socket.AF_INET, ("192.0.2.1", "1"), ("pipe", "80"))]
        pairs = [rig.pair() for _ in range(2)]
        for (ours, _), name in zip(pairs, ("cannot be made", "well"), strict=True):
            batch.append(Accepted(ours.detach(), ours.family, ("192.0.2.1", "1"), (name, "80")))
        for _ in batch:
            rig.shares.assign(0)
        rig.core._make_client = fail
        rig.core.adopt_soon(batch)
        peer = pairs[-1][1]
        await peer.send(get("/x"))
        assert b"200 OK" in await peer.until(b"/x")
        assert rig.shares.counts() == (1,)
        os.close(far)
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(near)

    on_loop(main)
    assert "a bug" in caplog.text


class Timed:
    """A client that only has a deadline. Owner: the loop."""

    def __init__(self) -> None:
        self.deadline = NEVER
        self.due = NEVER
        self.fired = asyncio.Event()
        self.raises = False
        self.was_cut = False

    def on_deadline(self) -> None:
        """Remembered."""
        self.fired.set()
        if self.raises:
            raise RuntimeError("a bug")

    def stop(self) -> None:
        """Nothing to do."""

    def cut(self) -> None:
        """Remembered."""
        self.was_cut = True

    def now_running(self) -> str:
        """Nothing."""
        return ""


def test_deadlines(caplog: pytest.LogCaptureFixture) -> None:
    """An earlier one is not missed for a later one before it; one that fails costs its client."""

    async def main(rig: LoopRig) -> None:
        late, soon, moved, broken = (Timed() for _ in range(4))
        broken.raises = True
        rig.core.set_deadline(late, 60)
        rig.core.set_deadline(moved, 0.01)
        rig.core.set_deadline(broken, 0.01)
        rig.core.set_deadline(soon, 0.01)
        rig.core.set_deadline(moved, 60)
        await soon.fired.wait()
        await rig.until(broken.fired.is_set)
        assert broken.was_cut
        assert not late.fired.is_set()
        assert not moved.fired.is_set()
        rig.core.set_deadline(moved, 0)
        await moved.fired.wait()

    on_loop(main)
    assert "a bug" in caplog.text


def test_an_application_that_cannot_be_cancelled_is_given_up() -> None:
    """The core is idle some time after it was cut off, so that the shutdown can run."""

    async def stubborn(exchange: AsyncExchange) -> None:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                cancelled.append(1)

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        await peer.send(get("/"))
        await rig.until(lambda: rig.core.tasks)
        rig.core.stop(patient=False)
        rig.core.cut_off()
        await rig.until(lambda: cancelled)
        assert not rig.core.idle.is_set()
        await rig.core.idle.wait()
        assert rig.core.tasks
        over.set()

    over = asyncio.Event()
    cancelled: list[int] = []
    on_loop(main, {"/": stubborn})


def test_a_core_that_has_ended_gives_no_signs_of_life_and_is_not_late() -> None:
    """It would be reported as blocked while others still drain."""

    async def main(rig: LoopRig) -> None:
        peer = await rig.connect()
        await peer.send(get("/", "Connection: close"))
        await peer.rest()
        await rig.until(lambda: rig.core.beating)
        peer.sock.close()
        rig.core.stop(patient=False)
        await rig.core.idle.wait()
        await rig.until(lambda: not rig.core.beating)
        assert not rig.core.is_late(0)

    on_loop(main)


def test_signs_of_life_begin_and_end() -> None:
    """They begin with a request, which rings, and end when nothing is in progress."""
    rung = []

    async def main(rig: LoopRig) -> None:
        rig.core.on_beating = lambda: rung.append(1)
        peer = await rig.connect()
        await rig.until(lambda: not rig.core.beating)
        for _ in range(2):
            await peer.send(get("/"))
            await peer.until(b"\r\n\r\n/")
        await rig.until(lambda: rig.core.beating)
        assert rung == [1]
        await rig.until(lambda: not rig.core.beating)
        await peer.send(get("/"))
        await rig.until(lambda: rig.core.beating)
        assert rung == [1, 1]

    on_loop(main, {"/": reply})


def test_clients_can_be_counted_from_other_threads() -> None:
    """Copies of `clients` are taken while connections come and go."""

    async def main(rig: LoopRig) -> None:
        stop = False

        def look() -> int:
            looks = 0
            while not stop:
                for client in list(rig.core.clients):
                    assert isinstance(client.now_running(), str)
                looks += 1
            return looks

        looking = rig.loop.run_in_executor(None, look)
        fakes: list[Client] = [Timed() for _ in range(200)]
        for _ in range(50):
            for fake in fakes:
                rig.core.clients.add(fake)
            for fake in fakes:
                rig.core.clients.discard(fake)
            await turn()
        stop = True
        assert await looking
        await rig.loop.shutdown_default_executor()

    on_loop(main)
