"""Which thread drives which core. Knows no HTTP: a core is a lock, a counter and some hints.

A thread drives a core while it holds the core's lock. Around each call into the application the
driver offers the core: it releases the lock. When the call is short, the driver takes
the lock back and nobody noticed. When it is long, the monitor finds the lock free and the
call counter unchanged since its last look. If the call is blocked, or has been computing for many
looks, the monitor gives the core to a spare thread or, where none is parked, asks the driver of
another core to help, an idle one if there is any. Whoever acquires the lock drives: that is the one
claim there is, and it can only be won once.

Requests of a kind that was blocked before do not wait for that: a spare thread runs them, and the
driver drives on (`Slow`).
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import sleep
from typing import Final, Protocol

__all__ = ["TICK", "Driven", "Monitor", "Slow", "Spares", "Task", "is_blocked"]

TICK: Final = 0.001
"""Seconds between two looks of the monitor: a call that lasts longer counts as long."""

_KINDS: Final = 256
"""Kinds of slow requests remembered per core: paths come from clients, so there is a bound."""
_LEARN: Final = 4
_SURE: Final = 16
"""A kind is forgotten after this many short calls in a row at most."""

_NEVER_SEEN: Final = (-1, -1)

_BUSY_LOOKS: Final = 10
"""Looks after which a call that computes is not waited for any longer."""

_QUIET_TICKS: Final = 20
"""Looks without any call in progress after which the monitor sleeps until it is rung."""


_CALM_LOOKS: Final = 200
_CALM_TICKS: Final = 4
_CALM_BUSY: Final = 4
"""After so many looks at which no call was blocked, none was computing for long and no core waited
for help, the monitor looks that many times less often: a look costs 40 microseconds, the thread's
wake-up and cold caches included."""

_LONE_LOOKS: Final = 20
"""Looks after which a spare thread waits at a core whose call lasts, although nobody else does."""


class Driven(Protocol):
    """What the scheduler sees of a core."""

    lock: threading.Lock
    """Held by the thread that drives. Any thread may try to acquire it."""
    calls: int
    """Application calls begun. Written by the driver, read by the monitor."""
    driver: int
    """Native id of the thread that drives or is inside the last call; 0: none, it was left by a
    driver that had to go elsewhere. A hint."""
    blocked: set[int]
    """Values of `calls` during calls found blocked. The monitor adds, drivers take out."""
    turns: int
    """Batches of events taken from the poller. Written by the driver, read by the monitor."""
    unwatched: bool
    """Set by the monitor before it sleeps; the driver that sees it clears it and rings."""
    parked: bool
    """The driver waits in the poller. A hint."""
    door: bool
    """The driver runs no requests. A hint."""

    def has_work(self) -> bool:
        """Whether an event waits to be taken up. Any thread."""

    def backlog(self) -> int:
        """Events taken from the poller and not yet looked at. A hint; any thread."""

    def drive_as_spare(self) -> None:
        """What a spare thread does with the core: drive it, if no other thread does by then."""

    def drive_at_door(self) -> None:
        """The same for a thread that must not run requests."""

    def hurry(self) -> None:
        """Have the responses that wait for others leave. Any thread."""

    def ask_help(self, victim: "Driven") -> None:
        """Ask this core's driver to drive `victim` for a turn. Any thread."""


Task = Callable[[], None]


def is_blocked(thread: int) -> bool:
    """Whether the thread with that native id waits for something other than a processor.

    True where the system does not tell (it does on Linux, proc(5)).
    """
    try:
        fd = os.open(f"/proc/self/task/{thread}/stat", os.O_RDONLY)
        try:
            stat = os.read(fd, 128)
        finally:
            os.close(fd)
        return stat[stat.rindex(b")") + 2 : stat.rindex(b")") + 3] != b"R"
    except (OSError, ValueError):
        return True


class _Slot:
    """Where one parked thread waits. Owner: the thread; `Spares` fills it once per wait."""

    __slots__ = ("task", "wakeup")

    def __init__(self) -> None:
        self.task: Task | None = None
        self.wakeup = threading.Lock()
        self.wakeup.acquire()


class Spares:
    """Threads that have no core to drive, the last one parked first.

    Any thread. Guarantees: a task offered is given to exactly one parked thread, or refused, or
    waits (first come, first served) for the next thread that parks or takes it; a thread that parks
    after `stop` returns at once. The lock guards the lists only; nobody waits while holding it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parked: list[_Slot] = []
        self._waiting: deque[Task] = deque()
        self._stopped = False
        self._dismissed = 0

    def park(self) -> Task | None:
        """Wait for something to do. None: the thread is not needed any more."""
        slot = _Slot()
        with self._lock:
            if self._stopped:
                return None
            if self._dismissed:
                self._dismissed -= 1
                return None
            if self._waiting:
                return self._waiting.popleft()
            self._parked.append(slot)
        slot.wakeup.acquire()
        return slot.task

    def offer(self, task: Task, *, wait: bool = False) -> bool:
        """Have a parked thread run `task`. False: none is parked; with `wait` the task waits."""
        with self._lock:
            if not self._parked:
                if wait:
                    self._waiting.append(task)
                return False
            slot = self._parked.pop()
        slot.task = task
        slot.wakeup.release()
        return True

    def take(self) -> Task | None:
        """The task that has waited longest, None for none."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def tasks(self) -> int:
        """How many wait. Not stale for what was offered before the caller said that it looks."""
        with self._lock:
            return len(self._waiting)

    def dismiss(self) -> None:
        """Let one thread go: a parked one, else the next one that parks."""
        with self._lock:
            if not self._parked:
                self._dismissed += 1
                return
            slot = self._parked.pop(0)
        slot.wakeup.release()

    def stop(self) -> None:
        """Let every parked thread go, and every later one at once."""
        with self._lock:
            self._stopped = True
            slots, self._parked = self._parked, []
        for slot in slots:
            slot.wakeup.release()

    def parked(self) -> int:
        """How many threads wait; already stale when it is read."""
        with self._lock:
            return len(self._parked)


class Slow:
    """Kinds of requests whose calls were long, so that the driver leaves the next one to others.

    Owner: the thread that holds the core. A kind is any hashable; the engine takes method
    and first path segment. Each blocked call raises a kind's score, each short one lowers it.
    """

    __slots__ = ("scores",)

    def __init__(self) -> None:
        self.scores: dict[object, int] = {}
        """Kinds with a score; empty as long as every call is short."""

    def is_slow(self, kind: object) -> bool:
        """Whether calls of that kind are to be expected to be long."""
        return self.scores.get(kind, 0) > _LEARN

    def was_long(self, kind: object) -> None:
        """A call of that kind was found blocked, or took longer than a tick where it ran apart."""
        if len(self.scores) < _KINDS or kind in self.scores:
            self.scores[kind] = min(self.scores.get(kind, 0) + _LEARN, _SURE)

    def was_short(self, kind: object) -> None:
        """A call of that kind took less than a tick."""
        score = self.scores.get(kind, 0) - 1
        if score > 0:
            self.scores[kind] = score
        else:
            self.scores.pop(kind, None)


class Monitor:
    """Looks at all cores once a tick, while any of them is inside the application.

    Owner: its own thread runs `run`; `ring` and `stop` are for any thread.

    No wake-up is lost: the monitor first marks every core `unwatched`, then clears the bell (a
    lock, so a full barrier), then looks at the cores once more and sleeps only if none is inside a
    call. A driver first begins the call, then releases its lock (again a barrier), then reads
    `unwatched`. One of the two always sees the other.
    """

    def __init__(
        self,
        cores: Sequence[Driven],
        spares: Spares,
        tick: float = TICK,
        blocked: Callable[[int], bool] = is_blocked,
        doormen: Spares | None = None,
    ) -> None:
        """`blocked`: whether the thread with that native id waits for something. `doormen`:
        threads that drive without running requests, where no other is left."""
        self._doormen = doormen
        self._blocked = blocked
        self._busy: dict[int, int] = {}
        """Per core, looks at which its present call was computing."""
        self._lone: dict[int, int] = {}
        """Per core, looks at which nobody waited for the end of its present call."""
        self._cores = cores
        self._spares = spares
        self._tick = tick
        self._bell = threading.Event()
        self._stopping = False
        self._seen: dict[int, tuple[int, int]] = {}
        self._turn = 0
        self._calm = 0
        """Looks in a row at which nothing was to be done."""
        self.ticks = 0
        """Looks so far."""

    def ring(self) -> None:
        """A core that was unwatched has begun a call. Any thread."""
        self._bell.set()

    def stop(self) -> None:
        """End `run`. Any thread."""
        self._stopping = True
        self._bell.set()

    def run(self) -> None:
        """Look, until `stop`. The body of the monitor's thread."""
        quiet = 0
        while not self._stopping:
            # Not a lock with a timeout: threads spin on those before they sleep.
            sleep(self._tick * (_CALM_TICKS if self._calm >= _CALM_LOOKS else 1))
            self.ticks += 1
            if self.look():
                quiet = 0
                continue
            quiet += 1
            if quiet >= _QUIET_TICKS and self._may_sleep():
                self._bell.wait()
                quiet = 0

    def look(self) -> bool:
        """One look: find help for cores that wait. False: no core is active."""
        active = False
        self._calm += 1
        for index, core in enumerate(self._cores):
            seen = (core.calls, core.turns)
            calls, turns = self._seen.get(index, _NEVER_SEEN)
            same_call = seen[0] == calls
            same_turn = seen[1] == turns
            self._seen[index] = seen
            if not core.lock.locked():
                active = True
                core.hurry()
                if not core.driver:
                    self._calm = 0
                    # Nobody is inside a call whose end could be waited for.
                    if core.has_work():
                        self._help(core, driverless=True)
                        continue
                    self._stand_by(index, core)
                elif not same_call:
                    self._busy[index] = self._lone[index] = 0
                elif not core.has_work():
                    self._stand_by(index, core)
                elif self._is_stuck(index, core, seen[0]):
                    self._help(core, driverless=True)
                    continue
            elif not same_call:
                active = True
            # More threads than processors would not help a driver that is merely busy, an idle core
            # does.
            if same_turn and core.backlog() and self._help(core, driverless=False):
                self._calm = 0
        return active

    def _stand_by(self, index: int, core: Driven) -> None:
        """Of a long call for whose end nobody waits: have a spare thread wait in the core's poller
        instead of looking every tick whether somebody has come."""
        self._lone[index] = self._lone.get(index, 0) + 1
        if self._lone[index] % _LONE_LOOKS == 0:
            self._spares.offer(core.drive_as_spare)

    def _is_stuck(self, index: int, core: Driven, call: int) -> bool:
        """Whether the call of a core is to be waited for no longer: it is blocked, or it has
        been computing for many looks. A thread that computes, or waits for a processor, would only
        be joined by one more: that helps the others on its core, but slows all down.
        """
        if self._blocked(core.driver):
            self._calm = 0
            if len(core.blocked) >= _KINDS:
                # Calls that ended as they were looked at: nobody takes those out.
                core.blocked.clear()
            core.blocked.add(call)
            return True
        self._busy[index] = self._busy.get(index, 0) + 1
        if self._busy[index] >= _CALM_BUSY:
            self._calm = 0
        return self._busy[index] >= _BUSY_LOOKS

    def _help(self, core: Driven, *, driverless: bool) -> bool:
        """Have somebody drive `core`, or take some of its work if it has a driver. False: there is
        nobody."""
        if driverless and self._spares.offer(core.drive_as_spare):
            return True
        self._turn += 1  # not always the same one
        others = [
            self._cores[(self._turn + step) % len(self._cores)] for step in range(len(self._cores))
        ]
        for other in others:
            if other is not core and other.parked and not other.door:
                other.ask_help(core)
                return True
        if driverless:
            if self._doormen is not None and self._doormen.offer(core.drive_at_door):
                return True
            for other in others:
                if other is not core and other.lock.locked():
                    other.ask_help(core)
                    return True
        return False

    def _may_sleep(self) -> bool:
        for core in self._cores:
            core.unwatched = True
        self._bell.clear()
        for index, core in enumerate(self._cores):
            if not core.lock.locked() or core.calls != self._seen.get(index, _NEVER_SEEN)[0]:
                return False
        return not self._stopping
