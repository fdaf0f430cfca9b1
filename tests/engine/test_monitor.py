"""The monitor: what one look does, and that it never sleeps through a call."""

import os
import threading
from typing import Any

import pytest

from nogilserve.engine import scheduler
from nogilserve.engine.scheduler import TICK, Monitor, Spares, is_blocked
from tests.engine.fakes import FakeCore, park_all
from tests.engine.threads import SECONDS, Running
from tests.support.waiting import wait_until

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
    # Nobody is inside a call: there is nothing to wait for.
    "left, new calls, work": (
        {"held": False, "work": True, "calls": 1, "turns": 1, "driver": 0},
        1,
        True,
        (True, True, False),
    ),
    "left, without work": ({"held": False, "driver": 0}, 1, True, (True, False, False)),
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


def test_long_call_beside_nobody() -> None:
    """After some looks a spare thread waits at the core, and nobody has to look any more; where
    none is parked the next one that parks does."""
    core = FakeCore(held=False)
    spares = Spares()
    monitor = Monitor([core], spares)
    for _ in range(50):
        assert monitor.look()
    threads = park_all(spares, 2)
    looks = 0
    while spares.parked() == 2:
        assert monitor.look()
        looks += 1
        assert looks <= 20
    core.lock.acquire()  # as the spare does
    assert not monitor.look()
    assert spares.parked() == 1
    spares.stop()
    assert {thread.result() for thread in threads} == {core.drive_as_spare, None}


def test_short_calls_beside_nobody() -> None:
    """One after the other they take no spare thread."""
    core = FakeCore(held=False)
    spares = Spares()
    threads = park_all(spares, 1)
    monitor = Monitor([core], spares)
    for _ in range(100):
        core.calls += 1
        for _ in range(15):
            assert monitor.look()
    assert spares.parked() == 1
    spares.stop()
    assert threads[0].result() is None


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


def test_call_that_computes_keeps_its_core_for_some_looks() -> None:
    """A thread that only waits for a processor is not joined by another one at once."""
    core = FakeCore(held=False, work=True)
    spares = Spares()
    given: list[bool] = []
    with Running(lambda: given.append(spares.park() is not None)):
        wait_until(spares.parked, SECONDS)
        monitor = Monitor([core], spares, blocked=lambda _: False)
        looks = 0
        while spares.parked():
            monitor.look()
            looks += 1
            assert looks < 100
        assert looks > 5
        assert core.blocked == set()


@pytest.mark.parametrize("trouble", ["blocked", "computing", "driverless", "backlog"])
def test_calm_monitor_looks_less_often(trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While every call is a short one; the first that is not brings it back to a look each tick."""
    core, idle = FakeCore(held=False), FakeCore(parked=True)
    monitor = Monitor([core, idle], Spares(), blocked=lambda _: trouble == "blocked")
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if slept.count(4 * TICK) < 20:
            core._calls += 1  # another call than at the last look, in another turn
            core.turns += 1
        elif slept[-1] == TICK:
            monitor.stop()
        elif trouble == "driverless":
            core.driver = 0
        elif trouble == "backlog":
            core.behind = 1
        else:
            core.work = True
        assert len(slept) < 1000, "it stays calm"

    monkeypatch.setattr(scheduler, "sleep", sleep)
    monitor.run()
    calm = slept.index(4 * TICK)
    assert calm >= 100
    assert set(slept[:calm]) == {TICK}
    assert set(slept[calm:-1]) == {4 * TICK}


def test_own_thread_is_not_blocked_and_a_waiting_one_is() -> None:
    """What the system says of a thread that runs, and of one that waits for a lock."""
    if not os.path.exists("/proc/self/task"):
        pytest.skip("this system does not tell")
    ids: list[int] = []
    gate = threading.Event()

    def wait() -> None:
        ids.append(threading.get_native_id())
        gate.wait(SECONDS)

    assert not is_blocked(threading.get_native_id())
    with Running(wait):
        wait_until(lambda: bool(ids) and is_blocked(ids[0]), SECONDS)
        gate.set()
    assert is_blocked(0)


def test_blocked_calls_that_nobody_takes_out_do_not_end_the_learning() -> None:
    """A call may end just as it is found blocked; what it leaves behind is bounded and replaced."""
    core = FakeCore(held=False, work=True, turns=1)
    monitor = Monitor([core], Spares())
    for call in range(1, 1000):
        core.calls = call
        monitor.look()
        monitor.look()
        assert call in core.blocked
        assert len(core.blocked) <= 256
