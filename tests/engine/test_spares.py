"""Threads without a core: each task offered is taken once, in whatever moment it comes."""

import threading

from nogilserve.engine.scheduler import Spares, Task
from tests.engine.fakes import FakeCore, JankyLock, nothing, park_all
from tests.engine.threads import SECONDS, Running
from tests.support.waiting import Deadline, wait_until


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


def test_dismissed_thread_leaves() -> None:
    """The one that has parked for longest goes; the others can still be offered something."""
    spares = Spares()
    threads = park_all(spares, 2)
    spares.dismiss()
    assert threads[0].result() is None
    assert spares.offer(nothing)
    assert threads[1].result() is nothing
    spares.dismiss()
    assert spares.park() is None
    (last,) = park_all(spares, 1)
    spares.stop()
    assert last.result() is None


def test_dismissal_between_stacking_and_waiting() -> None:
    """A thread that is let go before it waits does not wait."""
    spares = Spares()
    spares._lock = JankyLock(spares.dismiss)  # type: ignore[assignment]
    assert Running(spares.park).result() is None
