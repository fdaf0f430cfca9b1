"""What stands in for cores and locks where the scheduler's races are forced."""

import threading
from collections.abc import Callable

from nogilserve.engine.scheduler import Driven, Spares, Task
from tests.engine.threads import SECONDS, Running
from tests.support.waiting import wait_until

__all__ = ["FakeCore", "JankyLock", "nothing", "park_all"]


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
        self.driver = 1
        self.blocked: set[int] = set()
        self.parked = False
        self.door = False
        self.work = False
        self.behind = 0
        self.asked: list[Driven] = []
        self.hurried = 0
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

    def hurry(self) -> None:
        """Counted."""
        self.hurried += 1

    def ask_help(self, victim: Driven) -> None:
        """Remembered."""
        self.asked.append(victim)

    def drive_as_spare(self) -> None:
        """What spare threads are given: compared, never called."""

    def drive_at_door(self) -> None:
        """What doormen are given: compared, never called."""

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


def park_all(spares: Spares, count: int) -> list[Running[Task | None]]:
    """That many threads, parked one after the other."""
    threads = []
    for number in range(1, count + 1):
        threads.append(Running(spares.park))
        wait_until(lambda number=number: spares.parked() == number, SECONDS)  # type: ignore[misc]
    return threads
