"""Cores that were left, and those who drive them beside their own. There is no monitor here."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from time import monotonic

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nogilserve.engine.core import Core
from nogilserve.engine.driverless import Driverless
from nogilserve.engine.poller import POLLERS
from nogilserve.engine.scheduler import TICK
from nogilserve.messages import Exchange
from tests.engine.cores import make_cores
from tests.engine.rig import Rig, get, reply
from tests.engine.threads import SECONDS, Running
from tests.support.waiting import wait_until


@pytest.fixture(params=list(POLLERS))
def poller(request: pytest.FixtureRequest) -> str:
    """The name of each poller."""
    name: str = request.param
    return name


@pytest.fixture
def rigs(poller: str) -> Iterator[list[Rig]]:
    """Three, of which the test holds the cores."""
    with ExitStack() as stack:
        made = [stack.enter_context(Rig(poller=poller)) for _ in range(3)]
        driverless = Driverless([rig.core for rig in made], poller)
        yield made
        driverless.close()
        for rig in made:
            rig.core.lock.acquire(blocking=False)  # a rig ends as it began
            rig.core.driverless = None


def nothing(_core: Core) -> bool:
    """A piece of work."""
    return True


def test_thread_drives_what_was_left_in_turn(rigs: list[Rig]) -> None:
    """Without anybody else's doing, until its own core has something to do again."""
    mine, *others = rigs
    done: list[int] = []

    def pass_on(core: Core) -> bool:
        number = [rig.core for rig in rigs].index(core)
        done.append(number)
        if len(done) < 10:
            rigs[3 - number].core.submit(pass_on)
        elif len(done) == 10:
            mine.core.submit(pass_on)
        return True

    for rig in others:
        rig.core.leave()
    others[0].core.submit(pass_on)
    mine.core.victim = others[0].core
    assert mine.core.leave_to_help()
    assert done == [1, 2] * 5
    assert [rig.core.driver for rig in rigs] == [0, 0, 0]
    assert [rig.core.counters.steals for rig in rigs] == [0, 1, 0]
    assert all(rig.core.lock.acquire(blocking=False) for rig in rigs)


def test_thread_leaves_them_for_whom_it_is_asked_to_help(rigs: list[Rig]) -> None:
    """Who asks for help in the meantime does not wait until they have nothing left to do."""
    mine, other, third = rigs
    done: list[Core] = []

    def go_on(core: Core) -> bool:
        done.append(core)
        if len(done) == 3:
            mine.core.ask_help(third.core)
        core.submit(go_on)
        return True

    other.core.leave()
    other.core.submit(go_on)
    mine.core.victim = other.core
    assert not mine.core.leave_to_help()
    assert mine.core.victim is third.core
    assert all(rig.core.lock.acquire(blocking=False) for rig in (mine, other))


def test_driver_that_waits_serves_a_core_that_was_left(rigs: list[Rig]) -> None:
    """What comes for a core without a driver wakes one who waits for his own, or is found by one
    who is busy with his own. There, pollers must be such that others can watch them."""
    mine, other, _ = rigs
    peer = other.connect()
    other.core.leave()
    if mine.core.beside is None:
        peer.send(get())
        mine.core.submit(nothing)
    with Running(lambda: mine.core.drive(home=True)) as driver:
        if mine.core.beside is not None:
            wait_until(lambda: mine.core.watching, SECONDS)
            peer.send(get())
        assert driver.result()
    assert mine.core.victim is other.core
    assert not mine.core.watching
    mine.core.leave_to_help()
    assert peer.bodies() == [b"hello"]
    assert not other.core.lock.locked()


def test_own_core_is_looked_at_before_others_are_helped(rigs: list[Rig]) -> None:
    """However much there is to do elsewhere, whoever comes back to his core serves it."""
    mine, other, _ = rigs
    peer = mine.connect().send(get())
    other.core.leave()
    other.core.submit(nothing)
    assert mine.core.drive(home=True)
    assert peer.bodies() == [b"hello"]
    assert mine.core.victim is other.core


def test_work_that_no_poller_knows_of_is_found(rigs: list[Rig]) -> None:
    """Events taken from the poller and not looked at yet, or what the driver put off itself."""
    mine, other, third = rigs
    other.core.put_next(nothing)
    other.core.leave()
    third.core.ready.append((-1, 0))
    third.core.leave()
    mine.core.lookout = True
    with Running(lambda: mine.core.drive(home=True)) as driver:
        mine.core.submit(nothing)
        assert driver.result()
    mine.core.leave_to_help()
    assert not other.core.has_work()
    assert not third.core.has_work()


def test_one_driver_looks_out_and_another_one_when_it_has_gone() -> None:
    """Not all that wait are woken for a core that was left; but one always waits for the next."""
    with Rig() as first, Rig() as second, Rig() as left, Rig() as another:
        rigs = [first, second, left, another]
        driverless = Driverless([rig.core for rig in rigs], "auto")
        with (
            Running(lambda: first.core.drive(home=True)) as one,
            Running(lambda: second.core.drive(home=True)) as two,
        ):
            wait_until(lambda: first.core.parked and second.core.parked, SECONDS)
            peer = left.connect()
            left.core.leave()
            wait_until(driverless.is_watched, SECONDS)
            watching = [rig for rig in (first, second) if rig.core.watching]
            assert len(watching) == 1
            peer.send(get())
            gone, stays = (one, second) if watching[0] is first else (two, first)
            assert gone.result()
            another.core.leave()
            wait_until(lambda: stays.core.watching, SECONDS)
            watching[0].core.leave_to_help()
            assert peer.bodies() == [b"hello"]
            stays.core.submit(lambda _: False)  # ends the drive
        driverless.close()
        for rig in rigs:
            rig.core.driverless = None
            rig.core.lock.acquire(blocking=False)


def test_slow_kind_without_a_spare_thread_leaves_the_core(rigs: list[Rig]) -> None:
    """Who goes into a call that will be long does not wait for the monitor to see it; and has the
    core again if nobody drives it afterwards."""
    mine, other, _ = rigs
    answers: list[list[bytes]] = []
    mine.core.slow.scores["GET", "slow"] = 16

    def slow(_exchange: Exchange) -> None:
        assert not mine.core.driver
        quick.send(get())
        assert other.core.lookout
        assert other.core.driverless is not None
        assert other.core.driverless.pick() is mine.core
        assert mine.core.take_turn()
        answers.append(quick.bodies())
        began = monotonic()
        wait_until(lambda: monotonic() > began + 2 * TICK, SECONDS)
        reply(_exchange)

    mine.routes["/slow"] = slow
    quick, peer = mine.connect(), mine.connect()
    peer.send(get("/slow"))
    assert mine.drive()
    assert answers == [[b"hello"]]
    assert peer.bodies() == [b"hello"]
    assert mine.core.driver == threading.get_native_id()
    assert mine.core.driverless is not None
    assert mine.core.driverless.pick() is None
    assert not other.core.lookout
    assert mine.core.slow.scores == {("GET", "slow"): 16}


def test_each_core_is_driven_by_one_thread(poller: str) -> None:
    """Several threads pick, drive and leave the same cores: each core has one driver at a time, and
    none that was left is forgotten."""
    cores = make_cores(3, poller)
    driverless = Driverless(cores, poller)
    inside = [0, 0, 0]
    rounds = 300
    began = threading.Barrier(4)

    def work() -> None:
        began.wait(SECONDS)
        for turn in range(rounds):
            core = driverless.pick() or cores[turn % 3]
            if core.lock.acquire(blocking=False):
                core.take_back(threading.get_native_id())
                inside[core.index] += 1
                assert inside[core.index] == 1
                inside[core.index] -= 1
                core.leave()

    for core in cores:
        core.submit(nothing)  # each has something to do all the time
        core.lock.acquire()
        core.leave()
    threads = [Running(work) for _ in range(4)]
    for thread in threads:
        thread.result()
    assert {driverless.pick() for _ in cores} == set(cores)
    assert driverless.pick() is None
    assert not any(core.lookout for core in cores)
    driverless.close()
    for core in cores:
        core.close()


class DriverlessMachine(RuleBasedStateMachine):
    """Against a list of the cores that were left."""

    def __init__(self) -> None:
        super().__init__()
        self.cores = make_cores(3)
        self.driverless = Driverless(self.cores, "auto")
        self.held = [False] * 3
        self.known: set[int] = set()
        """Those that were left and neither picked nor taken back."""
        self.work = [False] * 3

    numbers = st.integers(0, 2)

    @rule(number=numbers)
    def drive(self, number: int) -> None:
        """A thread takes the core."""
        core = self.cores[number]
        if core.lock.acquire(blocking=False):
            self.held[number] = True
            core.take_back(number + 1)
            self.known.discard(number)

    @rule(number=numbers)
    def leave(self, number: int) -> None:
        """It goes."""
        if self.held[number]:
            self.held[number] = False
            self.cores[number].leave()
            self.known.add(number)

    @rule(number=numbers)
    def add_late(self, number: int) -> None:
        """Somebody has left the core, and another thread drives it before the first one adds it."""
        if self.held[number]:
            self.driverless.add(self.cores[number])
            self.known.add(number)

    @rule(number=numbers)
    def submit(self, number: int) -> None:
        """There is something to do for a core."""
        self.cores[number].submit(nothing)
        self.work[number] = True

    @precondition(lambda self: self.known)
    @rule()
    def pick(self) -> None:
        """One that has something to do and nobody who does it. Those found to be driven are
        forgotten."""
        busy = {n for n in self.known if self.work[n] and self.held[n]}
        free = {n for n in self.known if self.work[n]} - busy
        core = self.driverless.pick()
        gone = {n for n in self.known if self.cores[n] not in self.driverless._left}
        assert (core is None) == (not free)
        if core is not None:
            assert core.index in free & gone
            gone.remove(core.index)
            self.known.remove(core.index)
        assert gone <= busy
        self.known -= gone

    @invariant()
    def told(self) -> None:
        """Every driver knows whether there is something to look for."""
        assert {core.lookout for core in self.cores} == {bool(self.known)}

    def teardown(self) -> None:
        """Close what is open."""
        self.driverless.close()
        for core in self.cores:
            core.close()


TestDriverless = DriverlessMachine.TestCase
TestDriverless.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
