"""A tenant at work: its generations, the ways to it, and what the rules of generations say.

What `supervise/master` is to one application, this is to one tenant: events of its processes
come in, processes and messages go out, and what others must know is handed back as news.
"""

import contextlib
import socket
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import replace
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Literal

from nogilserve.config import Config
from nogilserve.config.templates import Tenant
from nogilserve.errors import ConfigError, NogilserveError
from nogilserve.runtimes.intake import Intake, Sender, feed_pair
from nogilserve.sites.tenants.place import Place, Unknown
from nogilserve.sites.tenants.table import Look
from nogilserve.sockets import Listener
from nogilserve.supervise import actions
from nogilserve.supervise.actions import Action, Failure, Rules, State
from nogilserve.supervise.child import Child, Event, Events, how_it_ended
from nogilserve.supervise.desk import Desk, report
from nogilserve.supervise.interpreter import find_interpreter
from nogilserve.supervise.plainlog import log
from nogilserve.supervise.spec import plain
from nogilserve.supervise.states import Machine
from nogilserve.supervise.tenants.bounds import Bounds, near

__all__ = ["Household", "News", "children_of"]

News = Literal["ready", "down", "failed", "gone"]

_BITS: Final = 20
"""Generations of a tenant are told apart by so many bits, behind those of its number."""

_STALLED: Final = 30.0
"""Seconds without a sign of life after which a generation counts as stalled."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """A queue of the master as the processes of one tenant see it. Any thread."""

    events: Events
    number: int

    def put(self, event: Event, /) -> None:
        """Say whose it is."""
        self.events.put(("tenant", self.number, event))


class Household:
    """Owner: the main thread of the master."""

    def __init__(
        self,
        number: int,
        tenant: Tenant,
        find: Callable[[], Place],
        listeners: Sequence[Listener],
        events: Events,
        bounds: Bounds,
    ) -> None:
        """`number`: which of all households it is; `find`: where it lives now."""
        place = find()  # Unknown: nothing was made yet
        self.number = number
        self.tenant = tenant
        self.name = place.name
        self.directory = place.directory
        self.config = place.config
        self._ordered: dict[str, tuple[Any, Any]] = {}
        """Settings that a command has changed: what they are now, and what was written there."""
        self.failure: Failure | None = None
        """Why it is no more."""
        self.children: dict[int, Child] = {}
        self.desk = Desk()
        self.watcher: Any = None
        """Reports changes of its files, where that is wanted."""
        self.requests = -1
        """At the last look."""
        self.machine = Machine(
            Rules(
                self.config.ready_timeout,
                self.config.graceful_timeout,
                developing=self.config.reload,
            )
        )
        self._find = find
        self._listeners = listeners
        self._events = Tagged(events, number)
        self._bounds = bounds
        self._pairs = [feed_pair() for _ in listeners]
        self._back = feed_pair()
        """Sending end, for the processes, and the end that is read here."""
        self.senders = [Sender(sender) for sender, _ in self._pairs]
        self._was_up = False
        self._failed = False
        self._ended = False
        self.counted = False
        """The table waits for its end."""

    # ---- what happens

    def start(self, now: float) -> list[News]:
        """Begin."""
        return self._act(self.machine.start(now), now)

    def handle(self, event: Event, now: float) -> list[News]:
        """Something its processes did."""
        kind, number, more = event
        if kind == "message":
            return self._hear(number, more, now)
        if kind == "exited":
            return self._act(self._bury(number, more, now), now)
        return []

    def reload(self, reason: str, now: float) -> list[News]:
        """Newer code is to be served."""
        return self._act(self.machine.reload(reason, now), now)

    def stop(self, now: float, *, patient: bool) -> list[News]:
        """Finish what was accepted, and end; told again, end at once."""
        return self._act(self.machine.stop(now, patient=patient), now)

    def tick(self, now: float) -> list[News]:
        """Time has passed."""
        return self._act(self.machine.tick(now), now)

    @property
    def changing(self) -> bool:
        """Whether a generation is starting."""
        return any(
            generation.state in (State.STARTING, State.OPENING)
            for generation in self.machine.generations.values()
        )

    def look(self, now: float) -> Look:
        """How its processes are."""
        inside = connected = False
        requests = 0
        at = now
        for number, child in list(self.children.items()):
            board = child.board.read()
            counters = board.get("counters", {})
            inside = inside or _count(counters, "active") > 0
            connected = connected or _count(counters, "connections") > 0
            requests += _count(counters, "requests")
            beat = board.get("beat")
            if isinstance(beat, float) and now - beat > _STALLED:
                reason = f"gives no sign of life for {_STALLED:g} s"
                self._act(self.machine.stalled(number, reason, now), now)
            elif isinstance(beat, float):
                at = min(at, beat)
                self._act(self.machine.revived(number), now)
        used, self.requests = requests != self.requests, requests
        return Look(at, inside, connected, used)

    def report(self, now: float) -> list[dict[str, Any]]:
        """How its generations are, as plain data."""
        return report(self.machine, self.children, now)

    def key(self, generation: int) -> int:
        """The number of a generation among those of all tenants."""
        return self.number << _BITS | generation

    @staticmethod
    def number_of(key: int) -> int:
        """Whose generation that is."""
        return key >> _BITS

    def order(self, **settings: Any) -> None:
        """Settings for the generations that follow, until something else is written there."""
        try:
            written = self._find().config
        except NogilserveError:  # its folder is gone: it will not be started anew
            return
        for name, value in settings.items():
            self._ordered[name] = (value, getattr(written, name))

    def _as_ordered(self, config: Config) -> Config:
        """The settings that are written, with those that commands have changed."""
        self._ordered = {
            name: (value, written)
            for name, (value, written) in self._ordered.items()
            if getattr(config, name) == written
        }
        return replace(config, **{name: value for name, (value, _) in self._ordered.items()})

    def tell(self, name: str, **data: Any) -> None:
        """Send a message to every generation."""
        for child in self.children.values():
            child.send(name, **data)

    def close(self) -> None:
        """Leave nothing behind."""
        if self.watcher is not None:
            self.watcher.close()
            self.watcher = None
        for child in self.children.values():
            child.kill()
        for child in self.children.values():
            child.close()
        self.children.clear()
        for pair in (*self._pairs, self._back):
            for end in pair:
                end.close()
        self._pairs.clear()
        self._bounds.close()

    @property
    def back(self) -> socket.socket:
        """The end at which connections come back that are for others."""
        return self._back[1]

    def take_nothing_back(self) -> None:
        """The front is gone: its processes answer 421 to what is for others."""
        with contextlib.suppress(OSError):
            self._back[1].shutdown(socket.SHUT_RDWR)

    def left_behind(self) -> list[tuple[int, socket.socket, Any]]:
        """Connections that were on the way when the last process died: the number of the listening
        socket, the connection, its address. The caller owns them."""
        found = []
        for door, (_, receiver) in enumerate(self._pairs):
            listener = self._listeners[door]
            family = listener.socket.family
            intake = Intake(receiver, family, listener.server, None, returning=True)
            while True:
                try:
                    sock, address = intake.accept()
                except OSError:  # also BlockingIOError: no more
                    break
                found.append((door, sock, address))
        return found

    # ---- events of processes

    def _hear(self, number: int, message: dict[str, Any], now: float) -> list[News]:
        child = self.children.get(number)
        if child is None:
            return []
        name = message["name"]
        if name == "loaded":
            child.served = message["served"]
            return self._act(self.machine.loaded(number, now), now)
        if name == "ready":
            child.served["how"] = message["how"]
            return self._act(self.machine.ready(number, now), now)
        if name == "failed":
            failure = Failure(message["message"], message["kind"], message["detail"])
            return self._act(self.machine.failed(number, failure, now), now)
        if name == "replace":
            reason = f"generation {number} asks for it: {message['reason']}"
            return self._act(self.machine.replace(number, reason, now), now)
        if name == "stopped":
            child.stopped = True
            self._look_for_others()
        return []

    def _bury(self, number: int, status: int, now: float) -> list[Action]:
        child = self.children.pop(number)
        how = how_it_ended(status)
        generation = self.machine.generations[number]
        if generation.state in (State.STARTING, State.OPENING):
            why = generation.failure.message if generation.failure else f"its process {how}"
            self.desk.failed(number, f"{self.name}: generation {number} did not start: {why}")
        child.close()
        wanted = self.machine.exited(number, how, now)
        self._look_for_others()
        return wanted

    def _look_for_others(self) -> None:
        current = self.machine.current
        older = [child for number, child in self.children.items() if number < current]
        if current and not self.machine.stopping and all(child.stopped for child in older):
            text = self.desk.taken_over(current)
            if text and self.machine.generations[current].page is None:
                log.info("%s: %s", self.name, text)

    # ---- actions

    def _act(self, wanted: Sequence[Action], now: float) -> list[News]:
        """Carry out, and say what has become of it."""
        for action in wanted:
            self._do(action)
        news: list[News] = []
        up = bool(self.machine.current)
        if up and not self._was_up:
            news.append("ready")
        elif self._was_up and not up and not self.machine.stopping:
            news.append("down")
        self._was_up = up
        if self.machine.retry_at is not None and not up and not self.machine.stopping:
            # It does not come back: rather start anew when somebody asks for it.
            self.failure = Failure("it has died, and does not start again")
            for action in self.machine.stop(now):
                self._do(action)
        if self.failure is not None and not self._failed:
            self._failed = True
            news.append("failed")
        if self._ended:
            news.append("gone")
        return news

    def _do(self, action: Action) -> None:
        match action:
            case actions.Say(level, text, detail):
                log.say(level, "%s: %s", self.name, text, detail=detail.rstrip())
            case actions.Spawn(number, page):
                self._spawn(number, page)
            case actions.Open(number):
                self._open(number)
            case actions.Announce(number):
                self._announce(number)
            case actions.End(failure):
                self._ended = True
                if failure is not None:
                    self.failure = failure
            case _ if action.number not in self.children:
                pass  # gone; the event is on its way
            case actions.Drain(number, patient):
                self.children[number].send("drain", patient=patient)
            case actions.Cut(number):
                self.children[number].send("cut")
            case actions.Kill(number, gently):
                self.children[number].kill(gently=gently)

    def _spawn(self, number: int, page: Failure | None) -> None:
        try:
            place = self._find()
            config, directory = self._as_ordered(place.config), place.directory
            if config.tenant_memory:
                config = replace(config, max_rss=near(config.tenant_memory, config.max_rss))
            identity = self._bounds.identity(config, directory)
            other = find_interpreter(config.python, config.venv, directory)
            label = f"{place.name}: {config.app} generation {number}"
            child = Child(number, label, identity, self._events, directory, other, secretive=True)
        except (OSError, NogilserveError) as error:
            kind = "config" if isinstance(error, ConfigError | Unknown) else "bind"
            self.desk.failed(number, f"{self.name}: generation {number} did not start: {error}")
            self.machine.failed(number, Failure(str(error), kind), monotonic())
            for action in self.machine.exited(number, "", monotonic()):
                self._do(action)
            return
        self.config, self.directory = config, directory
        self.children[number] = child
        child.send(
            "serve",
            config=plain(config),
            path=None if other is not None else sys.path,
            arguments=sys.argv,
            page=page and {"message": page.message, "detail": page.detail},
            tenant=place.name,
            bounds=self._bounds.enter(child.pid, config),
        )

    def _open(self, number: int) -> None:
        child = self.children[number]
        sockets = [receiver for _, receiver in self._pairs]
        places = [
            {
                "label": item.label,
                "server": item.server,
                "role": item.role,
                "family": int(item.socket.family),
            }
            for item in self._listeners
        ]
        sockets.append(self._back[0])
        child.channel.send("accept", sockets, peer=child.pid, listeners=places)

    def _announce(self, number: int) -> None:
        child = self.children[number]
        served = child.served
        log.info(
            "%s: generation %d serves %s (%s) on CPython %s, pid %d: %s",
            self.name,
            number,
            served["app"],
            served["interface"].upper(),
            served["python"],
            child.pid,
            served["how"],
        )
        self._look_for_others()


def children_of(houses: Iterable[Household], *, current: bool = False) -> dict[int, Child]:
    """The processes of these, or those that take new clients, by the numbers of all tenants."""
    return {
        house.key(number): child
        for house in houses
        for number, child in house.children.items()
        if not current or number == house.machine.current
    }


def _count(counters: Mapping[str, Any], name: str) -> int:
    """Written by a process that an application has, so it may be anything."""
    value = counters.get(name, 0)
    return value if isinstance(value, int) else 0
