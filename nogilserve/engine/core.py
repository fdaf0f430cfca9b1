"""One core: a poller, the connections that belong to it, its queue of ready events, its counters.

The thread that holds `lock` owns everything else here; `drive` is its loop. Around each
call of the application the driver releases the lock (`Connection.run`). If another thread has
taken it by the time the call returns, the driver has lost the core: it goes back through
`drive` returning, touches nothing more, and leaves its connection in the core's inbox.
"""

import logging
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic, time
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol, cast

from nogilserve.engine.body import NoBody
from nogilserve.engine.corked import Corked, pays
from nogilserve.engine.counters import Counters
from nogilserve.engine.date import date_line
from nogilserve.engine.giveway import Waiting
from nogilserve.engine.poller import READ, Events, Poller, make_poller
from nogilserve.engine.records import recorder
from nogilserve.engine.scheduler import Driven, Slow, Spares, Task
from nogilserve.engine.settings import Gateway, Settings
from nogilserve.engine.shares import Shares
from nogilserve.engine.wheel import NEVER, Wheel
from nogilserve.protocols.http1 import Tables
from nogilserve.protocols.proxy import OriginReader

if TYPE_CHECKING:
    from nogilserve.engine.driverless import Driverless
    from nogilserve.engine.secure import Handshakes

_log = logging.getLogger("nogilserve.engine")

__all__ = ["Core", "Entry", "Expiring"]

_READY: Final = 64
"""Events of one turn below which they are not taken for requests that wait."""

_HELP_SECONDS: Final = 0.00025
"""How long a thread that has two cores to drive stays with one of them at most."""


class Entry(Protocol):
    """What a descriptor in a core's table stands for. Owner: the thread that holds the core."""

    def on_event(self, core: "Core", mask: int) -> bool:
        """Something is ready. False: the core was lost meanwhile, the caller must not touch it."""


class Expiring(Protocol):
    """A table entry with a deadline."""

    deadline: float
    due: float

    def on_deadline(self, core: "Core") -> None:
        """The deadline has passed."""


class Core:
    """Owner: the thread that holds `lock`. For any thread: `submit`, `has_work`, `backlog`,
    `wake`, `hurry`, `ask_help`, `await_turn`, `take_turn`, reading `counters`, and trying to
    acquire `lock`; adding to `blocked`, a set whose single operations are atomic, for the monitor,
    and `was_blocked`, which takes out of it, for threads that come back from a call.
    """

    # Not only to save memory: an instance with more than 30 attributes keeps them in a
    # dictionary, which free-threaded CPython locks for every look.
    __slots__ = (
        "_inbox",
        "_make_gateway",
        "_next_second",
        "_reader",
        "_server_line",
        "_waiting",
        "_writer",
        "admission",
        "begin_http2",
        "beside",
        "blocked",
        "body_timeout",
        "calls",
        "common",
        "connections",
        "corked",
        "counters",
        "crowd",
        "door",
        "driver",
        "driverless",
        "elsewhere",
        "encryption",
        "gateway",
        "handshakes",
        "head_timeout",
        "held",
        "index",
        "keep_alive",
        "lazy",
        "limit",
        "limits",
        "lock",
        "lookout",
        "more",
        "no_body",
        "now",
        "only_http2",
        "origins",
        "parked",
        "patient",
        "poller",
        "proxies",
        "ready",
        "record",
        "responses",
        "ring",
        "shares",
        "slow",
        "spares",
        "stopping",
        "table",
        "tables",
        "turns",
        "unwatched",
        "victim",
        "wanted",
        "watching",
        "wheel",
        "write_timeout",
    )

    def __init__(
        self,
        index: int,
        settings: Settings,
        shares: Shares,
        spares: Spares,
        lazy: threading.Semaphore,
        ring: Callable[[], None],
    ) -> None:
        self.index = index
        self.lock = threading.Lock()
        self.calls = 0
        self.turns = 0
        self.driver = 0
        self.blocked: set[int] = set()
        self.slow = Slow()
        self.spares = spares
        self.unwatched = True
        self.parked = False
        self.ring = ring
        """Wakes the monitor."""
        self.wanted = False
        """The core's home thread waits for the lock. Written by that thread, read by the driver."""
        self.victim: Driven | None = None
        """The core that this core's driver was asked to help. A hint, the last one wins."""
        self.driverless: Driverless | None = None
        """Where this core is left when nobody drives it. Set before the first connection, where
        there is another core, like `beside`."""
        self.beside: Poller | None = None
        """Watches this core's poller and those of the cores that were left; None where pollers
        cannot be watched."""
        self.lookout = False
        """Some core was left. A hint; written by `Driverless`."""
        self.watching = False
        """Parked at `beside`. A hint; written by the driver."""

        self.poller = make_poller(settings.poller)
        self.table: dict[int, Entry] = {}
        self.ready: deque[tuple[int, int]] = deque()
        self.wheel: Wheel[Any] = Wheel()
        self.counters = Counters()
        self.connections = 0
        """Open connections."""
        self.shares = shares
        self.held = 0
        """Bytes of responses in memory that wait for their clients."""
        self.lazy = lazy
        """Permissions to call the application before the body is there; shared by all cores."""
        self.no_body: BinaryIO = cast(BinaryIO, NoBody())
        self.corked = Corked()
        self.more = 0
        """What `send` is to be told while requests wait. A hint: written by the driver, and by any
        thread that comes back from a long call."""
        self.stopping = False
        """Connections end after their next response."""
        self.patient = False
        """While stopping: idle connections may ask once more, until their time is over."""
        self.now = monotonic()
        """When the last batch was taken."""
        self.common = b""
        """The Date and Server field lines of responses."""
        self._server_line = b"Server: nogilserve\r\n" if settings.server_header else b""
        self._next_second = 0.0
        self._waiting = Waiting()

        self._make_gateway = settings.gateway
        self.gateway: Gateway | None = None
        self.tables: Tables | None = None
        """What the protocol looks names up in. Like the gateway made by the first driver, the
        core's home thread, because a thread is quickest with what it has made itself."""
        self.proxies = settings.proxies
        self.origins: OriginReader | None = None
        """Reads what proxies tell in header fields; None where they are not believed."""
        # Copies of the settings that requests need: shared instances are slow to read from.
        self.limits = settings.limits
        self.keep_alive = settings.keep_alive
        self.head_timeout = settings.head_timeout
        self.body_timeout = settings.body_timeout
        self.write_timeout = settings.write_timeout
        self.record = recorder(settings.record, settings.observe)
        """Takes note of finished requests; None where nobody wants to know."""
        self.begin_http2 = settings.http2
        """Goes on with HTTP/2 on a connection of which the given bytes were read, as
        `Entry.on_event`; None where it is not spoken."""
        self.only_http2 = not settings.http1
        self.responses: Any = None
        """Response heads of HTTP/2 that are kept; made by the first such connection."""
        self.admission = settings.admission
        self.elsewhere = settings.elsewhere() if settings.elsewhere is not None else None
        self.encryption = settings.encryption
        self.handshakes: Handshakes | None = None
        """Those that wait for their turn, where TLS is spoken."""
        self.limit = settings.limit_concurrency
        """Requests that all cores together may have with the application, waiting ones included; 0:
        no limit."""
        self.crowd: Sequence[Core] = (self,)
        """All cores that the limit is for. Set before the first connection."""
        self.door = False
        """Driven by a thread that runs no requests, see `drive_at_door`. Written by the driver."""

        self._inbox: deque[Callable[[Core], bool]] = deque()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self.table[self._reader.fileno()] = self
        self.poller.register(self._reader.fileno(), READ)
        self._tick(self.now)

    # ---- any thread

    def submit(self, what: "Callable[[Core], bool]") -> None:
        """Have the driver call `what(core)` soon. Any thread, no lock held.

        `what` answers as `Entry.on_event` does.
        """
        self._inbox.append(what)
        self.wake()

    def put_next(self, what: "Callable[[Core], bool]") -> None:
        """As `submit`, by the driver itself, which need not be woken."""
        self._inbox.append(what)

    def wake(self) -> None:
        """Have the driver that waits in the poller look again. Any thread."""
        try:
            self._writer.send(b"!")
        except (BlockingIOError, OSError):
            pass  # full: the driver will wake up anyway; closed: nobody is there to be woken

    def has_work(self) -> bool:
        """Whether something waits to be taken up. Any thread."""
        return bool(self.ready or self._inbox) or self.poller.peek()

    def backlog(self) -> int:
        """Events taken from the poller and not looked at yet. Any thread."""
        return len(self.ready)

    def was_blocked(self, call: int) -> bool:
        """Whether the monitor found that call blocked, rather than kept from a processor. For the
        thread that comes back from it."""
        try:
            self.blocked.remove(call)
        except KeyError:
            return False
        return True

    def was_long(self, call: int, seconds: float, *, left: bool) -> bool:
        """Whether a call that took more than a tick counts as long: the core was left for it, or
        the monitor found it blocked. For the thread that comes back from it."""
        if self.corked.rest(seconds):
            self.more = 0
        return left or self.was_blocked(call)

    def hurry(self) -> None:
        """Have the responses that wait for others leave. Any thread."""
        if self.corked:
            self.corked.hurry()

    def ask_help(self, victim: Driven) -> None:
        """Ask the driver, if it is idle, to drive `victim` for a turn. Any thread."""
        self.victim = victim
        self.wake()

    def await_turn(self) -> None:
        """Block until this thread holds the core: for its home thread, which has lost it."""
        if self.lock.acquire(blocking=False):
            return
        self.wanted = True
        self.wake()
        self.lock.acquire()
        self.wanted = False

    # ---- the driver

    def drive(self, *, home: bool, until: float = NEVER) -> bool:
        """Serve, until something else is to be done. The caller holds the lock.

        False: the core was lost, another thread may hold it. True: it is still held; the
        engine stops, or another core needs help, or (not at `home`) the home thread wants it, or
        (helping, `until` given) there is nothing to do or the time is over.
        """
        if self.gateway is None:
            self.gateway = self._make_gateway()
            if self.record is not None and self.record.meter is not None:
                self.gateway = self.record.meter.around(self.gateway)
            self.tables = Tables()
            self.origins = self.proxies.reader()
        self.take_back(threading.get_native_id())
        poll = self.poller.poll
        helping = until != NEVER
        polled = False
        while True:
            if not self._take_up():
                return False
            # More to do already: what was submitted since, or before a wake-up that was just taken
            # together with an earlier one.
            more = bool(self._inbox or self.ready)
            if helping:
                if self.now >= until:
                    return True
                events = poll(0)
                if not events and not more:
                    return True
            else:
                if self.victim is not None or (self.wanted and not home) or self.finished():
                    return True
                if self.limit and (self.spares.parked() if self.door else self.spares.tasks()):
                    return True  # threads wait for requests, or requests for a thread
                if self.lookout and polled and self._look_out():
                    return True
                events = poll(0)
                if not events and not more:
                    events = self._wait()
            now = monotonic()
            self.now = now
            self.turns += 1
            self.ready.extend(events)
            polled = True
            if now >= self._next_second:
                self._tick(now)

    def _wait(self) -> Events:
        """Wait until something is ready, or for the next deadline; nothing was ready just now."""
        self.parked = True
        if self.limit and not self.door and self.spares.tasks():
            self.parked = False  # left since, by somebody who may not have seen us wait
            return []
        if self.lookout and self._may_watch():
            self.watching = True
            assert self.beside is not None
            self._waiting.wait(self.beside, self._patience())
            self.parked = self.watching = False
            return []  # whatever it was: the next look tells
        events = self._waiting.wait(self.poller, self._patience())
        self.parked = False
        return events

    def _may_watch(self) -> bool:
        """Whether to wait for cores that were left as well. One driver does: each of them would be
        woken whenever one of those cores has something to do."""
        return not (self.door or self.beside is None or self.driverless is None) and not (
            self.driverless.is_watched()
        )

    def _look_out(self) -> bool:
        """Whether a core that was left has something to do: it is in `victim` then."""
        if self.door or self.driverless is None:
            return False
        self.victim = self.driverless.pick()
        if self.victim is None:
            return False
        self.driverless.find_lookout()
        return True

    def _patience(self) -> float:
        """Seconds until the next deadline, -1 if there is none."""
        return -1 if self.wheel.next == NEVER else max(self.wheel.next - self.now, 0)

    def _take_up(self) -> bool:
        """Do what was submitted and what is ready. False: the core was lost."""
        ready, table, inbox = self.ready, self.table, self._inbox
        counters = self.counters
        working: object = None
        try:
            # Only as much as is there now: it may submit itself again, and others want their turn.
            # While one of them runs a request, another driver may take the rest.
            for _ in range(len(inbox)):
                if not inbox:
                    break
                what = inbox.popleft()
                working = getattr(what, "__self__", None)
                if not what(self):
                    return False
            waiting = len(ready) - 1
            while ready:
                fd, mask = ready.popleft()
                if not ready:
                    waited = monotonic() - self.now
                    if waiting > 1 and self.now >= self.corked.again:
                        self.more = pays(waited / waiting)
                    counters.turns_waited += waited
                    if waited > counters.longest_wait:
                        counters.longest_wait = waited
                entry = table.get(fd)
                working = entry
                if entry is not None and not entry.on_event(self, mask):
                    return False
        except Exception:
            self._give_up(working)
        if self.corked:
            self.corked.push()
        return True

    def drive_as_spare(self) -> None:
        """Drive until the home thread wants the core, unless another thread drives already."""
        taken = 1
        while self.lock.acquire(blocking=False):
            self.counters.hand_offs += taken
            taken = 0
            if not self.drive(home=False) or not self.leave_to_help():
                return

    def drive_at_door(self) -> None:
        """Drive, as `drive_as_spare`, without running requests: those that come are left for the
        threads that may, and those that are too many refused. That is so when all threads are
        inside the application and `limit` is set.
        """
        if self.lock.acquire(blocking=False):
            self.counters.hand_offs += 1
            self.door = True
            self.drive(home=False)  # without running requests the core is not lost
            self.door = False
            self.victim = None
            self.lock.release()
            self.spares.offer(self.drive_as_spare)

    def leave_waiting(self, task: Task) -> None:
        """Have any thread that may run requests do `task`, as soon as one is free."""
        if self.spares.offer(task, wait=True):
            return
        # In this order: whoever waits in a poller has looked for tasks after saying so.
        for core in self.crowd:
            if core.parked and not core.door:
                core.wake()
                return

    def crowded(self, more: int) -> bool:
        """Whether, with `more` further ones, there are more requests than `limit`.

        Each core writes its own numbers only; this adds them up without a lock. Because a core
        counts its request before it looks, of two that come at once at least one sees the other:
        the limit is never exceeded, but both may be refused where one place was left. What was
        finished is read before what was begun, so that a request is rather counted twice than not.

        Requests that nobody has looked at yet, because the driver was busy, count when there are
        many: what is ready may also be something else than a request.
        """
        inside = more
        for core in self.crowd:
            inside += -core.counters.requests + core.calls
        return inside > self.limit or len(self.ready) >= max(self.limit // len(self.crowd), _READY)

    def leave_to_help(self) -> bool:
        """Let go of this core and drive the one that needs it, if any; then others that were left,
        in turn, as long as there is something to do. True: now this core has something to do again.

        Should one of them get work later, whoever looks out for cores that were left finds it, at
        the latest the monitor.
        """
        victim, self.victim = self.victim, None
        self.leave()
        stolen = 1
        while isinstance(victim, Core) and victim is not self:
            if not victim.take_turn(stolen) or self._needed() or self.driverless is None:
                return False
            stolen = 0
            victim = self.driverless.pick()
        return victim is self

    def _needed(self) -> bool:
        """Whether somebody wants this thread elsewhere, or this core."""
        return (
            self.victim is not None or self.wanted or (self.limit > 0 and bool(self.spares.tasks()))
        )

    def take_turn(self, stolen: int = 0) -> bool:
        """Drive for a moment, if no other thread does, and count `stolen`. False: another thread
        drives by now."""
        if not self.lock.acquire(blocking=False):
            return False
        self.counters.steals += stolen
        if not self.drive(home=False, until=monotonic() + _HELP_SECONDS):
            return False
        self.leave()
        return True

    def leave(self) -> None:
        """Let go of the core: its driver goes elsewhere, or into a call that will be long."""
        # Pollers know nothing of these, and other drivers look at the poller only.
        backlog = bool(self.ready or self._inbox)
        self.driver = 0
        self.lock.release()
        if self.driverless is not None:
            if backlog:
                self.wake()
            self.driverless.add(self)

    def take_back(self, driver: int) -> None:
        """The caller, a thread of that native id, holds the core (again)."""
        self.driver = driver
        if self.lookout and self.driverless is not None:
            self.driverless.remove(self)

    def finished(self) -> bool:
        """Whether the engine stops and this core has nothing left to do. A request of HTTP/2 may be
        with the application still, though its connection has ended: it is counted and its files are
        closed here."""
        return (
            self.stopping
            and not self.connections
            and not self._inbox
            and self.calls == self.counters.requests
        )

    def on_event(self, core: "Core", mask: int) -> bool:
        """The wake-up socket is readable (the core is its own entry in its table)."""
        try:
            while len(self._reader.recv(4096)) == 4096:
                pass
        except BlockingIOError:
            pass
        return True

    def _tick(self, now: float) -> None:
        """Once a second at most: the Date line and the deadlines."""
        self._next_second = now // 1 + 1
        wall = time()
        self.common = date_line(wall) + self._server_line
        if self.tables is not None:
            self.tables.try_again()
        for item in self.wheel.expire(now):
            try:
                item.on_deadline(self)
            except Exception:
                self._give_up(item)

    def _give_up(self, broken: object) -> None:
        """An internal error costs the connection it happened to, never the core. The lock is held:
        what runs without it, the application, has its own guard (`Connection.run`).
        """
        _log.critical("internal error in %r", broken, exc_info=True)
        close = getattr(broken, "close", None)
        if close is not None and broken is not self:
            try:
                close(self)
            except Exception:
                _log.critical("internal error while closing it", exc_info=True)

    def close(self) -> None:
        """Release the system's objects. The caller holds the lock; no connection is left."""
        self.poller.close()
        self._reader.close()
        self._writer.close()
