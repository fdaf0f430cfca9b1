"""Puts the engine into a world, from outside: what it calls is replaced, its code is not changed,
so the points cost nothing in production.

Points are all operations of its locks, events, semaphores, queues and pollers, all looks at and
changes of what a core lets other threads see, sleeping, and waiting for a socket. At the entrance
to everything that a core owns it is checked that whoever comes holds the core.
"""

import functools
import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Final

from nogilserve.engine import acceptor, connection, core, exchange, giveway, scheduler, timeouts
from nogilserve.engine.core import Core
from nogilserve.engine.poller import wait_for as real_wait_for
from nogilserve.runtimes import threads
from stress.stand_ins import PollerHere, SetHere, ThreadHere, queue_here, threading_here
from stress.world import World

__all__ = ["staged"]

_SEEN: Final = ("calls", "unwatched", "parked", "wanted", "victim", "door", "stopping", "driver")
"""Attributes of a core that other threads read or write."""
_OWNED: Final = {
    connection.Connection: (
        "start",
        "on_event",
        "advance",
        "resume",
        "_begin_body",
        "_read_body",
        "_collect",
        "_after",
        "_go_on",
        "_begin_writing",
        "_write_on",
        "_responded",
        "refuse",
        "_begin_linger",
        "_linger_on",
        "on_deadline",
        "stop",
        "close",
        "take_back",
        "time_out",
        "_set_deadline",
        "_watch",
        "_drop_outbox",
    ),
    acceptor.Acceptor: ("start", "stop", "on_event", "on_deadline", "adopt", "adopt_moved"),
    Core: ("drive", "_take_up", "_wait"),
}
"""Methods that only the thread which holds the core may call, by class."""


def _pointed(world: World) -> type[Core]:
    """A core whose shared attributes are points."""

    def watched(name: str) -> property:
        slot = Core.__dict__[name]

        def read(self: Core) -> Any:
            if world.is_actor():
                world.point(f"core.{name}")
            return slot.__get__(self)

        def write(self: Core, value: Any) -> None:
            if world.is_actor():
                world.point(f"core.{name}=")
            slot.__set__(self, value)

        return property(read, write)

    def made(self: Any, *arguments: Any) -> None:
        Core.__init__(self, *arguments)
        world.made.append(self)
        self.poller = PollerHere(world, self.poller, "core")
        self.blocked = SetHere(world, "core.blocked")

    def wake(self: Any) -> None:
        world.point("core.wake")
        Core._wake(self)

    parts = {name: watched(name) for name in _SEEN}
    space = {"__slots__": (), "__init__": made, "_wake": wake, **parts}
    return type("PointedCore", (Core,), space)


def _owning(world: World, method: Callable[..., Any], place: int) -> Callable[..., Any]:
    """`method`, refused to whoever does not hold the core at that place of its arguments."""

    @functools.wraps(method)
    def checked(*arguments: Any, **named: Any) -> Any:
        held: Any = arguments[place].lock
        if world.is_actor() and held.holder is not world.me():
            holder = held.holder.name if held.holder is not None else "nobody"
            world.fail(f"{method.__qualname__} by {world.me().name}, but {holder} holds the core")
        return method(*arguments, **named)

    return checked


class _Ear(logging.Handler):
    """Turns what must never be logged into a failure. Any actor."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        """Called by logging."""
        if "internal error" in record.getMessage():
            text = record.getMessage()
            if record.exc_info:
                text += "\n" + logging.Formatter().formatException(record.exc_info)
            if "stress.world.Abort" not in text:
                self._world.failures.append(text)


@contextmanager
def staged(world: World) -> Iterator[None]:
    """While inside, whatever the engine makes belongs to `world`."""
    changed: list[tuple[Any, str, Any]] = []

    def put(where: Any, name: str, what: Any) -> None:
        changed.append((where, name, where.__dict__[name]))
        setattr(where, name, what)

    def wait_for(fd: int, mask: int, timeout: float) -> bool:
        ready = functools.partial(real_wait_for, fd, mask, 0)
        return world.wait("exchange.wait", ready, timeout)

    here, queues = threading_here(world), queue_here(world)
    for module in (scheduler, core, timeouts, threads):
        put(module, "threading", here)
    put(threads, "queue", queues)
    for module in (core, connection, giveway, timeouts, threads):
        put(module, "monotonic", world.clock)
    put(core, "time", world.clock)
    put(giveway, "give_way", lambda: world.point("core.give_way"))
    put(scheduler, "sleep", functools.partial(world.sleep, "monitor.sleep"))
    put(exchange, "wait_for", wait_for)
    put(threads, "Core", _pointed(world))
    put(threads, "daemon", lambda target, name: ThreadHere(world, target, name))
    put(threads, "gc", SimpleNamespace(collect=int, freeze=int, unfreeze=int))
    for cls, names in _OWNED.items():
        for name in names:
            method = cls.__dict__[name]
            place = 0 if cls is Core else method.__code__.co_varnames.index("core")
            put(cls, name, _owning(world, method, place))
    ear, log = _Ear(world), logging.getLogger("nogilserve.engine")
    errors = logging.getLogger("nogilserve.error")  # of the application, on purpose
    propagate, log.propagate = log.propagate, False
    quiet, errors.disabled = errors.disabled, True
    log.addHandler(ear)
    collecting = gc.isenabled()
    gc.disable()  # what it ends would end at another place each time
    try:
        yield
    finally:
        if collecting:
            gc.enable()
        log.removeHandler(ear)
        log.propagate = propagate
        errors.disabled = quiet
        for where, name, what in reversed(changed):
            setattr(where, name, what)
