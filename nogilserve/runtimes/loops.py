"""The runtime of asynchronous applications: one process, one copy of the application, one event
loop per core, each in a thread of its own."""

import asyncio
import contextlib
import contextvars
import logging
import queue
import socket
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic
from typing import Any, Final, Literal

from nogilserve.apps.loopbound import explain_loop_error
from nogilserve.engine.counters import total
from nogilserve.engine.loop.core import Accepted, AsyncGateway, LoopCore, LoopSettings
from nogilserve.engine.loop.direct import DirectSockets
from nogilserve.engine.loop.dispatch import Dispatcher
from nogilserve.engine.loop.kinds import make_client
from nogilserve.engine.loop.watch import LoopWatch
from nogilserve.engine.meter import Inside
from nogilserve.engine.roles import PLAIN, ListeningSocket
from nogilserve.engine.shares import Shares
from nogilserve.errors import AppImportError
from nogilserve.gateways.asgi import AsgiGateway, Lifespan, StartupFailed, leave_home
from nogilserve.gateways.asgi.calls import waiting_in
from nogilserve.gateways.asgi.scope import ScopeMaker
from nogilserve.messages import TimeLimits
from nogilserve.perloop import close_all
from nogilserve.prepare import NOTHING, Plan, Preparation
from nogilserve.runtimes.contract import Served, quantity
from nogilserve.runtimes.daemon import daemon
from nogilserve.runtimes.eventloops import Made
from nogilserve.runtimes.httpsport import learn
from nogilserve.runtimes.ledger import Row, RowShares
from nogilserve.runtimes.looking import Look, inside_of
from nogilserve.runtimes.looking_loops import look_at_loops
from nogilserve.runtimes.stacks import write_stacks

__all__ = ["LoopOptions", "LoopRuntime", "Mode", "Scope"]

_log = logging.getLogger("nogilserve.engine")

_SHUTDOWN_SHARE: Final = 0.25
"""Of the graceful time, what is kept for the application's shutdown, …"""
_SHUTDOWN_MOST: Final = 5.0
"""… and at most so many seconds."""
_CANCELLED: Final = 1.0
"""Seconds for what an application has left running to take note that it is cancelled."""


type Mode = Literal["auto", "on", "off"]
type Scope = Literal["auto", "loop", "generation"]
type _State = dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class LoopApp:
    """One of several applications that share the loops. Immutable."""

    app: Any
    name: str
    """module:attribute, for messages."""
    make: Callable[[asyncio.AbstractEventLoop, _State], Sequence[AsyncGateway]]
    """Its gateways for a loop, one for each place, with what its lifespan has left there."""
    find_bound: Callable[[Mapping[str, Any] | None], Sequence[object]]
    """As of LoopOptions."""
    lifespan: Mode = "auto"
    lifespan_scope: Scope = "auto"

    def is_rerun(self, state: _State) -> bool:
        """Whether its lifespan runs on every loop, given what it has left on the first one."""
        return self.lifespan_scope == "loop" or (self.lifespan_scope == "auto" and bool(state))


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """How many loops, and what runs on each. Immutable."""

    settings: LoopSettings
    make_loop: Callable[[], Made]
    loop_name: str
    """ "asyncio" or "uvloop"."""
    loops: int
    """At most so many."""
    find_bound: Callable[[Mapping[str, Any] | None], Sequence[object]]
    """Finds what belongs to one loop in the application and in a lifespan state, which is None
    where every loop has its own."""
    insist: bool = False
    """The number of loops was asked for: loop-bound objects are only warned of."""
    lifespan: Mode = "auto"
    lifespan_scope: Scope = "auto"
    threads: int = 16
    """Threads for each loop's `asyncio.to_thread`."""
    root_path: str = ""
    timeout: TimeLimits = field(default_factory=TimeLimits)
    """In which time a response must begin."""
    debug: bool = False
    scopes: type[ScopeMaker] = ScopeMaker
    """Makes the scopes of applications."""
    poller: str = "auto"
    late: float = 0.25
    """Seconds without turning after which a loop counts as blocked; 0: that is not looked at."""
    graceful: float = 30.0
    """Seconds that requests and shutdown have together."""
    in_front: Callable[[AsyncGateway], AsyncGateway] = lambda gateway: gateway
    """Puts what answers some requests before the application in front of a loop's gateway."""
    apps: tuple[LoopApp, ...] = ()
    """Several applications in place of one; what concerns a single one does not count then."""
    join: Callable[[Sequence[AsyncGateway], asyncio.AbstractEventLoop], AsyncGateway] | None = None
    """Makes one gateway of all those of `apps`, in their order."""
    stuck: Callable[[], int] = lambda: 0
    """Threads that are still inside applications which were given up. Any thread."""
    ended: Callable[[], None] = lambda: None
    """Called when no loop is left."""
    plan: Plan = NOTHING
    """What is done before anything is accepted."""


class _Workers(ThreadPoolExecutor):
    """Threads for `asyncio.to_thread`. Any thread, as its base.

    Each starts in an empty context: it would inherit that of the request it is started for, and
    keep what is in there for as long as it lives.
    """

    def _adjust_thread_count(self) -> None:
        contextvars.Context().run(super()._adjust_thread_count)


class LoopRuntime:
    """Owner: the thread that made it; `snapshot`, `unfinished`, `running` and `dump_stacks` are for
    any thread. Implements `contract.Runtime`.
    """

    def __init__(
        self, app: Any, served: Served, options: LoopOptions, row: Row | None = None
    ) -> None:
        """`served`: what is known beforehand; `how` is completed by `start`. `row`: where a
        member of a crew counts its connections."""
        self._row = row
        self._preparation = Preparation(options.plan)
        self.served = served
        self._options = options
        self._apps = options.apps or (self._alone(app),)
        self._shares = Shares(options.loops)
        self._cores: list[LoopCore] = []
        self._made: queue.SimpleQueue[LoopCore | BaseException] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._dispatcher: Dispatcher | None = None
        self._accepting: threading.Thread | None = None
        self._watch: LoopWatch | None = None
        self._watching: threading.Thread | None = None
        self._on_stopped: Callable[[], None] = lambda: None
        self._patient = False
        self._draining = False
        self._states: list[_State] = [None] * len(self._apps)
        """What the lifespans on the first loop left, None without lifespan."""

    def _alone(self, app: Any) -> LoopApp:
        """The only application."""
        options = self._options

        def make(loop: asyncio.AbstractEventLoop, state: _State) -> tuple[AsyncGateway, ...]:
            gateway = AsgiGateway(
                app,
                self.served.name,
                loop,
                root_path=options.root_path,
                state=state,
                debug=options.debug,
                timeout=options.timeout,
                explain=explain_loop_error,
                scopes=options.scopes(options.root_path, state, debug=options.debug),
            )
            return (gateway,)

        return LoopApp(
            app,
            self.served.name,
            make,
            options.find_bound,
            options.lifespan,
            options.lifespan_scope,
        )

    # ---- start

    def start(self, listeners: Sequence[ListeningSocket]) -> None:
        """Start the application, then accept. Raises AppImportError when it does not start."""
        options = self._options
        try:
            self._start_loops([0])
            count, note = self._decide()
            self._start_loops(range(1, count))
        except BaseException:
            for core in self._cores:
                core.submit(partial(core.stop, patient=False))
            for thread in self._threads:
                thread.join(_SHUTDOWN_MOST)
            raise
        self._shares = Shares(count) if self._row is None else RowShares(count, self._row)
        for core in self._cores:
            core.shares = self._shares
            core.crowd = tuple(self._cores)
        self._describe(count, note)
        dials = [partial(self._dial, core) for core in self._cores]
        self._preparation.run(dials, self._active, daemon)
        if self._preparation.abandoned:
            for core in self._cores:
                core.submit(core.cut_all)  # there are no other connections yet
        dispatcher = Dispatcher(self._cores, self._shares, poller=options.poller, late=options.late)
        self._dispatcher = dispatcher
        self._accepting = daemon(dispatcher.run, "acceptor")
        self._accepting.start()
        self.accept(listeners)
        if options.late:
            self._watch = LoopWatch(self._cores, options.late)
            self._watching = daemon(self._watch.run, "watch")
            self._watching.start()

    def accept(self, listeners: Sequence[ListeningSocket]) -> None:
        """After `start`: watch these listening sockets too."""
        learn(listeners)
        assert self._dispatcher is not None
        if listeners:
            self._dispatcher.watch(listeners)

    def _dial(self, core: LoopCore) -> socket.socket:
        """A connection to that loop, from inside; the client's end."""
        client, server = socket.socketpair()
        address = client.getsockname()
        peer = (address[0], str(address[1])) if isinstance(address, tuple) else None
        family = server.family
        accepted = Accepted(server.detach(), family, peer, ("localhost", "80"), PLAIN)
        self._shares.take(core.index)
        core.adopt_soon([accepted])
        return client

    def _start_loops(self, indexes: Sequence[int]) -> None:
        """Start these loops with their lifespans, and wait until they are ready."""
        for index in indexes:
            thread = daemon(partial(self._home, index), f"loop-{index}")
            self._threads.append(thread)
            thread.start()
        failures = []
        for _ in indexes:
            outcome = self._made.get()
            if isinstance(outcome, LoopCore):
                self._cores.append(outcome)
            else:
                failures.append(outcome)
        self._cores.sort(key=lambda core: core.index)
        for failure in failures:
            raise failure

    def _decide(self) -> tuple[int, str]:
        """How many loops, and why not more; the first one is running."""
        options = self._options
        if options.loops == 1:
            return 1, ""
        bound: list[object] = []
        for app, state in zip(self._apps, self._states, strict=True):
            bound += app.find_bound(None if app.is_rerun(state) else state)
        if not bound:
            return options.loops, ""
        names = "\n".join(f"  {item}" for item in bound)
        if options.insist:
            _log.warning(
                "%s on %d event loops, as --loops says, but these objects belong to one:\n%s\n"
                "Requests that use them will fail on the others. %s",
                self.served.name,
                options.loops,
                names,
                _REMEDY,
            )
            return options.loops, ""
        _log.warning(
            "%s is served on one event loop, because these objects belong to one:\n%s\n"
            "Functions that are not asynchronous still run on all cores. %s",
            self.served.name,
            names,
            _REMEDY,
        )
        return 1, "objects that belong to one loop"

    def _describe(self, count: int, note: str) -> None:
        loops = quantity(count, f"{self._options.loop_name} event loop")
        why = f" ({note})" if note else ""
        self.served = replace(self.served, how=f"{self.served.how}, {loops}{why}")

    # ---- a loop

    def _home(self, index: int) -> None:
        """The body of a loop's thread."""
        try:
            loop, sockets = self._options.make_loop()
        except BaseException as exc:  # raised by `start`
            self._made.put(exc)
            return
        executor = _Workers(self._options.threads, f"loop-{index}-worker")
        loop.set_default_executor(executor)
        try:
            _run(loop, self._serve(index, loop, sockets))
            _run(loop, _finish(loop))
        except BaseException as exc:
            _log.critical("event loop %d has failed", index, exc_info=True)
            self._made.put(exc)
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
            leave_home(loop)
            loop.close()
            if sockets is not None:
                sockets.close()

    async def _serve(
        self, index: int, loop: asyncio.AbstractEventLoop, sockets: DirectSockets | None
    ) -> None:
        """Start the application on this loop, serve until told to stop, shut it down."""
        options = self._options
        started: list[Lifespan] = []
        try:
            for app, left in zip(self._apps, self._states, strict=True):
                mode = app.lifespan if not index or app.is_rerun(left) else "off"
                lifespan = Lifespan(app.app, app.name, mode)
                await lifespan.startup()
                started.append(lifespan)
        except StartupFailed as exc:
            await _shut_down(started)
            name = self._apps[len(started)].name
            self._made.put(AppImportError(f"{name}: {exc}", exc.trace))
            return
        if not index:
            self._states = [item.state if item.supported else None for item in started]
        states = [
            item.state if item.supported else state
            for item, state in zip(started, self._states, strict=True)
        ]
        gateways = [
            gateway
            for app, state in zip(self._apps, states, strict=True)
            for gateway in app.make(loop, state)
        ]
        gateway = options.join(gateways, loop) if options.join is not None else gateways[0]
        core = LoopCore(
            index,
            loop,
            options.in_front(gateway),
            options.settings,
            self._shares,
            make_client,
            sockets,
        )
        self._made.put(core)
        await core.idle.wait()
        await _shut_down(started)

    # ---- stop

    def drain(
        self, on_stopped: Callable[[], None] = lambda: None, *, patient: bool = False
    ) -> None:
        """Stop accepting; see `contract.Runtime`."""
        self._patient = patient
        if self._draining:
            if self._accepting is None:
                self._stop_cores()
            return
        self._draining = True
        self._on_stopped = on_stopped
        assert self._dispatcher is not None
        self._dispatcher.stop()

    def _stop_cores(self) -> None:
        options = self._options
        reserved = min(_SHUTDOWN_MOST, options.graceful * _SHUTDOWN_SHARE)
        for core in self._cores:
            # A loop that has nothing left is closed already.
            with contextlib.suppress(RuntimeError):
                core.submit(partial(core.stop, patient=self._patient))
                core.submit(core.cut_off_later, options.graceful - reserved)

    def join(self, deadline: float) -> bool:
        """After `drain`: wait until everything is done, at most until `deadline` (monotonic)."""
        if self._accepting is not None:
            if not _joined(self._accepting, deadline):
                return False
            self._accepting = None
            self._stop_cores()
            self._on_stopped()
        if not all(_joined(thread, deadline) for thread in self._threads):
            return False
        self._options.ended()
        if self._watch is not None and self._watching is not None:
            self._watch.stop()
            if not _joined(self._watching, deadline):
                return False
        self._preparation.undo()
        return True

    # ---- looking

    def abandon(self) -> None:
        """Threads cannot be ended from outside: they end with the process."""

    @property
    def accepting(self) -> bool:
        """Whether the listening sockets are still watched."""
        return self._accepting is not None

    def snapshot(self) -> dict[str, Any]:
        """The counters of all loops together. Any thread."""
        now = total(core.counters for core in self._cores)
        if self._dispatcher is not None:
            for reason, count in self._dispatcher.refused.copy().items():
                now["refused"][reason] = now["refused"].get(reason, 0) + count
        now["active"] = self._active()
        now["connections"] = sum(self._shares.counts())
        now["idle"] = max(now["connections"] - now["active"], 0)
        now["blocked_loops"] = sum(core.blocked for core in self._cores)
        now["stuck"] = self._options.stuck()
        return now

    def _active(self) -> int:
        """Requests that the application has not answered yet. Any thread."""
        return sum(core.active for core in self._cores)

    @property
    def prepared(self) -> Mapping[str, Any]:
        """What was done to the application before it was served. Any thread."""
        return self._preparation.done

    def look(self) -> Look:
        """What it does now, in detail. Any thread, one at a time."""
        refused = self._dispatcher.refused.copy() if self._dispatcher is not None else {}
        return look_at_loops(self._cores, self._threads, self.unfinished(), refused)

    def inside(self) -> list[tuple[int, int, Inside]]:
        """What is inside the application, where somebody watches; see `inside_of`. Any thread."""
        return inside_of(self._cores)

    def waiting(self, key: int, seconds: float) -> str:
        """Where the task of a request inside the application waits, as a traceback shows it; ""
        where it is not known, or its loop does not answer within `seconds`. Any thread."""
        for core in self._cores:
            meter = core.record.meter if core.record is not None else None
            inside = meter.inside.get(key) if meter is not None else None
            if inside is not None:
                answer: queue.SimpleQueue[str] = queue.SimpleQueue()
                task = inside[-1]
                with contextlib.suppress(RuntimeError, queue.Empty):
                    core.submit(_tell, task, answer)
                    return answer.get(timeout=seconds)
        return ""

    def unfinished(self) -> int:
        """Connections that are still open. Any thread."""
        return sum(self._shares.counts())

    def running(self) -> list[str]:
        """The requests inside the application, "GET /path" each. Any thread."""
        texts = [client.now_running() for core in self._cores for client in list(core.clients)]
        return [text for text in texts if text]

    def dump_stacks(self) -> None:
        """Write the stacks of all threads to standard error."""
        write_stacks()


_REMEDY: Final = (
    "Put them into the state of the lifespan, which each loop then has for itself, or make them "
    "with nogilserve.per_loop(); docs/event-loops.md shows how."
)


def _tell(task: Any, answer: "queue.SimpleQueue[str]") -> None:
    answer.put(waiting_in(task))


async def _shut_down(started: Sequence[Lifespan]) -> None:
    """Shut down what was started on this loop, the last one first."""
    for lifespan in reversed(started):
        await lifespan.shutdown()
    await close_all()


def _joined(thread: threading.Thread, deadline: float) -> bool:
    thread.join(max(deadline - monotonic(), 0))
    return not thread.is_alive()


def _run(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> None:
    """Run it to its end. What asks for the end of the process inside some task or callback of
    the application ends that only: asyncio would let go of everything else on the loop.
    """
    main = loop.create_task(work)
    while not main.done():
        try:
            loop.run_until_complete(main)
        except (SystemExit, KeyboardInterrupt) as exc:
            if main.done():
                main.result()
                return
            _log.error(
                "%r was raised by a task or callback of the application; the server goes on. "
                "To stop it, send SIGTERM.",
                exc,
                exc_info=exc,
            )


async def _finish(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what the application has left running, as asyncio.run does."""
    left = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_CANCELLED)
    for task in left:
        if task.done() and not task.cancelled() and (exc := task.exception()):
            _log.error("a task the application left running failed", exc_info=exc)
    await loop.shutdown_asyncgens()
