"""Threads that run one at a time, in an order that a schedule decides.

A world's actors are real threads that run the engine's real code. Only the one that has the baton
runs. At every *point* (an operation of a lock, a look at a poller, a shared attribute; see
`stress.staging`) it may have to hand the baton on, so that two things happen in the order in which
they hurt. Waiting is a point too: an actor that waits for something is not chosen until it is so.
Time is the world's own: it moves when nobody can do anything else. So an execution is repeated by
its schedule alone, and a wake-up that was lost is a deadlock, found at once.

What this cannot show is what real parallelism does to memory below the level of these points:
that is for the rounds (`stress.rounds`) and ThreadSanitizer.
"""

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

__all__ = ["JUMP", "Abort", "Actor", "Chooser", "Failure", "Switch", "World"]

LONGEST: Final = 60_000
"""Points after which an execution does not end by itself any more."""
FAIR: Final = 3_000
"""Points in a row after which an actor that only computes gives way."""
REAL_SECONDS: Final = 60.0
JUMP: Final = 0.005
"""Seconds that may pass at a point: those in which nobody else was given a processor."""


class Failure(AssertionError):
    """An invariant does not hold."""


class Abort(BaseException):
    """The execution has failed: every actor ends at its next point."""


@dataclass(frozen=True, slots=True)
class Switch:
    """At that point, that actor went on instead of the one that was running. Immutable."""

    step: int
    to: str

    def __str__(self) -> str:
        return f"{self.step}:{self.to}"


class Chooser(Protocol):
    """Decides the order."""

    def choose(self, step: int, point: str) -> str | None:
        """At every point: None to go on, "" for anybody else, or an actor's name."""

    def pick(self, names: list[str]) -> str:
        """Which of these, where it was not said."""


class Actor:
    """One thread. Owner: whoever has the baton; the thread itself waits for its own."""

    def __init__(self, name: str, thread: threading.Thread) -> None:
        self.name = name
        self.thread = thread
        self.native = 0
        self.baton = threading.Lock()
        self.baton.acquire()
        self.ready: Callable[[], object] | None = None
        """What it waits for; None: nothing."""
        self.until: float | None = None
        """When it stops waiting."""
        self.at = "start"
        self.done = False
        self.turn = 0
        """When it last stopped running."""
        self.holds: list[str] = []
        """Names of the locks that it holds."""


class World:
    """Actors, their clock and what has happened. Owner: whoever has the baton."""

    def __init__(self, chooser: Chooser) -> None:
        self._chooser = chooser
        self.actors: list[Actor] = []
        self._by_thread: dict[int, Actor] = {}
        self.current: Actor | None = None
        self.now = 1000.0
        self.jump = JUMP
        self.steps = 0
        self._since = 0
        self._turns = 0
        self.switches: list[Switch] = []
        """What was not the default: the schedule of this execution."""
        self.points: set[str] = set()
        """Names of all points passed."""
        self.history: list[tuple[int, str, str, str]] = []
        """Step, who, where, and who went on, for each switch."""
        self.failures: list[str] = []
        self.made: list[Any] = []
        """Cores, to be cleared away after a failure."""
        self.closers: list[Callable[[], object]] = []
        """The same of what has only to be closed."""
        self.aborted = False
        self._over = threading.Lock()
        self._over.acquire()

    # ---- actors

    def spawn(self, name: str, body: Callable[[], object]) -> Actor:
        """A new actor; it runs when it is chosen. Whoever has the baton, or before `run`."""
        thread = threading.Thread(target=lambda: self._live(actor, body), name=name, daemon=True)
        actor = Actor(name, thread)
        self.actors.append(actor)
        thread.start()
        return actor

    def _live(self, actor: Actor, body: Callable[[], object]) -> None:
        actor.baton.acquire()
        actor.native = threading.get_native_id()
        self._by_thread[threading.get_ident()] = actor
        try:
            if not self.aborted:
                body()
        except Abort:
            pass
        except BaseException:
            self.fail(f"{actor.name} has died:\n{traceback.format_exc()}", abort=False)
        finally:
            actor.done = True
            if not self.aborted:
                self._leave(actor)
            if self.aborted and all(other.done for other in self.actors):
                self._end()

    def _leave(self, actor: Actor) -> None:
        """Hand the baton on for good."""
        if all(other.done for other in self.actors):
            self._end()
            return
        try:
            target = self._next()
        except Abort:
            return
        self.current = target
        target.baton.release()

    def _end(self) -> None:
        try:
            self._over.release()
        except RuntimeError:
            pass  # several found it at the same time, after a failure

    def run(self) -> None:
        """Let them act until all are done. Any thread outside. Raises Failure."""
        first = self.actors[0]
        self.current = first
        first.baton.release()
        if not self._over.acquire(timeout=REAL_SECONDS):
            where = [f"{actor.name} at {actor.at}" for actor in self.actors if not actor.done]
            self.failures.append(f"stuck outside the points: {', '.join(where)}")
            self.aborted = True
        for actor in self.actors:
            actor.thread.join(1.0 if self.aborted else REAL_SECONDS)
        if self.failures:
            raise Failure(self.failures[0])

    def me(self) -> Actor:
        """The actor that calls."""
        return self._by_thread[threading.get_ident()]

    def is_actor(self) -> bool:
        """Whether an actor calls; before `run` and after it nobody is."""
        return threading.get_ident() in self._by_thread

    def fail(self, text: str, *, abort: bool = True) -> None:
        """An invariant does not hold: the execution ends here. Raises Abort if told to."""
        self.failures.append(text)
        self.aborted = True
        for actor in self.actors:
            if not actor.done and actor is not self._by_thread.get(threading.get_ident()):
                try:
                    actor.baton.release()
                except RuntimeError:
                    pass
        if abort:
            raise Abort

    # ---- points

    def point(self, name: str) -> None:
        """Something that others may do something before. The actor that runs."""
        if self.aborted:
            raise Abort
        me = self.me()
        me.at = name
        self.points.add(name)
        self.steps = step = self.steps + 1
        if step > LONGEST:
            self.fail(f"no end after {step} points; {self.describe()}")
        wish = self._chooser.choose(step, name)
        if wish is None:
            self._since += 1
            if self._since < FAIR:
                return
        options = {actor.name: actor for actor in self.actors if self._may_run(actor, me)}
        if not options:
            return
        if not wish:
            names = sorted(options, key=lambda key: options[key].turn)
            wish = self._chooser.pick(names)
        target = options.get(wish)
        if target is None:
            return
        self.switches.append(Switch(step, target.name))
        self.history.append((step, me.name, name, target.name))
        if target.until is not None and target.until > self.now and not self._is_ready(target):
            self.now = target.until
        self._switch(me, target)

    def _is_ready(self, actor: Actor) -> bool:
        return actor.ready is None or bool(actor.ready())

    def _may_run(self, actor: Actor, me: Actor) -> bool:
        if actor is me or actor.done:
            return False
        return self._is_ready(actor) or (
            actor.until is not None and actor.until <= self.now + self.jump
        )

    def wait(self, name: str, ready: Callable[[], object], timeout: float | None = None) -> bool:
        """Wait until `ready()` is true, at most so many seconds of the world. The actor that runs.
        False: it is not."""
        self.point(name)
        me = self.me()
        if ready():
            return True
        me.ready = ready
        me.until = None if timeout is None else self.now + timeout
        try:
            target = self._next()
            if target is not me:
                self._switch(me, target)
            if self.aborted:
                raise Abort
            return bool(ready())
        finally:
            me.ready = None
            me.until = None

    def sleep(self, name: str, seconds: float) -> None:
        """Let time pass."""
        self.wait(name, lambda: False, seconds)

    def _next(self) -> Actor:
        """Who goes on when the actor that runs cannot: the one that has waited longest; where all
        wait for time to pass, it passes."""
        waiting = [actor for actor in self.actors if not actor.done]
        able = [actor for actor in waiting if self._is_ready(actor)]
        if not able:
            sleepers = [actor for actor in waiting if actor.until is not None]
            if not sleepers:
                self.fail(f"deadlock: {self.describe()}")
            self.now = max(self.now, min(actor.until or 0.0 for actor in sleepers))
            able = [actor for actor in sleepers if (actor.until or 0.0) <= self.now]
        return min(able, key=lambda actor: actor.turn)

    def _switch(self, me: Actor, target: Actor) -> None:
        self._turns += 1
        self._since = 0
        me.turn = self._turns
        self.current = target
        target.baton.release()
        me.baton.acquire()
        if self.aborted:
            raise Abort

    def clock(self) -> float:
        """The world's monotonic clock; it moves a little with every look, as real ones do."""
        self.now += 1e-7
        return self.now

    def is_blocked(self, native: int) -> bool:
        """Whether that thread waits for something."""
        for actor in self.actors:
            if actor.native == native:
                return actor.ready is not None and not actor.ready()
        return True

    def describe(self) -> str:
        """Where everybody is."""
        return "; ".join(
            f"{actor.name} at {actor.at}"
            + (f" holding {', '.join(actor.holds)}" * bool(actor.holds))
            for actor in self.actors
            if not actor.done
        )
