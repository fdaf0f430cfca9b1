"""The scheduler against a plain model of itself, whatever happens in whatever order."""

from collections import deque
from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nogilserve.engine.scheduler import Driven, Monitor, Slow, Spares, Task
from nogilserve.engine.shares import Shares
from tests.engine.fakes import FakeCore
from tests.engine.threads import SECONDS, Running
from tests.support.waiting import wait_until


class SparesMachine(RuleBasedStateMachine):
    """`Spares`: threads park and are given tasks; the model is two lists and two numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.spares = Spares()
        self.parked: list[Running[Task | None]] = []
        self.waiting: deque[Task] = deque()
        self.dismissed = 0
        self.stopped = False
        self.made = 0

    def task(self) -> Task:
        """One that is equal to no other."""
        self.made += 1
        number = self.made
        return lambda: self.fail_if_called(number)

    @staticmethod
    def fail_if_called(number: int) -> None:
        """Tasks are passed on here, never run."""
        raise AssertionError(number)

    @rule()
    def park(self) -> None:
        """A thread has nothing to do."""
        thread = Running(self.spares.park)
        if self.stopped:
            assert thread.result() is None
        elif self.dismissed:
            self.dismissed -= 1
            assert thread.result() is None
        elif self.waiting:
            assert thread.result() is self.waiting.popleft()
        else:
            self.parked.append(thread)
            wait_until(lambda: self.spares.parked() == len(self.parked), SECONDS)

    @rule(wait=st.booleans())
    def offer(self, wait: bool) -> None:
        """There is something to do: for the thread that parked last."""
        task = self.task()
        given = self.spares.offer(task, wait=wait)
        assert given is bool(self.parked)
        if self.parked:
            assert self.parked.pop().result() is task
        elif wait:
            self.waiting.append(task)

    @rule()
    def take(self) -> None:
        """A thread looks for a task without parking."""
        assert self.spares.take() is (self.waiting.popleft() if self.waiting else None)

    @rule()
    def dismiss(self) -> None:
        """One thread fewer: the one that has been parked longest, or the next that parks."""
        self.spares.dismiss()
        if self.parked:
            assert self.parked.pop(0).result() is None
        else:
            self.dismissed += 1

    @rule()
    def stop(self) -> None:
        """No thread is needed any more."""
        self.spares.stop()
        self.stopped = True
        while self.parked:
            assert self.parked.pop().result() is None

    @invariant()
    def counts_agree(self) -> None:
        """What is said of the numbers is so."""
        assert self.spares.parked() == len(self.parked)
        assert self.spares.tasks() == len(self.waiting)

    def teardown(self) -> None:
        """Let all threads go."""
        self.stop()


class SlowMachine(RuleBasedStateMachine):
    """`Slow`: a kind is slow after two long calls, until enough short ones came; never too many."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = Slow()
        self.scores: dict[int, int] = {}

    @rule(kind=st.integers(0, 3) | st.integers(0, 400), times=st.integers(1, 5))
    def long(self, kind: int, times: int) -> None:
        """Calls were blocked."""
        for _ in range(times):
            self.slow.was_long(kind)
            if kind in self.scores or len(self.scores) < 256:
                self.scores[kind] = min(self.scores.get(kind, 0) + 4, 16)

    @rule(kind=st.integers(0, 3) | st.integers(0, 400), times=st.integers(1, 20))
    def short(self, kind: int, times: int) -> None:
        """Calls were not."""
        for _ in range(times):
            self.slow.was_short(kind)
        left = self.scores.pop(kind, 0) - times
        if left > 0:
            self.scores[kind] = left

    @rule()
    def many(self) -> None:
        """A client makes up paths."""
        for kind in range(1000, 1400):
            self.slow.was_long(kind)
            if len(self.scores) < 256 or kind in self.scores:
                self.scores[kind] = min(self.scores.get(kind, 0) + 4, 16)

    @invariant()
    def agrees(self) -> None:
        """As the model says; bounded."""
        assert self.slow.scores == self.scores
        assert len(self.slow.scores) <= 256
        for kind in range(4):
            assert self.slow.is_slow(kind) == (self.scores.get(kind, 0) > 4)


class SharesMachine(RuleBasedStateMachine):
    """`Shares`: a new connection goes to a core with the fewest, of those that are not avoided."""

    CORES = 4

    def __init__(self) -> None:
        super().__init__()
        self.shares = Shares(self.CORES)
        self.open = [0] * self.CORES

    @rule(here=st.integers(0, CORES - 1), avoid=st.frozensets(st.integers(0, CORES - 1)))
    def assign(self, here: int, avoid: frozenset[int]) -> None:
        """A connection is accepted."""
        allowed = [core for core in range(self.CORES) if core not in avoid] or [*range(self.CORES)]
        target = self.shares.assign(here, avoid)
        assert target in allowed
        assert self.open[target] == min(self.open[core] for core in allowed)
        if not avoid and self.open[here] == self.open[target]:
            assert target == here
        self.open[target] += 1

    @precondition(lambda self: any(self.open))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """One of them ends."""
        core = data.draw(st.sampled_from([n for n in range(self.CORES) if self.open[n]]))
        self.shares.release(core)
        self.open[core] -= 1

    @invariant()
    def counts_agree(self) -> None:
        """No connection is lost or counted twice."""
        assert self.shares.counts() == tuple(self.open)


class Threads:
    """What `Monitor` sees of `Spares`: how many are parked, and what they were given."""

    def __init__(self) -> None:
        self.parked = 0
        self.given: list[Callable[[], None]] = []

    def offer(self, task: Task, *, wait: bool = False) -> bool:
        """As that of Spares."""
        if not self.parked:
            return False
        self.parked -= 1
        self.given.append(task)
        return True


class MonitorMachine(RuleBasedStateMachine):
    """`Monitor.look`: who is asked for help with which core, and that nobody is without reason."""

    CORES = 3

    def __init__(self) -> None:
        super().__init__()
        self.cores = [FakeCore(driver=number + 1) for number in range(self.CORES)]
        self.spares, self.doormen = Threads(), Threads()
        self.computing: set[int] = set()
        spares, doormen = self.spares, self.doormen
        cores: list[Driven] = [*self.cores]
        self.monitor = Monitor(
            cores,
            spares,  # type: ignore[arg-type]
            blocked=lambda thread: thread - 1 not in self.computing,
            doormen=doormen,  # type: ignore[arg-type]
        )
        self.seen = [(-1, -1)] * self.CORES
        self.busy = [0] * self.CORES
        self.lone = [0] * self.CORES

    numbers = st.integers(0, CORES - 1)

    @rule(number=numbers)
    def begin_call(self, number: int) -> None:
        """A driver calls the application."""
        core = self.cores[number]
        if core.lock.locked():
            core.parked = False
            core.begin_call(lambda: None)

    @rule(number=numbers)
    def end_call(self, number: int) -> None:
        """It takes its core back; or a thread drives one that was left."""
        core = self.cores[number]
        core.lock.acquire(blocking=False)
        core.driver = number + 1
        core.turns += 1

    @rule(number=numbers, calling=st.booleans())
    def leave(self, number: int, calling: bool) -> None:
        """A driver goes to help elsewhere, or into a call that will be long."""
        core = self.cores[number]
        if core.lock.locked():
            core.parked, core.driver = False, 0
            core.calls += calling
            core.lock.release()

    @rule(number=numbers, work=st.booleans(), behind=st.integers(0, 2), computing=st.booleans())
    def change(self, number: int, work: bool, behind: int, computing: bool) -> None:
        """Events come, or the call begins to compute."""
        core = self.cores[number]
        core.work, core.behind = work, behind
        (self.computing.add if computing else self.computing.discard)(number)

    @rule(number=numbers, parked=st.booleans(), door=st.booleans())
    def rest(self, number: int, parked: bool, door: bool) -> None:
        """A driver waits in its poller, or is a doorman."""
        core = self.cores[number]
        core.parked = parked and core.lock.locked()
        core.door = door

    @rule(spares=st.integers(0, 2), doormen=st.integers(0, 1))
    def threads(self, spares: int, doormen: int) -> None:
        """Threads park and leave."""
        self.spares.parked, self.doormen.parked = spares, doormen

    @rule(times=st.integers(1, 12))
    def look(self, times: int) -> None:
        """The monitor looks, and asks for what the model says."""
        for _ in range(times):
            expected = self.expected()
            active = any(not core.lock.locked() for core in self.cores) or any(
                core.calls != self.seen[number][0] for number, core in enumerate(self.cores)
            )
            before = len(self.spares.given), len(self.doormen.given)
            for core in self.cores:
                core.asked.clear()
            free = self.spares.parked, self.doormen.parked
            self.monitor.look()
            self.check(expected, before, free)
            assert active or not expected or any(core.behind for core in self.cores)
            self.seen = [(core.calls, core.turns) for core in self.cores]

    def expected(self) -> list[tuple[int, bool | None]]:
        """Which cores need help, and whether for want of a driver; None: a spare thread is to wait
        there, if one has nothing else to do."""
        found: list[tuple[int, bool | None]] = []
        for number, core in enumerate(self.cores):
            same_call = core.calls == self.seen[number][0]
            same_turn = core.turns == self.seen[number][1]
            if not core.lock.locked():
                if not core.driver:
                    if core.work:
                        found.append((number, True))
                        continue
                    self.lone[number] += 1
                    if self.lone[number] % 20 == 0:
                        found.append((number, None))
                elif not same_call:
                    self.busy[number] = self.lone[number] = 0
                elif not core.work:
                    self.lone[number] += 1
                    if self.lone[number] % 20 == 0:
                        found.append((number, None))
                else:
                    stuck = number not in self.computing
                    if not stuck:
                        self.busy[number] += 1
                    if stuck or self.busy[number] >= 10:
                        found.append((number, True))
                        continue
            if same_turn and core.behind:
                found.append((number, False))
        return found

    def check(
        self,
        expected: list[tuple[int, bool | None]],
        before: tuple[int, int],
        free: tuple[int, int],
    ) -> None:
        """Each core that needs help got it from the first of those who could give it."""
        spares = self.spares.given[before[0] :]
        doormen = self.doormen.given[before[1] :]
        asked = [core for core in self.cores for _ in core.asked]
        spare_left, door_left = free
        helped = 0
        for number, driverless in expected:
            core = self.cores[number]
            others = [other for other in self.cores if other is not core]
            if driverless is not False and spare_left:
                spare_left -= 1
                assert core.drive_as_spare in spares
            elif driverless is None:
                continue
            elif any(other.parked and not other.door for other in others):
                helped += 1
                assert any(core in other.asked for other in others if other.parked)
            elif driverless and door_left:
                door_left -= 1
                assert core.drive_at_door in doormen
            elif driverless and any(other.lock.locked() for other in others):
                helped += 1
                assert any(core in other.asked for other in others)
        assert len(asked) == helped
        assert len(spares) == free[0] - spare_left
        assert len(doormen) == free[1] - door_left

    @invariant()
    def blocked_calls_are_noted(self) -> None:
        """Only calls that were in progress are found blocked."""
        for core in self.cores:
            assert all(call <= core.calls for call in core.blocked)


_SETTINGS = settings(max_examples=60, stateful_step_count=30, deadline=None)

TestSpares = SparesMachine.TestCase
TestSpares.settings = settings(_SETTINGS, max_examples=40)
TestSlow = SlowMachine.TestCase
TestSlow.settings = _SETTINGS
TestShares = SharesMachine.TestCase
TestShares.settings = _SETTINGS
TestMonitor = MonitorMachine.TestCase
TestMonitor.settings = settings(_SETTINGS, max_examples=150)
