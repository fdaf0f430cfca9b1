"""The watchdog: no bell is lost, every occurrence is reported once, nobody is blamed wrongly."""

import threading
from typing import Any

import pytest

from nogilserve.engine.loop.watch import LoopWatch
from tests.engine.threads import Running
from tests.support.waiting import wait_until


class Loop:
    """What the watch sees of a loop. Owner: the test, which plays the loop; `on_read` runs inside
    the watch's reading of `beating`, between two of its steps."""

    def __init__(self, index: int = 0, *, beating: bool = False) -> None:
        self.index = index
        self.thread = threading.get_ident()
        self.clients: set[Any] = set()
        self.blocked = 0
        self.late = False
        self.is_beating = beating
        self.on_beating: Any = None
        self.on_read: Any = None
        self.reads = 0

    @property
    def beating(self) -> bool:
        """Whether signs of life are due."""
        value = self.is_beating
        self.reads += 1
        if self.on_read is not None:
            hook, self.on_read = self.on_read, None
            hook()
        return value

    def is_late(self, seconds: float) -> bool:
        """Whether one is overdue."""
        return self.late

    def silence(self) -> float:
        """Seconds."""
        return 1.0

    def begin(self) -> None:
        """What `touch` does."""
        self.is_beating = True
        self.on_beating()


def watch(*loops: Any, seconds: float = 0.02) -> LoopWatch:
    """A watch of these."""
    return LoopWatch(loops, seconds)


def test_a_loop_that_begins_while_the_watch_looks() -> None:
    """It rings after the watch has found it silent, and before the watch sleeps."""
    loop = Loop()
    dog = watch(loop)
    loop.late = True
    loop.on_read = loop.begin
    running = Running(dog.run)
    wait_until(lambda: loop.blocked)
    dog.stop()
    running.result()


def test_stop_while_the_watch_looks() -> None:
    """The word to stop is not lost either, at whichever step it comes."""
    for _ in range(3):
        loop = Loop()
        dog = watch(loop)
        loop.on_read = dog.stop
        Running(dog.run).result()
        dog = watch(loop)
        dog.stop()
        Running(dog.run).result()


def test_others_that_ring_all_the_time() -> None:
    """A loop that is blocked is found although another begins again and again, so that the watch
    never waits for its time."""
    blocked, busy = Loop(0, beating=True), Loop(1, beating=True)
    dog = watch(blocked, busy, seconds=60)
    blocked.late = True
    running = Running(dog.run)

    def found() -> bool:
        busy.begin()
        return bool(blocked.blocked)

    try:
        wait_until(found)
    finally:
        dog.stop()
        running.result()


def test_nobody_is_looked_at_when_nothing_happens() -> None:
    """Idle loops wake nobody."""
    loop = Loop()
    dog = watch(loop, seconds=0.001)
    running = Running(dog.run)
    wait_until(lambda: loop.reads)
    threading.Event().wait(0.05)
    assert loop.reads == 1
    dog.stop()
    running.result()


def test_an_occurrence_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    """And the next one again."""
    loop = Loop()
    dog = watch(loop)
    for late in (True, True, False, True):
        loop.late = late
        dog.look()
    assert loop.blocked == 2
    assert caplog.text.count("is blocked") == 2
    assert "test_watch.py" in caplog.text
