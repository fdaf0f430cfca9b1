"""Puts the engine into a world, from outside: what it calls is replaced, its code is not changed,
so the points cost nothing in production.

Points are all operations of its locks, events, semaphores, queues and pollers, all looks at and
changes of what a core lets other threads see, sleeping, and waiting for a socket. At the entrance
to everything that a core owns it is checked that whoever comes holds the core.
"""

import functools
import gc
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Final

from nogilserve.engine import acceptor, connection, driverless, exchange, giveway, scheduler
from nogilserve.engine.core import Core
from nogilserve.engine.http2.session import Session
from nogilserve.engine.loop import connection as loop_connection
from nogilserve.engine.loop import core as loop_core
from nogilserve.engine.loop import dispatch, websocket
from nogilserve.engine.loop.http2.exchange import StreamExchange as LoopStreamExchange
from nogilserve.engine.loop.http2.session import Session as LoopSession
from nogilserve.engine.loop.secure import SecureTransport
from nogilserve.engine.poller import make_poller
from nogilserve.engine.poller import wait_for as real_wait_for
from nogilserve.engine.secure import Handshake, SecureConnection
from nogilserve.engine.securesocket import SecureSocket
from nogilserve.runtimes import threads
from nogilserve.runtimes.daemon import daemon
from stress.stand_ins import PollerHere, SetHere, ThreadHere, queue_here, threading_here
from stress.world import Actor, World

__all__ = ["heard", "putting", "staged"]

_SEEN: Final = (
    *("calls", "unwatched", "parked", "wanted", "victim", "door", "stopping", "driver"),
    *("lookout", "watching"),
)
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
    Session: ("on_event", "advance", "go_on", "finish_sending", "settle", "on_deadline", "close"),
    Handshake: ("on_event", "receive", "answer", "stop", "close", "_begin", "_step", "_flush"),
    SecureConnection: ("go_ahead", "speak", "linger", "refuse", "on_deadline", "stop", "close"),
    acceptor.Acceptor: ("start", "stop", "on_event", "on_deadline", "adopt", "adopt_moved"),
    Core: ("drive", "_take_up", "_wait"),
}
"""Methods that only the thread which holds the core may call, by class."""
_AT_HOME: Final[dict[type, tuple[str, ...]]] = {
    loop_core.LoopCore: ("_adopt", "opened", "closed", "check_idle", "stop", "set_deadline"),
    websocket.WebSocketSession: ("send_text", "send_bytes", "close", "next_message", "stop"),
    loop_connection.HttpConnection: ("data_received", "connection_lost", "stop"),
    SecureTransport: ("data_received", "_queue", "answer", "write", "close", "abort"),
    LoopSession: ("data_received", "flush_soon", "responded", "over", "leave", "on_deadline"),
    LoopStreamExchange: ("add", "lost", "read_body", "send_data", "send_end", "abort"),
}
"""Methods that only the thread of the loop may call."""
_ALONE: Final = ("recv", "take_rest", "send", "sendmsg", "shutdown", "close")
"""Methods of a socket that speaks TLS, of which only one may be called at a time."""
_INSIDE: Final = ("_read", "_push", "_flush", "_say_goodbye")
"""Steps of these, between which somebody else may come."""


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
        Core.wake(self)

    parts = {name: watched(name) for name in _SEEN}
    space = {"__slots__": (), "__init__": made, "wake": wake, **parts}
    return type("PointedCore", (Core,), space)


def _poller(world: World, name: str, kind: str = "auto") -> PollerHere:
    return PollerHere(world, make_poller(kind), name)


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


def _at_home(world: World, method: Callable[..., Any]) -> Callable[..., Any]:
    """`method` of something that belongs to a loop, refused to any other thread."""

    @functools.wraps(method)
    def checked(self: Any, *arguments: Any, **named: Any) -> Any:
        home = self if isinstance(self, loop_core.LoopCore) else _core_of(self)
        if home.thread != threading.get_ident():
            world.fail(f"{method.__qualname__} by {world.me().name}, not by loop {home.index}")
        return method(self, *arguments, **named)

    return checked


def _core_of(thing: Any) -> loop_core.LoopCore:
    core: loop_core.LoopCore = thing._core if isinstance(thing, SecureTransport) else thing.core
    return core


def _alone(world: World, method: Callable[..., Any], users: dict[int, Actor]) -> Any:
    """`method` of a socket that speaks TLS, refused while somebody else is inside it."""

    @functools.wraps(method)
    def checked(self: Any, *arguments: Any, **named: Any) -> Any:
        if not world.is_actor():
            return method(self, *arguments, **named)
        me, user = world.me(), users.get(id(self))
        if user is me:
            return method(self, *arguments, **named)
        if user is not None:
            world.fail(f"{method.__qualname__} by {me.name}, while {user.name} is inside")
        users[id(self)] = me
        try:
            return method(self, *arguments, **named)
        finally:
            del users[id(self)]

    return checked


def _step(world: World, method: Callable[..., Any]) -> Callable[..., Any]:
    """`method` with a point before it."""
    name = f"secure.{method.__name__.strip('_')}"

    @functools.wraps(method)
    def checked(*arguments: Any, **named: Any) -> Any:
        if world.is_actor():
            world.point(name)
        return method(*arguments, **named)

    return checked


def _submitting(world: World) -> Callable[..., Any]:
    """`LoopCore.submit` with a point before it."""
    real = loop_core.LoopCore.__dict__["submit"]

    def submit(self: Any, *arguments: Any) -> Any:
        world.point("loop.submit")
        return real(self, *arguments)

    return submit


def _modules() -> list[Any]:
    """The modules that run in a world. Pollers are asked by the world itself."""
    return [
        module
        for name, module in sys.modules.items()
        if name.startswith(("nogilserve.engine.", "nogilserve.runtimes."))
        and name != "nogilserve.engine.poller"
    ]


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
def heard(world: World, *names: str) -> Iterator[None]:
    """While inside, internal errors in these logs are failures of `world`."""
    ear = _Ear(world)
    logs = [logging.getLogger(name) for name in names]
    # Of the application, on purpose, and about tasks that a failure leaves behind.
    noisy = [logging.getLogger(name) for name in ("nogilserve.error", "asyncio")]
    propagate = [log.propagate for log in logs]
    for log in logs:
        log.propagate = False
        log.addHandler(ear)
    quiet = [logger.disabled for logger in noisy]
    for logger in noisy:
        logger.disabled = True
    try:
        yield
    finally:
        for log, before in zip(logs, propagate, strict=True):
            log.removeHandler(ear)
            log.propagate = before
        for logger, before in zip(noisy, quiet, strict=True):
            logger.disabled = before


@contextmanager
def putting() -> Iterator[Callable[[Any, str, Any], None]]:
    """Replaces attributes of modules and classes as long as one is inside."""
    changed: list[tuple[Any, str, Any]] = []

    def put(where: Any, name: str, what: Any) -> None:
        changed.append((where, name, where.__dict__[name]))
        setattr(where, name, what)

    try:
        yield put
    finally:
        for where, name, what in reversed(changed):
            setattr(where, name, what)


@contextmanager
def staged(world: World) -> Iterator[None]:
    """While inside, whatever the engine makes belongs to `world`."""
    with putting() as put:
        _stage(world, put)
        collecting = gc.isenabled()
        gc.disable()  # what it ends would end at another place each time
        try:
            with heard(world, "nogilserve.engine", "nogilserve.tls"):
                yield
        finally:
            if collecting:
                gc.enable()


def _stage(world: World, put: Callable[[Any, str, Any], None]) -> None:
    def wait_for(fd: int, mask: int, timeout: float) -> bool:
        ready = functools.partial(real_wait_for, fd, mask, 0)
        return world.wait("exchange.wait", ready, timeout)

    here_threading = threading_here(world)
    stand_ins = {
        ("threading", threading): here_threading,
        ("Event", threading.Event): here_threading.Event,
        ("queue", queue): queue_here(world),
        ("monotonic", time.monotonic): world.clock,
        ("time", time.time): world.clock,
        ("gc", gc): SimpleNamespace(collect=int, freeze=int, unfreeze=int),
        ("daemon", daemon): lambda target, name: ThreadHere(world, target, name),
    }
    for module in _modules():
        for (name, real), here in stand_ins.items():
            if module.__dict__.get(name) is real:
                put(module, name, here)
    put(giveway, "give_way", lambda: world.point("core.give_way"))
    put(scheduler, "sleep", functools.partial(world.sleep, "monitor.sleep"))
    put(exchange, "wait_for", wait_for)
    put(threads, "Core", _pointed(world))
    put(loop_core.LoopCore, "submit", _submitting(world))
    for module, name in ((dispatch, "dispatcher"), (driverless, "driverless")):
        put(module, "make_poller", functools.partial(_poller, world, name))
    for cls, names in _OWNED.items():
        for name in names:
            method = cls.__dict__[name]
            place = 0 if cls is Core else method.__code__.co_varnames.index("core")
            put(cls, name, _owning(world, method, place))
    for cls, names in _AT_HOME.items():
        for name in names:
            put(cls, name, _at_home(world, cls.__dict__[name]))
    users: dict[int, Actor] = {}
    for name in _ALONE:
        put(SecureSocket, name, _alone(world, SecureSocket.__dict__[name], users))
    for name in _INSIDE:
        put(SecureSocket, name, _step(world, SecureSocket.__dict__[name]))
