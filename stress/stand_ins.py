"""What takes the place of `threading`, `queue` and pollers in a world: the same behaviour, with
points, and no actor ever blocks for real."""

import sys
import threading
from collections import deque
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from nogilserve.engine.poller import Events, Poller
from stress.world import Actor, World

__all__ = ["PollerHere", "QueueHere", "SetHere", "ThreadHere", "queue_here", "threading_here"]

_SIGNAL: Final = "_Slot"
"""Locks made there are signals: whoever waits for one does not hold it."""
_SHORT: Final = {"Core": "core", "LoopCore": "loop"}


def _maker() -> str:
    """The class whose constructor makes a lock."""
    name = sys._getframe(2).f_code.co_qualname.split(".")[0]
    return _SHORT.get(name, name)


class LockHere:
    """threading.Lock. Any actor; knows who holds it."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self.name = name
        self.holder: Actor | None = None
        self._held = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As that of threading.Lock."""
        world = self._world
        if not world.is_actor():
            self._held = True
            return True
        world.point(f"{self.name}.lock.acquire")
        if self._held:
            if not blocking:
                return False
            limit = None if timeout < 0 else timeout
            if not world.wait(f"{self.name}.lock.wait", lambda: not self._held, limit):
                return False
        self._held = True
        self.holder = me = world.me()
        if self.name != _SIGNAL:
            me.holds.append(self.name)
        return True

    def release(self) -> None:
        """As that of threading.Lock."""
        if not self._held:
            if self._world.aborted:
                return
            raise RuntimeError("release unlocked lock")
        holder, self.holder = self.holder, None
        if holder is not None and self.name != _SIGNAL:
            holder.holds.remove(self.name)
        self._held = False
        if self._world.is_actor():
            self._world.point(f"{self.name}.lock.release")

    def locked(self) -> bool:
        """As that of threading.Lock."""
        if self._world.is_actor():
            self._world.point(f"{self.name}.lock.look")
        return self._held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class EventHere:
    """threading.Event. Any actor."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name
        self._set = False

    def is_set(self) -> bool:
        """Whether it is."""
        return self._set

    def set(self) -> None:
        """Wake all who wait."""
        if self._world.is_actor():
            self._world.point(f"{self._name}.event.set")
        self._set = True

    def clear(self) -> None:
        """Make later ones wait."""
        self._world.point(f"{self._name}.event.clear")
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for `set`."""
        return self._world.wait(f"{self._name}.event.wait", lambda: self._set, timeout)


class SemaphoreHere:
    """threading.Semaphore. Any actor."""

    def __init__(self, world: World, name: str, value: int = 1) -> None:
        self._world = world
        self._name = name
        self._value = value

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take one."""
        self._world.point(f"{self._name}.semaphore.acquire")
        if not self._value:
            if not blocking:
                return False
            name = f"{self._name}.semaphore.wait"
            if not self._world.wait(name, lambda: self._value, timeout):
                return False
        self._value -= 1
        return True

    def release(self) -> None:
        """Give one."""
        self._value += 1
        self._world.point(f"{self._name}.semaphore.release")


class QueueHere:
    """queue.SimpleQueue. Any actor."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._items: deque[Any] = deque()

    def put(self, item: Any) -> None:
        """Append."""
        self._items.append(item)
        if self._world.is_actor():
            self._world.point("queue.put")

    def empty(self) -> bool:
        """Whether nothing is in it."""
        return not self._items

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the first, waiting for one; IndexError stands for queue.Empty, see `queue_here`."""
        self._world.wait("queue.get", lambda: self._items, timeout)
        return self._items.popleft()

    def get_nowait(self) -> Any:
        """Take the first, or raise."""
        self._world.point("queue.get")
        return self._items.popleft()


class ThreadHere:
    """threading.Thread as the runtimes use it. Any actor."""

    def __init__(self, world: World, target: Callable[[], object], name: str) -> None:
        self._world = world
        self._target = target
        self._name = name
        self._actor: Actor | None = None

    def start(self) -> None:
        """An actor from now on."""
        self._actor = self._world.spawn(self._name, self._target)
        self._world.point("thread.start")

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        actor = self._actor
        if actor is not None:
            self._world.wait("thread.join", lambda: actor.done, timeout)

    def is_alive(self) -> bool:
        """Whether it has begun and not ended."""
        return self._actor is not None and not self._actor.done

    @property
    def ident(self) -> int | None:
        """None before it was started."""
        return None if self._actor is None else (self._actor.thread.ident or 0)


class PollerHere:
    """A poller that does not block for real. Owner: as that of the real one."""

    def __init__(self, world: World, real: Poller, name: str) -> None:
        self._world = world
        self._real = real
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def poll(self, timeout: float) -> Events:
        """Wait in the world."""
        world = self._world
        if timeout == 0:
            world.point(f"{self._name}.poll")
        else:
            limit = None if timeout < 0 else timeout
            world.wait(f"{self._name}.poll.wait", self._real.peek, limit)
        return self._real.poll(0)

    def peek(self) -> bool:
        """Look."""
        if self._world.is_actor():
            self._world.point(f"{self._name}.peek")
        return self._real.peek()


class SetHere(set[int]):
    """A set whose operations are points. Any actor."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__()
        self._world = world
        self._name = name

    def add(self, item: int) -> None:
        """As that of set."""
        self._world.point(f"{self._name}.add")
        super().add(item)

    def remove(self, item: int) -> None:
        """As that of set."""
        self._world.point(f"{self._name}.remove")
        super().remove(item)


def threading_here(world: World) -> Any:
    """What the engine knows of the module threading."""
    here = ModuleType("threading")
    here.__dict__.update(threading.__dict__)
    here.__dict__.update(
        Lock=lambda: LockHere(world, _maker()),
        Event=lambda: EventHere(world, _maker()),
        Semaphore=lambda value=1: SemaphoreHere(world, _maker(), value),
    )
    return here


def queue_here(world: World) -> Any:
    """What the engine knows of the module queue."""
    here = ModuleType("queue")
    here.__dict__.update(SimpleQueue=lambda: QueueHere(world), Empty=IndexError)
    return here
