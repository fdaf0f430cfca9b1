"""Which tenant is started, which has to go, who is refused: rules without sockets and processes.

    QUEUED ──its turn──▶ STARTING ──ready──▶ SERVING ──idle, or its place is needed──▶ CLOSING
                            └── fails: (refused)                   (the front parks) ──▶ (drains)

Events and the time come in, actions go out. A tenant that drains is no longer in the table: if
it is asked for again it is started again, beside the old process that finishes.
"""

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from nogilserve.config.templates import Tenant

__all__ = ["Close", "Do", "Look", "Open", "Refuse", "Rules", "Start", "State", "Stop", "Table"]

_MOST_FAILURES: Final = 4096
"""Failed starts remembered; the oldest are forgotten."""
_UNTOLD: Final = 1.0
"""Seconds in which the front passes on without saying so."""


class State(StrEnum):
    """Of one tenant."""

    QUEUED = "queued"
    """It will be started when one of those that start is done."""
    STARTING = "starting"
    SERVING = "serving"
    CLOSING = "closing"
    """The front process was told to send it no more connections."""


@dataclass(frozen=True, slots=True)
class Rules:
    """From the configuration. Immutable; times in seconds."""

    most: int = 128
    idle: float = 1800.0
    """0: for ever."""
    remember: float = 5.0
    """How long a start that failed is not tried again."""
    at_once: int = 4
    """Tenants that may start at the same time."""
    draining: int = 32
    """Tenants that may still finish while others take their places."""
    keep_alive: float = 5.0
    """How long idle connections stay open."""
    lasting: frozenset[Tenant] = frozenset()
    """These neither end for idleness nor make room."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a tenant's processes. Immutable."""

    at: float
    """When."""
    inside: bool = False
    """Requests are inside the application."""
    connected: bool = False
    used: bool = False
    """There have been requests since the look before."""


@dataclass(frozen=True, slots=True)
class Start:
    """Start it."""

    tenant: Tenant


@dataclass(frozen=True, slots=True)
class Open:
    """It takes connections."""

    tenant: Tenant


@dataclass(frozen=True, slots=True)
class Close:
    """Send it no more connections, and say so when that is done (`Table.closed`)."""

    tenant: Tenant


@dataclass(frozen=True, slots=True)
class Stop:
    """Have it finish and end; say so when it is gone (`Table.gone`)."""

    tenant: Tenant
    reason: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer those who wait for it with 503."""

    tenant: Tenant
    why: str
    retry_after: int


Do = Start | Open | Close | Stop | Refuse


@dataclass(slots=True)
class Entry:
    """One tenant. Owner: the table."""

    state: State
    since: float
    """When it entered its state."""
    used: float
    """When somebody last wanted something of it."""
    busy: bool = False
    """Requests are inside the application, or WebSockets are open."""
    connected: bool = False
    """Connections are open, if only idle ones."""
    known: float = -math.inf
    """What moment these are about."""
    wanted: bool = False
    """Somebody has come since it was told to close."""
    reason: str = ""
    """Why it closes."""


@dataclass(slots=True)
class Table:
    """Owner: the main thread of the master. Every method returns what is to be done now."""

    rules: Rules
    entries: dict[Tenant, Entry] = field(default_factory=dict)
    draining: int = 0
    """Tenants told to stop that are not gone yet."""
    _failures: dict[Tenant, tuple[float, str]] = field(default_factory=dict)
    """Until when a start is not tried again, and why not; the oldest first."""

    # ---- events

    def wanted(self, tenant: Tenant, now: float) -> list[Do]:
        """Connections wait for it."""
        entry = self.entries.get(tenant)
        if entry is not None:
            entry.used = now
            if entry.state == State.CLOSING:
                entry.wanted = True
            return [Open(tenant)] if entry.state == State.SERVING else []
        until, why = self._failures.get(tenant, (0.0, ""))
        if until > now:
            return [Refuse(tenant, why, max(1, math.ceil(until - now)))]
        self._failures.pop(tenant, None)
        made: list[Do] = []
        if self._live() >= self.rules.most:
            victim = self._least_used()
            if victim is None:
                return [Refuse(tenant, "all places for applications are taken by busy ones", 5)]
            if self.draining + self._closing() >= self.rules.draining:
                return [Refuse(tenant, "applications that make room have not ended yet", 1)]
            made = self._close(victim, "its place is needed", now)
        self.entries[tenant] = Entry(State.QUEUED, now, now)
        return made + self._promote(now)

    def ready(self, tenant: Tenant, now: float) -> list[Do]:
        """It serves."""
        entry = self.entries.get(tenant)
        if entry is None or entry.state != State.STARTING:
            return []
        entry.state, entry.since, entry.used = State.SERVING, now, now
        return [Open(tenant), *self._promote(now)]

    def failed(self, tenant: Tenant, why: str, now: float) -> list[Do]:
        """It did not start, or has died for good."""
        if self.entries.pop(tenant, None) is None:
            return []
        self._failures.pop(tenant, None)
        self._failures[tenant] = (now + self.rules.remember, why)
        if len(self._failures) > _MOST_FAILURES:
            del self._failures[next(iter(self._failures))]
        wait = max(1, math.ceil(self.rules.remember))
        return [Refuse(tenant, why, wait), *self._promote(now)]

    def forgiven(self, tenant: Tenant) -> None:
        """Its start may be tried again at once: it is told to, or its files have changed."""
        self._failures.pop(tenant, None)

    def forgive_all(self) -> None:
        """As `forgiven`, for every tenant."""
        self._failures.clear()

    def down(self, tenant: Tenant, now: float) -> list[Do]:
        """Its process has died; the next one is starting."""
        entry = self.entries.get(tenant)
        if entry is not None and entry.state == State.SERVING:
            entry.state, entry.since = State.STARTING, now
            entry.busy = entry.connected = False
            return [Close(tenant)]
        return []

    def seen(self, tenant: Tenant, look: Look, now: float) -> None:
        """How it was when somebody looked."""
        entry = self.entries.get(tenant)
        if entry is None:
            return
        if look.inside or look.used:
            entry.used = now
        # What outlives the time of idle connections is no idle connection, but a WebSocket.
        kept = look.connected and now > entry.used + self.rules.keep_alive + _UNTOLD
        entry.busy = look.inside or kept
        entry.connected = look.connected
        entry.known = look.at

    def used(self, tenant: Tenant, now: float) -> None:
        """The front has passed a connection on to it."""
        entry = self.entries.get(tenant)
        if entry is not None:
            entry.used = now

    def closed(self, tenant: Tenant, now: float) -> list[Do]:
        """The front sends it nothing any more."""
        entry = self.entries.get(tenant)
        if entry is None or entry.state != State.CLOSING:
            return []
        if entry.wanted and self._live() < self.rules.most:
            entry.state, entry.since, entry.wanted = State.SERVING, now, False
            return [Open(tenant)]
        del self.entries[tenant]
        self.draining += 1
        again = self.wanted(tenant, now) if entry.wanted else []
        return [Stop(tenant, entry.reason), *again]

    def gone(self, now: float) -> list[Do]:
        """One that was told to stop has ended."""
        self.draining -= 1
        return self._promote(now)

    def evict(self, tenant: Tenant, reason: str, now: float) -> list[Do]:
        """Somebody wants it ended."""
        entry = self.entries.get(tenant)
        if entry is None or entry.state != State.SERVING:
            return []
        return self._close(tenant, reason, now)

    def tick(self, now: float) -> list[Do]:
        """Time has passed."""
        made: list[Do] = []
        for tenant, entry in list(self.entries.items()):
            if self._is_idle(tenant, entry) and now >= entry.used + self.rules.idle:
                made += self._close(tenant, f"it was idle for {now - entry.used:.0f} s", now)
        return made

    @property
    def deadline(self) -> float | None:
        """When `tick` has something to do."""
        moments = [
            entry.used for tenant, entry in self.entries.items() if self._is_idle(tenant, entry)
        ]
        return min(moments) + self.rules.idle if moments else None

    # ---- steps

    def _is_idle(self, tenant: Tenant, entry: Entry) -> bool:
        return (
            self.rules.idle > 0
            and tenant not in self.rules.lasting
            and entry.state == State.SERVING
            and not entry.connected
            and not entry.busy
            and entry.known > entry.used + _UNTOLD  # what has come since is not known yet
        )

    def _live(self) -> int:
        return len(self.entries) - self._closing()

    def _closing(self) -> int:
        return sum(entry.state == State.CLOSING for entry in self.entries.values())

    def _least_used(self) -> Tenant | None:
        idle = [
            (entry.used, tenant)
            for tenant, entry in self.entries.items()
            if entry.state == State.SERVING and not entry.busy and tenant not in self.rules.lasting
        ]
        return min(idle)[1] if idle else None

    def _close(self, tenant: Tenant, reason: str, now: float) -> list[Do]:
        entry = self.entries[tenant]
        entry.state, entry.since, entry.reason = State.CLOSING, now, reason
        entry.wanted = False
        return [Close(tenant)]

    def _promote(self, now: float) -> list[Do]:
        """Start those that wait for it, the first first."""
        starting = sum(entry.state == State.STARTING for entry in self.entries.values())
        made: list[Do] = []
        for tenant, entry in self.entries.items():
            if starting >= self.rules.at_once:
                break
            if entry.state == State.QUEUED:
                entry.state, entry.since = State.STARTING, now
                starting += 1
                made.append(Start(tenant))
        return made
