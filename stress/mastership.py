"""The master in a world: its own thread and queue, its rules and its desk are the real ones; the
processes of generations are actors that say what real ones say, and die when they are told to."""

import errno
import signal
import tempfile
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from nogilserve.config import Bind, Config
from nogilserve.supervise import control, master
from nogilserve.supervise.control import Request
from nogilserve.supervise.handover import Launch
from nogilserve.supervise.master import Master
from stress.staging import heard, putting
from stress.stand_ins import ThreadHere, queue_here
from stress.world import Failure, World

__all__ = ["Office", "perform"]

_SERVED: Final = {
    **dict.fromkeys(("version", "python", "build", "gil", "app", "interface", "how"), ""),
    "switched_on": False,
    "culprits": (),
}
_NO_SOCKET: Final = "/dev/null/control"
"""Requests are put on the master's queue here: nobody opens a control socket."""


class _Killed(Exception):
    """The process has got a signal."""


class ProcessHere:
    """A generation's process, in place of `Child`. Owner: whoever has the baton."""

    def __init__(self, office: "Office", number: int, *_: Any) -> None:
        if office.scarce:
            office.scarce -= 1
            raise OSError(errno.EAGAIN, "no process can be started")
        self.number = self.pid = number
        self.served: dict[str, Any] = {}
        self.stopped = False
        self.board = SimpleNamespace(read=dict)
        self.version = 0
        """Of the code that it has imported."""
        self._office = office
        self._world = office.world
        self._orders: deque[str] = deque()
        self._signal = 0
        ThreadHere(office.world, self._live, f"process-{number}").start()

    # ---- what the master calls

    def send(self, name: str, **data: Any) -> None:
        """A message for it."""
        self._world.point("master.send")
        self._orders.append(name)

    def give(self, listeners: Any) -> None:
        """The listening sockets."""
        self.send("accept")

    def kill(self, *, gently: bool = False) -> None:
        """A signal for it."""
        self._world.point("master.kill")
        self._signal = signal.SIGINT if gently else signal.SIGKILL

    def close(self) -> None:
        """It is gone."""

    # ---- its life

    def _live(self) -> None:
        status = 1
        try:
            status = self._serve()
        except _Killed:
            status = -self._signal
        self._office.stops(self)
        self._tell("exited", status)

    def _serve(self) -> int:
        office = self._office
        self._pass("process.start", 0.01)
        self.version = office.version
        self._pass("process.import", 0.05)
        if self.version in office.broken:
            self._say("failed", message="the code is broken", kind="app", detail="")
            self._pass("process.fail", 0.01)
            return 1
        self._say("loaded", served=_SERVED)
        self._await("accept")
        self._pass("process.open", 0.01)
        office.accepts(self)
        self._say("ready", how="")
        self._await("drain", "cut")
        office.stops(self)
        self._say("stopped")
        self._pass("process.drain", 0.03)
        return 0

    def _say(self, name: str, **data: Any) -> None:
        self._tell("message", {"name": name, **data})

    def _tell(self, kind: str, more: Any) -> None:
        self._office.master.events.put((kind, self.number, more))

    def _pass(self, name: str, seconds: float) -> None:
        if self._world.wait(name, lambda: self._signal, seconds):
            raise _Killed

    def _await(self, *orders: str) -> None:
        while True:
            self._world.wait("process.orders", lambda: self._signal or self._orders)
            if self._signal:
                raise _Killed
            if self._orders.popleft() in orders:
                return


class Office:
    """A master, and those who want newer code from it. Owner: whoever has the baton."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.version = 1
        """Of the code that lies there now."""
        self.broken: set[int] = set()
        """Versions that cannot be imported."""
        self.scarce = 0
        """So many times the system has no room for a further process."""
        self._accepting: dict[int, ProcessHere] = {}
        self._begun = False
        bind = Bind("unix", path=str(folder / "s"))
        config = Config(app="main:app", binds=(bind,), control_socket=_NO_SOCKET)
        self.master = Master(config, Launch((), str(folder), {}))

    # ---- what processes call

    def accepts(self, process: ProcessHere) -> None:
        """It takes connections from now on."""
        self._begun = True
        self._accepting[process.number] = process

    def stops(self, process: ProcessHere) -> None:
        """It takes no more."""
        was = self._accepting.pop(process.number, None)
        if was is not None and not self._accepting and not self.master.machine.stopping:
            self.world.fail(f"generation {process.number} has stopped, and nobody accepts")

    # ---- what guests call

    def deploy(self, *, broken: bool = False) -> int:
        """Newer code; its version."""
        self.world.point("guest.deploy")
        self.version += 1
        if broken:
            self.broken.add(self.version)
        return self.version

    def hang_up(self) -> None:
        """SIGHUP."""
        self.master.events.put(("signal", signal.SIGHUP, None))

    def reload(self) -> tuple[bool, str]:
        """What `nogilserve reload` does: whether it succeeded, and what it says."""
        request = Request("reload")
        self.master.events.put(("control", 0, request))
        if not self.world.wait("guest.answer", lambda: not request._answer.empty(), 100.0):
            self.world.fail("a reload was never answered")
        answer = request.wait()
        return answer["ok"], answer["text"]

    @property
    def newest(self) -> int:
        """The version that most recently began to take connections."""
        return self._accepting[max(self._accepting)].version

    # ---- the play

    def play(self, *guests: Callable[["Office"], None]) -> None:
        """Serve, have the guests come, wait until all is quiet, stop. The first actor's body."""
        world = self.world
        actor = ThreadHere(world, self._run, "master")
        actor.start()
        world.wait("office.begun", lambda: self._begun)
        visitors = [
            ThreadHere(world, partial(guest, self), f"guest-{number}")
            for number, guest in enumerate(guests)
        ]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join()
        if not world.wait("office.quiet", self._quiet, 300.0):
            world.fail(f"there is no end of it: {self.master.machine}")
        if self.version not in self.broken and self.newest != self.version:
            world.fail(f"version {self.version} lies there, and {self.newest} is served")
        self.master.events.put(("signal", signal.SIGTERM, None))
        actor.join()
        if self._accepting or self.master.children:
            world.fail(f"processes stay: {list(self.master.children)}")

    def _quiet(self) -> bool:
        """Whether one generation is all there is, and nothing waits to be done."""
        machine, events = self.master.machine, self.master.events
        states = [str(generation.state) for generation in machine.generations.values()]
        return states == ["serving"] and events.empty() and machine.retry_at is None

    def _run(self) -> None:
        try:
            self.master.run()
        finally:
            self.master.close()


def perform(world: World, *guests: Callable[[Office], None]) -> None:
    """One execution. Raises Failure."""
    here = queue_here(world)
    with (
        tempfile.TemporaryDirectory(prefix="stress-") as folder,
        putting() as put,
        heard(world, "nogilserve"),
    ):
        for module in (master, control):
            put(module, "queue", here)
        put(master, "monotonic", world.clock)
        put(master, "sleep", partial(world.sleep, "master.sleep"))
        put(Master, "_catch_signals", lambda _: None)
        office = Office(world, Path(folder))
        put(master, "Child", lambda number, *_: ProcessHere(office, number))
        world.spawn("main", partial(office.play, *guests))
        try:
            world.run()
        finally:
            office.master.holdings.close()
        if world.failures:
            raise Failure(world.failures[0])
