"""The thread runtime: one process, one copy of the application, all cores in it."""

import itertools
import logging
import queue
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import Any

from nogilserve.engine.acceptor import Acceptor
from nogilserve.engine.connection import Connection
from nogilserve.engine.core import Core
from nogilserve.engine.counters import total
from nogilserve.engine.driverless import Driverless
from nogilserve.engine.meter import Inside
from nogilserve.engine.preamble import Beginning
from nogilserve.engine.roles import PLAIN, ListeningSocket
from nogilserve.engine.scheduler import Monitor, Spares
from nogilserve.engine.settings import Settings
from nogilserve.engine.shares import Shares
from nogilserve.engine.takeover import Successor
from nogilserve.engine.timeouts import Home, Watch
from nogilserve.prepare import NOTHING, Plan, Preparation
from nogilserve.runtimes.contract import Served
from nogilserve.runtimes.daemon import daemon
from nogilserve.runtimes.httpsport import learn
from nogilserve.runtimes.looking import Look, inside_of
from nogilserve.runtimes.looking_cores import look_at_cores
from nogilserve.runtimes.stacks import write_stacks

__all__ = ["ThreadRuntime"]

_log = logging.getLogger("nogilserve.engine")


@dataclass(frozen=True, slots=True)
class _Within:
    """Stands for the listening socket of connections from inside. Immutable."""

    socket: socket.socket
    """One of the same kind as the connection's."""
    server: tuple[str, str] = ("localhost", "80")
    role: str = PLAIN


class ThreadRuntime:
    """Cores, their home threads, the spare threads and the monitor.

    Owner: the thread that made it; `snapshot` is for any thread.
    """

    def __init__(
        self,
        settings: Settings,
        served: Served,
        shares: Shares | None = None,
        plan: Plan = NOTHING,
    ) -> None:
        """`shares`: where connections are counted, where somebody else wants to know; `plan`: what
        is done before anything is accepted."""
        self.served = served
        self._preparation = Preparation(plan)
        self._spares = Spares()
        self._shares = shares or Shares(settings.cores)
        # A client that sends its body while the application waits for it holds a thread; half of
        # the threads stay free of such clients.
        lazy = max(1, settings.threads // 2)
        self._watch: Watch | None = None
        if settings.timeout:
            lazy = 0  # nobody but the core may touch a connection whose application is given up
            self._watch = Watch(settings.timeout, self._replace, self._spares.dismiss)
            settings = replace(settings, gateway=self._watch.wrap(settings.gateway))
        self._lazy = threading.Semaphore(lazy)
        self._settings = settings
        self._cores: list[Core] = []
        self._doormen = Spares()
        self._monitor = Monitor(self._cores, self._spares, doormen=self._doormen)
        self._made: queue.SimpleQueue[Core | BaseException] = queue.SimpleQueue()
        self._driverless: Driverless | None = None
        self._complete = threading.Event()
        """All cores are made, or making one has failed and `_cores` is empty."""
        self._homes = [
            daemon(partial(self._home, index), f"core-{index}") for index in range(settings.cores)
        ]
        self._others = [
            daemon(self._spare, f"spare-{index}")
            for index in range(settings.threads - settings.cores)
        ]
        self._spare_threads = len(self._others)
        self._numbers = itertools.count(self._spare_threads)
        # Where requests are limited, one for each core answers while all others are in the
        # application.
        self._doorkeepers = [
            daemon(self._keep_door, f"door-{index}")
            for index in range(settings.cores if settings.limit_concurrency else 0)
        ]
        self._watcher = daemon(self._monitor.run, "monitor")
        self._acceptors: list[tuple[Core, Acceptor]] = []
        self._stopped = threading.Semaphore(0)
        """Released once by each acceptor that has stopped."""
        self._on_stopped: Callable[[], None] = lambda: None
        self._time_keeper: threading.Thread | None = None
        self._draining = self._patient = False

    def start(self, listeners: Sequence[ListeningSocket]) -> None:
        """Begin to serve.

        Raises what making a core raises: ConfigError for a poller that this system lacks, OSError.
        """
        for thread in self._homes:
            thread.start()
        made = [self._made.get() for _ in self._homes]
        failures = [outcome for outcome in made if isinstance(outcome, BaseException)]
        cores = [outcome for outcome in made if isinstance(outcome, Core)]
        if failures:
            self._complete.set()
            for core in cores:
                core.close()
            raise failures[0]
        self._cores.extend(sorted(cores, key=lambda core: core.index))
        for core in cores:
            core.crowd = tuple(self._cores)
        if len(cores) > 1:
            self._driverless = Driverless(self._cores, self._settings.poller)
        self._complete.set()
        for thread in (*self._others, *self._doorkeepers, self._watcher):
            thread.start()
        if self._watch is not None:
            self._time_keeper = daemon(self._watch.run, "timeouts")
            self._time_keeper.start()
        dials = [partial(self._dial, core) for core in self._cores]
        self._preparation.run(dials, self._active, daemon)
        self.accept(listeners)

    def accept(self, listeners: Sequence[ListeningSocket]) -> None:
        """After `start`: watch these listening sockets too."""
        learn(listeners)
        for core in self._cores:
            for listener in listeners:
                acceptor = Acceptor(listener, self._cores)
                self._acceptors.append((core, acceptor))
                core.submit(acceptor.start)

    def _dial(self, core: Core) -> socket.socket:
        """A connection to that core, from inside; the client's end."""
        client, server = socket.socketpair()
        address = client.getsockname()
        acceptor = Acceptor(_Within(client), self._cores)
        self._shares.take(core.index)
        core.submit(partial(_adopt, acceptor, server.detach(), address))
        return client

    def drain(
        self, on_stopped: Callable[[], None] = lambda: None, *, patient: bool = False
    ) -> None:
        """Stop accepting; idle connections end, the others after their response. See `join`.

        `join` calls `on_stopped` as soon as no core watches the listening sockets any more.
        `patient`: idle connections may ask once more until their keep-alive time is over; a later
        `drain` without it ends them.
        """
        self._patient = patient
        if self._draining:
            if not self._acceptors:
                self._stop_cores()
            return
        self._draining = True
        self._on_stopped = on_stopped
        for core, acceptor in self._acceptors:
            core.submit(partial(_stop_accepting, acceptor, self._stopped))

    def join(self, deadline: float) -> bool:
        """After `drain`: wait until everything is done, at most until `deadline` (monotonic).

        False: it is not yet; call again.
        """
        # A core may accept for another one: none ends before all have stopped accepting.
        while self._acceptors:
            if not self._stopped.acquire(timeout=max(deadline - monotonic(), 0)):
                return False
            self._acceptors.pop()
            if not self._acceptors:
                self._stop_cores()
                self._on_stopped()
        for thread in self._homes:
            thread.join(max(deadline - monotonic(), 0))
            if thread.is_alive():
                return False
        self._spares.stop()
        self._doormen.stop()
        self._monitor.stop()
        if self._watch is not None:
            self._watch.stop()
        last = [self._watcher, *self._doorkeepers, *filter(None, [self._time_keeper])]
        for thread in (*list(self._others), *last):
            thread.join(max(deadline - monotonic(), 0))
            if thread.is_alive():
                return False
        if self._driverless is not None:
            self._driverless.close()
        for core in self._cores:
            core.close()
        self._preparation.undo()
        return True

    def change_threads(self, change: int) -> int:
        """Add that many threads, or let some go as they become free; how many there are now.

        Each core keeps one. The owner's thread, between `start` and `drain`.
        """
        spare = max(self._spare_threads + change, 0)
        for _ in range(self._spare_threads, spare):
            self._start(self._spare)
        for _ in range(spare, self._spare_threads):
            self._spares.dismiss()
        self._spare_threads = spare
        return self._settings.cores + spare

    def _stop_cores(self) -> None:
        for core in self._cores:
            core.submit(partial(_stop_core, self._patient))

    def abandon(self) -> None:
        """Threads cannot be ended from outside: they end with the process."""

    @property
    def accepting(self) -> bool:
        """Whether some core still watches the listening sockets."""
        return bool(self._acceptors)

    def snapshot(self) -> dict[str, Any]:
        """The counters of all cores together. Any thread."""
        now = total(core.counters for core in self._cores)
        now["active"] = self._active()
        now["stuck"] = self._watch.stuck if self._watch is not None else 0
        now["abandoned"] = self._preparation.abandoned
        now["connections"] = sum(self._shares.counts())
        now["idle"] = max(now["connections"] - now["active"], 0)
        return now

    def _active(self) -> int:
        """Requests inside the application. Any thread."""
        return sum(core.calls - core.counters.requests for core in self._cores)

    @property
    def prepared(self) -> Mapping[str, Any]:
        """What was done to the application before it was served. Any thread."""
        return self._preparation.done

    def look(self) -> Look:
        """What it does now, in detail. Any thread."""
        return look_at_cores(self._cores, [*self._homes, *self._others], self.unfinished())

    def settle(self) -> None:
        """For whoever stays inside the application for long: have a spare thread drive, although
        nothing waits. Until then the monitor looks at the core every millisecond. Any thread."""
        for core in self._cores:
            core.submit(_nothing)

    def inside(self) -> list[tuple[int, int, Inside]]:
        """What is inside the application, where somebody watches; see `inside_of`. Any thread."""
        return inside_of(self._cores)

    def unfinished(self) -> int:
        """Connections that are still open, but for those that the server itself has given up
        while it warmed up. Any thread."""
        open_now = sum(self._shares.counts())
        return open_now - self._preparation.abandoned  # in this order, else it could be negative

    def running(self) -> list[str]:
        """The requests inside the application, "GET /path" each. Any thread."""
        requests = []
        for core in self._cores:
            for entry in list(core.table.values()):
                if isinstance(entry, Connection) and entry.busy:
                    requests.append(f"{entry.request.method} {entry.request.target}")
                elif isinstance(entry, Successor):
                    requests += entry.running()
        return requests

    def dump_stacks(self) -> None:
        """Write the stacks of all threads to standard error."""
        write_stacks()

    # ---- threads

    def _ring(self) -> None:
        self._monitor.ring()

    def _home(self, index: int) -> None:
        """The body of a core's home thread: make it, drive it, help others when it is idle.

        It makes the core because a thread is quickest with objects that it has made itself.
        """
        try:
            core = Core(index, self._settings, self._shares, self._spares, self._lazy, self._ring)
        except BaseException as exc:  # raised by `start`
            self._made.put(exc)
            return
        self._made.put(core)
        self._complete.wait()
        while self._cores:
            while (task := self._spares.take()) is not None:
                task()
            core.await_turn()
            if core.drive(home=True):
                if core.finished():
                    core.lock.release()
                    return
                core.leave_to_help()

    def _replace(self, core: Home) -> None:
        """Start a thread in place of one that is stuck in a call from `core`."""

        def body() -> None:
            core.drive_as_spare()
            self._spare()

        self._start(body)

    def _start(self, body: Callable[[], None]) -> None:
        """Start a thread that becomes a spare one. Any thread: single operations of the list."""
        for thread in list(self._others):
            if thread.ident is not None and not thread.is_alive():
                self._others.remove(thread)
        thread = daemon(body, f"spare-{next(self._numbers)}")
        thread.start()
        self._others.append(thread)

    def _spare(self) -> None:
        """The body of a spare thread: do what there is to do, in between wait."""
        while (task := self._spares.park()) is not None:
            task()

    def _keep_door(self) -> None:
        """The body of a thread that runs no requests."""
        while (task := self._doormen.park()) is not None:
            task()


def _nothing(_core: Core) -> bool:
    return True


def _adopt(acceptor: Acceptor, fd: int, address: Any, core: Core) -> bool:
    """Take a connection from inside: nobody else counts it."""
    core.counters.accepted += 1
    return acceptor.adopt_moved(fd, address, core)


def _stop_accepting(acceptor: Acceptor, stopped: threading.Semaphore, core: Core) -> bool:
    acceptor.stop(core)
    stopped.release()
    return True


def _stop_core(patient: bool, core: Core) -> bool:
    core.stopping = True
    core.patient = patient
    for entry in list(core.table.values()):
        if isinstance(entry, Connection | Beginning | Successor):
            core.submit(entry.stop)
    return True
