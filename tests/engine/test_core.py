"""Driving a core: its inbox, its turns, who wakes whom."""

import threading
from functools import partial
from time import monotonic

import pytest

from nogilserve.engine import giveway
from nogilserve.engine.core import Core
from nogilserve.engine.poller import POLLERS
from nogilserve.engine.wheel import NEVER
from nogilserve.messages import Exchange
from tests.engine.rig import Rig, get, reply
from tests.engine.threads import SECONDS, Running
from tests.support.waiting import wait_until


@pytest.fixture(params=list(POLLERS))
def poller(request: pytest.FixtureRequest) -> str:
    """The name of each poller."""
    name: str = request.param
    return name


def test_submitted_work_is_done_in_order(poller: str) -> None:
    """What other threads put into the inbox is called by the driver, first in first out."""
    done: list[int] = []

    def job(number: int, core: Core) -> bool:
        done.append(number)
        return True

    with Rig(poller=poller) as rig:
        for number in range(3):
            rig.core.submit(partial(job, number))
        assert rig.core.has_work()
        assert rig.drive()
        assert done == [0, 1, 2]
        assert not rig.core.has_work()


def test_job_that_loses_the_core_ends_the_drive() -> None:
    """After a job that answers False the driver touches nothing more."""
    done: list[str] = []

    def lost(core: Core) -> bool:
        done.append("lost")
        return False

    def later(core: Core) -> bool:
        done.append("later")
        return True

    with Rig() as rig:
        rig.core.submit(lost)
        rig.core.submit(later)
        assert not rig.drive()
        assert done == ["lost"]
        assert rig.drive()
        assert done == ["lost", "later"]


def test_wake_up_that_was_taken_with_another_one(poller: str) -> None:
    """Work submitted while a batch is handled, its wake-up read together with an earlier one, is
    done all the same before the driver waits."""

    def submit(exchange: Exchange) -> None:
        rig.core.submit(lambda core: False)  # ends the drive
        reply(exchange)

    def first(core: Core) -> bool:
        return True

    with Rig({"/submit": submit}, poller=poller) as rig:
        # One batch: the request, and behind it the wake-up of what has been done already.
        peer = rig.connect().send(get("/submit"))
        rig.core.submit(first)
        with Running(lambda: rig.core.drive(home=True)) as driver:
            try:
                assert not driver.result(3)
            except TimeoutError:
                rig.core.submit(lambda core: False)
                raise
        assert peer.bodies() == [b"hello"]


def test_submit_wakes_a_waiting_driver(poller: str) -> None:
    """A driver that waits in the poller does at once what another thread submits."""
    done = threading.Event()

    def job(core: Core) -> bool:
        done.set()
        core.stopping = True
        return True

    with Rig(poller=poller) as rig:
        with Running(lambda: rig.core.drive(home=True)) as driver:
            wait_until(lambda: rig.core.parked, SECONDS)
            rig.core.submit(job)
            assert done.wait(SECONDS)
            assert driver.result()
        assert not rig.core.parked
        assert rig.core.finished()


def test_core_gives_way_before_it_waits(poller: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What becomes ready while others have the processor is taken in one batch."""
    ways: list[bool] = []
    with Rig(poller=poller) as rig:
        peers = [rig.connect(), rig.connect()]

        def give_way() -> None:
            ways.append(rig.core.parked)
            if len(ways) == 1:
                for peer in peers:
                    peer.send(get())
            else:
                rig.core.submit(lambda core: False)  # ends the drive

        monkeypatch.setattr(giveway, "give_way", give_way)
        turns = rig.core.turns
        assert not rig.core.drive(home=True)
        assert ways == [True, True]
        assert rig.core.turns == turns + 2  # the requests, the wake-up
        assert [peer.bodies() for peer in peers] == [[b"hello"], [b"hello"]]


def test_core_does_not_give_way_to_those_who_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where others kept the processor for long, the next waits are without it for some time."""
    ways: list[int] = []
    late = 0.0

    def give_way() -> None:
        nonlocal late
        ways.append(1)
        late += 60.0

    with Rig() as rig:
        core = rig.core
        done = threading.Event()

        def job(core: Core) -> bool:
            done.set()
            return True

        def wait_once() -> None:
            wait_until(lambda: core.parked, SECONDS)
            core.submit(job)
            assert done.wait(SECONDS)
            done.clear()

        monkeypatch.setattr(giveway, "monotonic", lambda: monotonic() + late)
        monkeypatch.setattr(giveway, "give_way", give_way)
        with Running(lambda: core.drive(home=True)):
            for _ in range(3):
                wait_once()
            assert len(ways) == 1
            late += 7000.0
            wait_once()
            wait_until(lambda: len(ways) == 2, SECONDS)
            core.submit(lambda core: False)  # ends the drive


def test_full_wake_up_socket_does_not_block() -> None:
    """However much is submitted before the driver looks, nobody is held up and all is done."""
    done: list[int] = []

    def job(core: Core) -> bool:
        done.append(1)
        return True

    with Rig() as rig:

        def submit() -> None:
            for _ in range(5000):
                rig.core.submit(job)

        Running(submit).result()
        assert rig.drive()
        assert len(done) == 5000
        assert not rig.core.has_work()


def test_request_to_help_ends_the_turn() -> None:
    """An idle driver that is asked for help leaves its core with the wish in `victim`."""
    with Rig() as rig, Rig() as other:
        with Running(lambda: rig.core.drive(home=False)) as driver:
            wait_until(lambda: rig.core.parked, SECONDS)
            rig.core.ask_help(other.core)
            assert driver.result()
        assert rig.core.victim is other.core
        rig.core.victim = None


def test_home_thread_gets_its_core_back(poller: str) -> None:
    """A spare that waits in the poller leaves when the home thread wants the core."""
    with Rig(poller=poller) as rig:

        def spare() -> bool:
            left = rig.core.drive(home=False)
            rig.core.lock.release()
            return left

        with Running(spare) as driver:
            wait_until(lambda: rig.core.parked, SECONDS)
            with Running(rig.core.await_turn) as home:
                assert driver.result()
                home.result()
        assert rig.core.lock.locked()
        assert not rig.core.wanted


def test_turn_can_be_awaited_when_the_core_is_free() -> None:
    """Nobody holds it: the home thread goes on at once."""
    with Rig() as rig:
        rig.core.lock.release()
        rig.core.await_turn()
        assert rig.core.lock.locked()


def test_helping_ends_when_the_time_is_over() -> None:
    """A helper goes home at its time even if there is work left."""
    runs: list[int] = []

    def again(core: Core) -> bool:
        runs.append(1)
        assert len(runs) < 100_000
        core.submit(again)
        return True

    with Rig() as rig:
        peer = rig.connect().send(get())
        assert rig.core.drive(home=False, until=0.0)
        assert peer.taken() == b""
        assert rig.drive()
        assert peer.bodies() == [b"hello"]


def test_offers_the_core_around_a_call() -> None:
    """While the application runs the lock is free; after a short call the driver has it again."""
    free: list[bool] = []

    def look(exchange: Exchange) -> None:
        free.append(not rig.core.lock.locked())
        reply(exchange)

    with Rig({"/": look}) as rig:
        peer = rig.connect().send(get())
        assert rig.drive()
        assert free == [True]
        assert rig.core.lock.locked()
        assert peer.bodies() == [b"hello"]


def test_rings_the_monitor_only_when_it_sleeps() -> None:
    """The first call after the monitor fell asleep rings, later ones do not."""
    with Rig() as rig:
        peer = rig.connect()
        rig.core.unwatched = True
        for expected in (1, 1):
            peer.send(get())
            assert rig.drive()
            assert rig.rung == expected
        assert not rig.core.unwatched


def test_internal_error_in_submitted_work(poller: str) -> None:
    """The core goes on with what else there is to do."""
    done: list[int] = []

    def broken(core: Core) -> bool:
        raise RuntimeError("an internal error")

    def job(core: Core) -> bool:
        done.append(1)
        return True

    with Rig(poller=poller) as rig:
        rig.core.submit(broken)
        rig.core.submit(job)
        assert rig.drive()
        assert done == [1]


@pytest.mark.parametrize("lost", [False, True])
def test_internal_error_of_a_connection(lost: bool, caplog: pytest.LogCaptureFixture) -> None:
    """It costs that connection, and is logged; all is freed, the others go on."""

    def long(exchange: Exchange) -> None:
        if lost:
            rig.steal()
        rig.breaking = True
        reply(exchange)

    with Rig({"/long": long}, record=True) as rig:
        peer, other = rig.connect().send(get("/long")), rig.connect()
        assert rig.drive() is not lost
        assert rig.drive()
        assert peer.bodies() == [b"hello"]
        assert peer.closed
        assert rig.core.connections == 1
        assert rig.shares.counts() == (1,)
        assert "internal error" in caplog.text
        rig.breaking = False
        other.send(get())
        assert rig.drive()
        assert other.bodies() == [b"hello"]


def test_date_is_there_from_the_start() -> None:
    """The first response has a Date already, and Server as configured."""
    with Rig() as rig:
        peer = rig.connect().send(get())
        assert rig.drive()
        answer = peer.answer()
        assert answer.headers["date"].endswith(" GMT")
        assert answer.headers["server"] == "nogilserve"


def test_idle_core_has_nothing_to_wake_up_for() -> None:
    """Without connections the poller waits for ever: an idle server costs nothing."""
    with Rig() as rig:
        assert rig.drive()
        assert rig.core.wheel.next == NEVER
