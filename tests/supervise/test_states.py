"""The rules of the master: examples of each, and invariants on whatever may happen."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nogilserve.supervise.actions import (
    Action,
    Announce,
    Cut,
    Drain,
    End,
    Failure,
    Kill,
    Open,
    Rules,
    Say,
    Spawn,
    State,
)
from nogilserve.supervise.states import Machine

BROKEN = Failure("importing 'main' failed", "app", "Traceback …")


def done(actions: list[Action]) -> list[Action]:
    """Without what is only said."""
    return [action for action in actions if not isinstance(action, Say)]


def said(actions: list[Action]) -> str:
    """What is said."""
    return "\n".join(action.text for action in actions if isinstance(action, Say))


def serving(**rules: object) -> Machine:
    """A machine whose first generation serves."""
    machine = Machine(Rules(**rules))  # type: ignore[arg-type]
    assert machine.start(0) == [Spawn(1, None)]
    assert machine.loaded(1, 1) == [Open(1)]
    assert machine.ready(1, 2) == [Announce(1, True)]
    return machine


def test_the_next_generation_takes_over() -> None:
    """The old one is told to drain when the new one serves, not before."""
    machine = serving()
    assert done(machine.reload("SIGHUP", 10)) == [Spawn(2, None)]
    assert machine.loaded(2, 11) == [Open(2)]
    assert machine.ready(2, 12) == [Announce(2, False), Drain(1, True)]
    assert machine.current == 2
    assert machine.exited(1, "", 13) == []


def test_failing_code_leaves_the_old_generation_alone() -> None:
    """It serves on, and nothing is tried again by itself."""
    machine = serving()
    machine.reload("SIGHUP", 10)
    assert machine.failed(2, BROKEN, 11) == []
    actions = machine.exited(2, "has ended with status 1", 11)
    assert done(actions) == []
    assert "the one before serves on: importing 'main' failed" in said(actions)
    assert (machine.current, machine.deadline) == (1, None)


def test_failing_start_ends_the_service() -> None:
    """The first generation's failure is the command's."""
    machine = Machine(Rules())
    machine.start(0)
    machine.failed(1, BROKEN, 1)
    assert machine.exited(1, "has ended with status 1", 1) == [End(BROKEN)]


def test_failing_start_is_shown() -> None:
    """With `--reload` a page takes its place, and the next change is tried."""
    machine = Machine(Rules(developing=True))
    machine.start(0)
    machine.failed(1, BROKEN, 1)
    assert done(machine.exited(1, "", 1)) == [Spawn(2, BROKEN)]
    machine.loaded(2, 2)
    assert machine.ready(2, 2) == [Announce(2, True)]
    assert done(machine.reload("main.py changed", 3)) == [Spawn(3, None)]
    machine.loaded(3, 4)
    assert machine.ready(3, 4) == [Announce(3, False), Drain(2, False)]


def test_start_that_takes_too_long() -> None:
    """A generation that is not ready in time is killed and counts as failed."""
    machine = Machine(Rules(ready_timeout=5))
    machine.start(0)
    assert machine.deadline == 5
    assert machine.tick(4.9) == []
    assert machine.tick(5) == [Kill(1, gently=True)]
    assert machine.loaded(1, 6) == []
    assert machine.tick(7) == [Kill(1)]
    (end,) = machine.exited(1, "was killed by SIGKILL", 7)
    assert isinstance(end, End)
    assert end.failure is not None
    assert "not ready within 5 s" in end.failure.message


def test_crash_is_replaced_at_once_then_slower() -> None:
    """The first replacement comes at once; if they keep dying, the pauses grow and are bounded."""
    machine = serving()
    actions = machine.exited(1, "was killed by SIGSEGV", 3)
    assert done(actions) == [Spawn(2, None)]
    assert "Generation 1 was killed by SIGSEGV" in said(actions)
    pauses, now = [], 3.0
    for number in range(2, 12):
        machine.loaded(number, now)
        machine.ready(number, now)
        assert done(machine.exited(number, "was killed by SIGSEGV", now)) == []
        assert machine.deadline is not None
        pauses.append(machine.deadline - now)
        now = machine.deadline
        assert done(machine.tick(now)) == [Spawn(number + 1, None)]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30]


def test_crash_after_a_long_time_is_replaced_at_once() -> None:
    """A generation that has served for a while pays off the debts of those before."""
    machine = serving()
    machine.exited(1, "was killed by SIGSEGV", 3)
    machine.loaded(2, 3)
    machine.ready(2, 3)
    assert done(machine.exited(2, "was killed by SIGSEGV", 60)) == [Spawn(3, None)]


def test_replacement_that_fails_is_tried_again() -> None:
    """When nobody serves, a broken start is no reason to give up."""
    machine = serving()
    machine.exited(1, "was killed by SIGKILL", 100)
    machine.failed(2, BROKEN, 101)
    assert done(machine.exited(2, "", 101)) == []
    assert machine.deadline == 101.5
    assert done(machine.tick(101.5)) == [Spawn(3, None)]


def test_reload_supersedes_a_start_in_progress() -> None:
    """Code that changed during the import is imported anew; the old start ends unnoticed."""
    machine = serving()
    machine.reload("one", 10)
    actions = machine.reload("two", 11)
    assert done(actions) == [Kill(2, gently=True), Spawn(3, None)]
    assert machine.tick(13.5) == [Kill(2)]
    assert machine.exited(2, "was killed by SIGKILL", 13.5) == []
    machine.loaded(3, 14)
    assert machine.ready(3, 14) == [Announce(3, False), Drain(1, True)]


def test_reload_while_one_opens_comes_after_it() -> None:
    """One that may accept already is not thrown away; another one follows."""
    machine = serving()
    machine.reload("one", 10)
    machine.loaded(2, 11)
    assert machine.reload("two", 12) == []
    actions = machine.ready(2, 13)
    assert done(actions) == [Announce(2, False), Drain(1, True), Spawn(3, None)]


def test_generation_asks_for_its_successor() -> None:
    """Only the one that serves is listened to, and once."""
    machine = serving()
    assert done(machine.replace(1, "memory", 10)) == [Spawn(2, None)]
    assert machine.replace(1, "memory", 11) == []
    machine.failed(2, BROKEN, 12)
    assert done(machine.exited(2, "", 12)) == []
    assert done(machine.tick(12.5)) == [Spawn(3, None)]
    machine.failed(3, BROKEN, 13)
    machine.exited(3, "", 13)
    assert machine.deadline == 14


def test_stop_and_stop_again() -> None:
    """First all is finished, then cut off, then killed."""
    machine = serving(graceful_timeout=30)
    assert machine.stop(10) == [Drain(1, False)]
    assert machine.stop(11) == [Cut(1)]
    assert done(machine.tick(16)) == [Kill(1)]
    assert machine.exited(1, "was killed by SIGKILL", 16) == [End()]


def test_stop_reaches_every_generation() -> None:
    """One that starts is interrupted, one that drains with patience loses it."""
    machine = serving()
    machine.reload("one", 10)
    machine.loaded(2, 10)
    machine.ready(2, 10)
    machine.reload("two", 11)
    assert machine.stop(12) == [Drain(1, False), Drain(2, False), Kill(3, gently=True)]
    assert machine.exited(3, "was killed by SIGINT", 12) == []
    assert machine.exited(1, "", 12) == []
    assert machine.exited(2, "", 12) == [End()]


def test_signal_before_the_service_has_begun() -> None:
    """It ends the start, and the command as the signal would have."""
    machine = Machine(Rules())
    machine.start(0)
    assert machine.stop(1, 15) == [Kill(1, gently=True)]
    assert machine.exited(1, "was killed by SIGINT", 1) == [End(signal=15)]


def test_signal_while_the_first_one_opens() -> None:
    """Clients may be in already: this is an orderly end."""
    machine = Machine(Rules())
    machine.start(0)
    machine.loaded(1, 1)
    assert machine.stop(2, 15) == [Drain(1, False)]
    assert machine.ready(1, 2) == []
    assert machine.exited(1, "", 3) == [End()]


def test_stalled_generation_is_killed_when_the_next_one_serves() -> None:
    """Asking it would be no use; it goes on holding what it has until then."""
    machine = serving()
    assert done(machine.stalled(1, "is silent", 10)) == [Spawn(2, None)]
    assert machine.stalled(1, "is silent", 11) == []
    machine.loaded(2, 12)
    assert machine.ready(2, 12) == [Announce(2, False), Kill(1)]


def test_stalled_generation_comes_back() -> None:
    """Then it is asked, as any other."""
    machine = serving()
    machine.stalled(1, "is silent", 10)
    assert "reacts again" in said(machine.revived(1))
    machine.loaded(2, 12)
    assert machine.ready(2, 12) == [Announce(2, False), Drain(1, True)]


def test_patience_is_limited() -> None:
    """Of many that drain, the oldest end their idle connections."""
    machine = serving()
    actions: list[Action] = []
    for number in range(2, 7):
        machine.reload("again", number)
        machine.loaded(number, number)
        actions += machine.ready(number, number)
    assert [a.number for a in actions if a == Drain(a.number, False)] == [1, 2]  # type: ignore[union-attr]


class World:
    """Plays the processes: does what the machine says, and checks that it may."""

    def __init__(self, rules: Rules) -> None:
        self.machine = Machine(rules)
        self.now = 0.0
        self.alive: dict[int, str] = {}
        """starting, opening, serving, draining, dying."""
        self.ended: End | None = None
        self.crashed = False
        """The one that served has died and nobody serves yet."""

    def obey(self, actions: list[Action]) -> None:
        """Carry out."""
        for action in actions:
            match action:
                case Spawn(number):
                    starting = [
                        n for n, state in self.alive.items() if state in ("starting", "opening")
                    ]
                    assert not starting, "two start at once"
                    assert not self.machine.stopping or self.ended is None
                    self.alive[number] = "starting"
                case Open(number):
                    assert self.alive[number] == "starting"
                    self.alive[number] = "opening"
                case Announce(number, _):
                    self.crashed = False
                case Drain(number, patient):
                    assert self.alive[number] in ("serving", "opening", "draining")
                    if self.alive[number] == "serving" and not self.machine.stopping:
                        others = [n for n, state in self.alive.items() if state == "serving"]
                        assert len(others) > 1, "nobody would serve"
                        assert patient is not self.machine.rules.developing
                    self.alive[number] = "draining"
                case Cut(number):
                    assert self.machine.stopping
                    self.alive[number] = "dying"
                case Kill(number, _):
                    if self.alive.get(number) == "serving" and not self.machine.stopping:
                        others = [n for n, state in self.alive.items() if state == "serving"]
                        assert len(others) > 1, "nobody would serve"
                    self.alive[number] = "dying"
                case End():
                    assert self.ended is None, "ended twice"
                    assert not self.alive, "processes are left behind"
                    self.ended = action

    def check(self) -> None:
        """What always holds."""
        states = [g.state for g in self.machine.generations.values()]
        assert states.count(State.SERVING) <= 1
        assert sum(s in (State.STARTING, State.OPENING) for s in states) <= 1
        assert set(self.alive) == set(self.machine.generations)
        if self.machine.begun and not self.machine.stopping:
            hopeful = self.machine.current or self.machine.retry_at is not None
            assert (
                hopeful
                or any(s in (State.STARTING, State.OPENING) for s in states)
                or any(g.state == State.STARTING for g in self.machine.generations.values())
            ), "the service is given up"


def steps(world: World) -> list[tuple[str, Callable[[], list[Action]]]]:
    """What can happen next."""
    machine, now = world.machine, world.now
    found: list[tuple[str, Callable[[], list[Action]]]] = [
        ("reload", lambda: machine.reload("a test", now)),
        ("stop", lambda: machine.stop(now, 15)),
        ("relieve", lambda: machine.stop(now, patient=True)),
        ("tick", lambda: machine.tick(now)),
    ]

    def leave(number: int, how: str) -> list[Action]:
        del world.alive[number]
        return machine.exited(number, how, world.now)

    def fail(number: int) -> list[Action]:
        return machine.failed(number, BROKEN, world.now) + leave(number, "has ended with status 1")

    def serve(number: int) -> list[Action]:
        if world.alive[number] == "opening":
            world.alive[number] = "serving"
        return machine.ready(number, world.now)

    for number, state in world.alive.items():
        found.append((f"{number} dies", lambda n=number: leave(n, "was killed by SIGSEGV")))  # type: ignore[misc]
        if state in ("starting", "opening"):
            found.append((f"{number} fails", lambda n=number: fail(n)))  # type: ignore[misc]
        if state == "starting":
            found.append((f"{number} loads", lambda n=number: machine.loaded(n, now)))  # type: ignore[misc]
        if state == "opening":
            found.append((f"{number} serves", lambda n=number: serve(n)))  # type: ignore[misc]
        if state == "serving":
            found.append((f"{number} asks", lambda n=number: machine.replace(n, "it asks", now)))  # type: ignore[misc]
            found.append((f"{number} stalls", lambda n=number: machine.stalled(n, "stalls", now)))  # type: ignore[misc]
            found.append((f"{number} revives", lambda n=number: machine.revived(n)))  # type: ignore[misc]
        if state in ("draining", "dying"):
            found.append((f"{number} ends", lambda n=number: leave(n, "")))  # type: ignore[misc]
    return found


@pytest.mark.parametrize("developing", [False, True])
@settings(max_examples=300)
@given(data=st.data())
def test_invariants(developing: bool, data: st.DataObject) -> None:
    """Whatever happens in whatever order: one starts, one serves, nobody is drained before another
    serves, nothing is forgotten, and a stop always comes to an end."""
    world = World(Rules(ready_timeout=10, graceful_timeout=5, developing=developing))
    world.obey(world.machine.start(0))
    for _ in range(data.draw(st.integers(0, 30))):
        if world.ended:
            break
        world.now += data.draw(st.sampled_from([0.0, 0.1, 1.0, 20.0]))
        possible = steps(world)
        _, step = possible[data.draw(st.integers(0, len(possible) - 1))]
        world.obey(step())
        if not world.ended:
            world.check()
    for _ in range(100):
        if world.ended:
            return
        if not world.machine.stopping:
            world.obey(world.machine.stop(world.now))
        world.now = max(world.now, world.machine.deadline or world.now) + 1
        world.obey(world.machine.tick(world.now))
        for number, state in list(world.alive.items()):
            if state == "dying" and not world.ended:
                del world.alive[number]
                world.obey(world.machine.exited(number, "was killed by SIGKILL", world.now))
    raise AssertionError("it does not end")
