"""Who drives which core: spare threads, the monitor's looks, its sleep, the shares, slow kinds."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nogilserve.engine.scheduler import Driven, Monitor, Shares, Slow, Spares, Task
from tests.engine.threads import SECONDS, Running
from tests.support.waiting import Deadline, wait_until

# ---- a core as the scheduler sees it


class FakeCore:
    """A `Driven`: what the monitor reads is plain data, what it asks for is remembered.

    `on_unwatched` runs inside the assignment `unwatched = True`, that is between two steps of
    the monitor; `on_looked` inside the monitor's reading of `calls` after that assignment.
    """

    def __init__(self, **state: object) -> None:
        self.lock = threading.Lock()
        if state.pop("held", True):
            self.lock.acquire()
        self.turns = 0
        self.parked = False
        self.work = False
        self.behind = 0
        self.asked: list[Driven] = []
        self.on_unwatched: Callable[[], None] | None = None
        self.on_looked: Callable[[], None] | None = None
        self._calls = 0
        self._unwatched = False
        for name, value in state.items():
            assert hasattr(self, name)
            setattr(self, name, value)

    @property
    def calls(self) -> int:
        """Application calls begun."""
        value = self._calls
        if self._unwatched and self.on_looked is not None:
            hook, self.on_looked = self.on_looked, None
            hook()
        return value

    @calls.setter
    def calls(self, value: int) -> None:
        self._calls = value

    @property
    def unwatched(self) -> bool:
        """Whether the monitor wants to be rung."""
        return self._unwatched

    @unwatched.setter
    def unwatched(self, value: bool) -> None:
        self._unwatched = value
        if value and self.on_unwatched is not None:
            hook, self.on_unwatched = self.on_unwatched, None
            hook()

    def has_work(self) -> bool:
        """Whether an event waits."""
        return self.work

    def backlog(self) -> int:
        """Events taken and not looked at."""
        return self.behind

    def ask_help(self, victim: Driven) -> None:
        """Remembered."""
        self.asked.append(victim)

    def drive_as_spare(self) -> None:
        """What spare threads are given: compared, never called."""

    def begin_call(self, ring: Callable[[], None]) -> None:
        """What a driver does before it calls the application, in this order."""
        self._calls += 1
        self.lock.release()
        if self._unwatched:
            self._unwatched = False
            ring()


def nothing() -> None:
    """A task."""


class JankyLock:
    """A lock that runs `between` right after its first release by a `with` statement.

    That is where a thread that parks has put itself on the stack and does not wait yet.
    """

    def __init__(self, between: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._between: Callable[[], None] | None = between

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        hook, self._between = self._between, None
        if hook is not None:
            hook()


# ---- spares


def park_all(spares: Spares, count: int) -> list[Running[Task | None]]:
    """That many threads, parked one after the other."""
    threads = []
    for number in range(1, count + 1):
        threads.append(Running(spares.park))
        wait_until(lambda number=number: spares.parked() == number, SECONDS)  # type: ignore[misc]
    return threads


def test_offer_without_a_parked_thread_is_refused() -> None:
    """Nobody there: the caller has to look elsewhere."""
    assert not Spares().offer(nothing)


def test_offer_reaches_the_last_one_parked() -> None:
    """The thread that parked last has the warmest caches, so it goes first."""
    spares = Spares()
    threads = park_all(spares, 3)
    tasks: list[Task] = [FakeCore().drive_as_spare for _ in threads]
    for task in tasks:
        assert spares.offer(task)
    assert not spares.offer(nothing)
    assert [thread.result() for thread in threads] == tasks[::-1]


def test_offer_between_stacking_and_waiting() -> None:
    """A task offered before the parking thread waits is not lost: it does not wait at all."""
    spares = Spares()
    offered: list[bool] = []
    spares._lock = JankyLock(lambda: offered.append(spares.offer(nothing)))  # type: ignore[assignment]
    assert Running(spares.park).result() is nothing
    assert offered == [True]


def test_stop_between_stacking_and_waiting() -> None:
    """A stop in the same place lets the thread go."""
    spares = Spares()
    spares._lock = JankyLock(spares.stop)  # type: ignore[assignment]
    assert Running(spares.park).result() is None


def test_offer_before_stop_still_counts() -> None:
    """A thread that got a task and is stopped before it wakes up has the task."""
    spares = Spares()

    def both() -> None:
        assert spares.offer(nothing)
        spares.stop()

    spares._lock = JankyLock(both)  # type: ignore[assignment]
    assert Running(spares.park).result() is nothing


def test_stop_lets_everybody_go() -> None:
    """Parked threads return None, later ones do not wait, offers are refused."""
    spares = Spares()
    threads = park_all(spares, 3)
    spares.stop()
    assert [thread.result() for thread in threads] == [None] * 3
    assert Running(spares.park).result() is None
    assert not spares.offer(nothing)
    assert spares.parked() == 0


def test_every_offer_is_taken_once() -> None:
    """Offers and parking threads racing: each task accepted arrives exactly once."""
    spares, rounds, offerers = Spares(), 100, 3
    taken: list[list[Task]] = [[], []]
    accepted: list[list[Task]] = [[] for _ in range(offerers)]
    start = threading.Barrier(offerers + len(taken))

    def take(into: list[Task]) -> None:
        start.wait(SECONDS)
        while (task := spares.park()) is not None:
            into.append(task)

    def offer(into: list[Task]) -> None:
        start.wait(SECONDS)
        deadline = Deadline(SECONDS)
        while len(into) < rounds:
            deadline.require("offers are not taken")
            task = FakeCore().drive_as_spare
            if spares.offer(task):
                into.append(task)

    takers = [Running(lambda into=into: take(into)) for into in taken]  # type: ignore[misc]
    givers = [Running(lambda into=into: offer(into)) for into in accepted]  # type: ignore[misc]
    for giver in givers:
        giver.result()
    wait_until(lambda: sum(map(len, taken)) == rounds * offerers, SECONDS)
    spares.stop()
    for taker in takers:
        taker.result()
    got = [task for tasks in taken for task in tasks]
    assert len(set(got)) == len(got)
    assert set(got) == {task for tasks in accepted for task in tasks}


# ---- one look

SITUATIONS: dict[str, tuple[dict[str, Any], int, bool, tuple[bool, bool, bool]]] = {
    # name: (core before the second look, spares parked, other core parked, expected)
    # expected: active, the core went to a spare, the other core was asked
    "driven, nothing to do": ({}, 1, True, (False, False, False)),
    "driven, work in the poller": ({"work": True}, 1, True, (False, False, False)),
    "call without work": ({"held": False}, 1, True, (True, False, False)),
    "call with work": ({"held": False, "work": True}, 1, True, (True, True, False)),
    "call with work, no spare": ({"held": False, "work": True}, 0, True, (True, False, True)),
    # Busy drivers look at such wishes after each batch: late help is better than none.
    "call with work, others busy": ({"held": False, "work": True}, 0, False, (True, False, True)),
    "new call with work": (
        {"held": False, "work": True, "calls": 1, "turns": 1},
        1,
        True,
        (True, False, False),
    ),
    "calls since, driven now": ({"calls": 5, "turns": 5}, 1, True, (True, False, False)),
    "busy, same batch, backlog": ({"calls": 5, "behind": 3}, 1, True, (True, False, True)),
    "busy, next batch, backlog": (
        {"calls": 5, "turns": 1, "behind": 3},
        1,
        True,
        (True, False, False),
    ),
    "busy with a backlog, others busy": (
        {"calls": 5, "behind": 3},
        1,
        False,
        (True, False, False),
    ),
    "parsing for long, backlog": ({"behind": 3}, 1, True, (False, False, True)),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_look(name: str) -> None:
    """What the monitor does about a core, given what it saw a tick before."""
    state, parked, other_parked, expected = SITUATIONS[name]
    core, other = FakeCore(), FakeCore(parked=other_parked)
    spares = Spares()
    threads = park_all(spares, parked)
    monitor = Monitor([core, other], spares)
    monitor.look()
    assert not monitor.look()
    if not state.get("held", True):
        core.lock.release()
    for attribute, value in state.items():
        if attribute != "held":
            setattr(core, attribute, value)
    active = monitor.look()
    spared = spares.parked() < parked
    assert (active, spared, other.asked == [core]) == expected
    assert core.asked == []
    spares.stop()
    assert [thread.result() for thread in threads] == (
        [core.drive_as_spare] if spared else [None]
    ) * parked


def test_first_look_is_not_a_long_call() -> None:
    """A call that the monitor sees for the first time has had no tick yet."""
    core = FakeCore(held=False, work=True)
    spares = Spares()
    threads = park_all(spares, 1)
    assert Monitor([core], spares).look()
    assert spares.parked() == 1
    spares.stop()
    assert threads[0].result() is None


def test_help_does_not_come_from_the_core_itself() -> None:
    """With one core there is nobody to ask, whatever its own hint says."""
    core = FakeCore(held=False, work=True, parked=True)
    monitor = Monitor([core], Spares())
    monitor.look()
    assert monitor.look()
    assert core.asked == []


def test_parked_driver_is_asked_before_a_busy_one() -> None:
    """Who has nothing to do helps first."""
    busy, core, idle = FakeCore(), FakeCore(held=False, work=True), FakeCore(parked=True)
    monitor = Monitor([busy, core, idle], Spares())
    monitor.look()
    monitor.look()
    assert (busy.asked, idle.asked) == ([], [core])


def test_core_without_a_driver_is_not_asked() -> None:
    """Nobody would hear it."""
    core, free = (FakeCore(held=False, work=True) for _ in range(2))
    driven = FakeCore()
    monitor = Monitor([core, free, driven], Spares())
    monitor.look()
    monitor.look()
    assert core.asked == free.asked == []
    assert driven.asked


def test_two_blocked_cores_get_one_spare_each() -> None:
    """One look may help several cores."""
    cores = [FakeCore(held=False, work=True) for _ in range(2)]
    spares = Spares()
    threads = park_all(spares, 2)
    monitor = Monitor(cores, spares)
    monitor.look()
    monitor.look()
    assert {thread.result() for thread in threads} == {core.drive_as_spare for core in cores}


# ---- sleep and bell


def test_call_begun_while_the_monitor_decides_to_sleep() -> None:
    """A call begun after `unwatched` was set rings, and the bell is not cleared after that."""
    core = FakeCore()
    monitor = Monitor([core], Spares(), tick=0.0001)
    core.on_unwatched = lambda: core.begin_call(monitor.ring)
    with Running(monitor.run):
        # It keeps looking for as long as the call lasts: far more often than it takes to doze off.
        wait_until(lambda: monitor.ticks > 200, SECONDS)
        monitor.stop()


def test_call_begun_after_the_last_check() -> None:
    """A call begun after the monitor looked its last rings the bell it is about to wait for."""
    core = FakeCore()
    monitor = Monitor([core], Spares(), tick=0.0001)
    core.on_looked = lambda: core.begin_call(monitor.ring)
    with Running(monitor.run):
        wait_until(lambda: monitor.ticks > 200, SECONDS)
        monitor.stop()


def test_short_call_begun_and_ended_while_it_decides() -> None:
    """A whole call between `unwatched` and the check keeps the monitor awake or wakes it."""
    core = FakeCore()
    monitor = Monitor([core], Spares(), tick=0.0001)
    woken = threading.Event()

    def call() -> None:
        core.begin_call(monitor.ring)
        woken.set()
        core.lock.acquire()

    core.on_unwatched = call
    with Running(monitor.run):
        assert woken.wait(SECONDS)
        # Asleep again afterwards, it hears the next one as well.
        wait_until(lambda: core.unwatched, SECONDS)
        before = monitor.ticks
        core.begin_call(monitor.ring)
        wait_until(lambda: monitor.ticks > before + 200, SECONDS)
        monitor.stop()


def test_idle_monitor_does_not_tick() -> None:
    """Without a call the monitor stops looking; a ring starts it again, and it stops again."""
    core = FakeCore()
    monitor = Monitor([core], Spares(), tick=0.0001)
    with Running(monitor.run) as running:
        for _ in range(3):
            wait_until(lambda: core.unwatched, SECONDS)
            before = monitor.ticks
            core.begin_call(monitor.ring)
            wait_until(lambda before=before: monitor.ticks > before, SECONDS)  # type: ignore[misc]
            core.lock.acquire()
        wait_until(lambda: core.unwatched, SECONDS)
        assert running.alive()
        monitor.stop()


@pytest.mark.parametrize("moment", ["before", "deciding", "checking"])
def test_stop_is_heard(moment: str) -> None:
    """A stop ends the monitor wherever it is, also while it decides to sleep."""
    core = FakeCore()
    monitor = Monitor([core], Spares(), tick=0.0001)
    if moment == "before":
        monitor.stop()
    elif moment == "deciding":
        core.on_unwatched = monitor.stop
    else:
        core.on_looked = monitor.stop
    Running(monitor.run).result()


# ---- shares


@given(st.integers(1, 5), st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=60))
def test_shares_model(cores: int, script: list[tuple[bool, int]]) -> None:
    """A new connection always goes to a core with the fewest, here if here is one of them."""
    shares = Shares(cores)
    model = [0] * cores
    for opening, number in script:
        here = number % cores
        if opening:
            target = shares.assign(here)
            assert model[target] == min(model)
            assert target == here or model[here] > min(model)
            model[target] += 1
        elif model[here]:
            shares.release(here)
            model[here] -= 1
        assert shares.counts() == tuple(model)


def test_shares_stay_balanced_between_threads() -> None:
    """All threads assign from their own core at once: counts differ by one at most."""
    shares, each = Shares(3), 500
    start = threading.Barrier(3)

    def assign(here: int) -> list[int]:
        start.wait(SECONDS)
        return [shares.assign(here) for _ in range(each)]

    running = [Running(lambda here=here: assign(here)) for here in range(3)]  # type: ignore[misc]
    targets = [target for thread in running for target in thread.result()]
    assert shares.counts() == (each, each, each)
    for target in targets:
        shares.release(target)
    assert shares.counts() == (0, 0, 0)


# ---- slow kinds


def test_slow_learns_and_forgets() -> None:
    """One long call proves nothing, the second one does; some short ones in a row undo it."""
    slow, kind = Slow(), ("GET", "report")
    assert not slow.scores
    slow.was_long(kind)
    assert not slow.is_slow(kind)
    slow.was_long(kind)
    assert slow.is_slow(kind)
    assert not slow.is_slow(("GET", "other"))
    shorts = 0
    while slow.scores:
        slow.was_short(kind)
        shorts += 1
        assert shorts < 100
    assert shorts > 1
    assert not slow.is_slow(kind)
    slow.was_short(("GET", "never seen"))
    assert not slow.scores


def test_slow_is_sure_only_to_a_degree() -> None:
    """However often a kind was long, a bounded number of short calls makes it forgotten."""
    slow = Slow()
    for _ in range(1000):
        slow.was_long("kind")
    for _ in range(20):
        slow.was_short("kind")
    assert not slow.scores


def test_slow_is_bounded() -> None:
    """Clients choose paths, so the table takes no more than so many; the known go on learning."""
    slow = Slow()
    for number in range(10_000):
        slow.was_long(number)
    assert 0 < len(slow.scores) <= 1000
    before = slow.scores[0]
    slow.was_long(0)
    assert slow.scores[0] > before
