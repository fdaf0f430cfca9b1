"""Which tenant starts, ends, is refused: examples of each rule, and what holds whatever happens."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from nogilserve.sites.tenants.table import (
    Close,
    Do,
    Look,
    Open,
    Refuse,
    Rules,
    Start,
    State,
    Stop,
    Table,
)

TENANTS: list[tuple[str, ...]] = [("a",), ("b",), ("c",), ("d",)]
A, B, C, D = TENANTS


def serving(*tenants: tuple[str, ...], **rules: object) -> Table:
    """A table whose tenants serve, each used a second after the one before."""
    table = Table(Rules(**rules))  # type: ignore[arg-type]
    for now, tenant in enumerate(tenants):
        assert table.wanted(tenant, now) == [Start(tenant)]
        assert table.ready(tenant, now) == [Open(tenant)]
    return table


def test_one_start_for_all_who_wait() -> None:
    """However many ask for it meanwhile."""
    table = Table(Rules())
    assert table.wanted(A, 0) == [Start(A)]
    assert table.wanted(A, 0) == []
    assert table.ready(A, 1) == [Open(A)]
    assert table.ready(A, 1) == []
    assert table.wanted(A, 2) == [Open(A)]


def test_only_some_start_at_once() -> None:
    """The others follow in the order in which they were asked for."""
    table = Table(Rules(at_once=2))
    assert table.wanted(A, 0) + table.wanted(B, 0) == [Start(A), Start(B)]
    assert table.wanted(C, 0) + table.wanted(D, 0) == []
    assert table.failed(A, "broken", 1) == [Refuse(A, "broken", 5), Start(C)]
    assert table.ready(B, 1) == [Open(B), Start(D)]


def test_failed_starts_are_remembered() -> None:
    """For five seconds it is not tried again; then it is, and at once where it was told to."""
    table = Table(Rules())
    table.wanted(A, 0)
    table.failed(A, "broken", 10)
    assert table.wanted(A, 12) == [Refuse(A, "broken", 3)]
    assert table.wanted(A, 15) == [Start(A)]
    table.failed(A, "broken", 15)
    table.forgiven(A)
    assert table.wanted(A, 15) == [Start(A)]
    table.failed(A, "broken", 15)
    table.forgive_all()
    assert table.wanted(A, 15) == [Start(A)]


def test_the_least_recently_used_makes_room() -> None:
    """It is told to close, drains, and the new one starts at once."""
    table = serving(A, B, most=2)
    table.wanted(A, 10)
    assert table.wanted(C, 11) == [Close(B), Start(C)]
    assert table.closed(B, 11) == [Stop(B, "its place is needed")]
    assert table.draining == 1
    assert table.ready(C, 12) == [Open(C)]
    assert table.gone(13) == []
    assert set(table.entries) == {A, C}


def test_busy_ones_stay() -> None:
    """Where no place can be made the answer is to come back later."""
    table = serving(A, B, most=2)
    table.seen(A, Look(5, inside=True, used=True), 5)
    table.seen(B, Look(5, inside=True, used=True), 5)
    assert table.wanted(C, 6) == [
        Refuse(C, "all places for applications are taken by busy ones", 5)
    ]
    table.seen(B, Look(7), 7)
    assert table.wanted(C, 8) == [Close(B), Start(C)]


def test_there_is_a_bound_on_those_that_drain() -> None:
    """Memory is needed by the old ones, too, until they are gone."""
    table = serving(A, B, most=2, draining=1)
    assert table.wanted(C, 6) == [Close(A), Start(C)]
    assert table.wanted(D, 6) == [Refuse(D, "applications that make room have not ended yet", 1)]
    assert table.closed(A, 7) == [Stop(A, "its place is needed")]
    assert isinstance(table.wanted(D, 7)[0], Refuse)
    table.gone(8)
    assert table.wanted(D, 8) == [Close(B), Start(D)]


def test_idle_ones_end() -> None:
    """After a time without a request; a request that runs is use, and so is one not seen yet."""
    table = serving(A, B, idle=60)
    moments = [table.deadline]
    table.seen(A, Look(50, inside=True), 50)
    table.seen(B, Look(50), 50)
    moments.append(table.deadline)
    assert table.tick(61) == [Close(B)]
    assert table.closed(B, 61) == [Stop(B, "it was idle for 60 s")]
    moments.append(table.deadline)
    assert moments == [None, 61, None]
    table.seen(A, Look(70), 70)
    assert table.tick(109) == []
    assert table.tick(110) == [Close(A)]
    never = serving(A, idle=0)
    never.seen(A, Look(70), 70)
    assert never.deadline is None
    assert never.tick(10**9) == []


def test_lasting_ones_stay() -> None:
    """They neither end for idleness nor make room."""
    table = serving(A, most=1, idle=60, lasting=frozenset({A}))
    table.seen(A, Look(50), 50)
    assert table.deadline is None
    assert table.tick(1000) == []
    assert isinstance(table.wanted(B, 1000)[0], Refuse)


def test_what_is_known_may_be_old() -> None:
    """A connection was passed on after the last look: whether it is idle is not known."""
    table = serving(A, idle=10)
    table.seen(A, Look(18), 20)
    table.used(A, 19)
    assert table.tick(29) == []
    table.seen(A, Look(19.5), 29)
    assert table.tick(29) == []
    table.seen(A, Look(28), 30)
    assert table.tick(30) == [Close(A)]


def test_open_connections_are_use_when_they_last() -> None:
    """An idle one is closed before long: what stays open is a WebSocket. Neither ends by the clock;
    of those that make room a tenant with idle connections is one."""
    table = serving(A, B, most=2, idle=60, keep_alive=5)
    table.seen(A, Look(100, connected=True), 100)
    assert table.wanted(C, 100)[0] != Close(A)
    assert table.tick(1000) == []
    table = serving(A, B, most=2, keep_alive=5)
    table.seen(A, Look(3, connected=True), 3)
    assert table.wanted(C, 3) == [Close(A), Start(C)]


def test_wanted_just_when_it_closes() -> None:
    """The front had sent somebody here: it serves on, if its place is not needed."""
    table = serving(A, idle=60)
    table.seen(A, Look(59), 59)
    assert table.tick(60) == [Close(A)]
    assert table.wanted(A, 60) == []
    assert table.closed(A, 60) == [Open(A)]
    assert table.wanted(A, 61) == [Open(A)]
    table = serving(A, most=1)
    table.wanted(B, 5)
    table.wanted(A, 5)
    stopped, refused = table.closed(A, 5)
    assert stopped == Stop(A, "its place is needed")
    assert isinstance(refused, Refuse)


def test_it_is_started_beside_the_one_that_drains() -> None:
    """Whoever comes later does not wait for the old process to end."""
    table = serving(A, idle=60)
    table.seen(A, Look(59), 59)
    table.tick(60)
    table.closed(A, 60)
    assert table.wanted(A, 61) == [Start(A)]


def test_a_crash_parks_who_comes() -> None:
    """Until the next process serves, or the tenant has failed."""
    table = serving(A)
    assert table.down(A, 5) == [Close(A)]
    assert table.wanted(A, 5) == []
    assert table.closed(A, 5) == []
    assert table.ready(A, 6) == [Open(A)]
    table.down(A, 7)
    assert table.failed(A, "died", 8) == [Refuse(A, "died", 5)]


@dataclass
class World:
    """Front and processes, as simple as they can be; checks what always has to hold."""

    table: Table
    parked: dict[tuple[str, ...], int] = field(default_factory=dict)
    open: set[tuple[str, ...]] = field(default_factory=set)
    starting: list[tuple[str, ...]] = field(default_factory=list)
    closing: list[tuple[str, ...]] = field(default_factory=list)
    draining: list[tuple[str, ...]] = field(default_factory=list)
    now: float = 0.0

    def do(self, actions: list[Do]) -> None:
        """Carry out."""
        for action in actions:
            tenant = action.tenant
            match action:
                case Start():
                    assert tenant not in self.starting
                    self.starting.append(tenant)
                case Open():
                    self.open.add(tenant)
                    self.parked.pop(tenant, None)
                case Close():
                    self.open.discard(tenant)
                    self.closing.append(tenant)
                case Stop():
                    assert tenant not in self.open
                    self.draining.append(tenant)
                case Refuse():
                    assert action.retry_after >= 1
                    self.parked.pop(tenant, None)

    def step(self, what: str, index: int) -> None:
        """One thing that may happen."""
        tenant = (A, B, C, D)[index % 4]
        self.now += 1
        if what == "ask":
            if tenant not in self.open:
                self.parked[tenant] = self.parked.get(tenant, 0) + 1
                self.do(self.table.wanted(tenant, self.now))
        elif what in ("ready", "failed") and self.starting:
            tenant = self.starting.pop(index % len(self.starting))
            if what == "ready":
                self.do(self.table.ready(tenant, self.now))
            else:
                self.do(self.table.failed(tenant, "broken", self.now))
        elif what == "ack" and self.closing:
            tenant = self.closing.pop(0)
            if tenant in self.parked:
                self.do(self.table.wanted(tenant, self.now))
            self.do(self.table.closed(tenant, self.now))
        elif what == "gone" and self.draining:
            self.draining.pop(0)
            self.do(self.table.gone(self.now))
        elif what == "busy":
            self.table.seen(tenant, Look(self.now, inside=True), self.now)
        elif what == "quiet":
            self.table.seen(tenant, Look(self.now), self.now)
        elif what == "down" and tenant in self.open:
            self.do(self.table.down(tenant, self.now))
            self.starting.append(tenant)
        self.do(self.table.tick(self.now))
        self.check()

    def check(self) -> None:
        """What holds at any time."""
        states = [entry.state for entry in self.table.entries.values()]
        live = [state for state in states if state != State.CLOSING]
        assert len(live) <= self.table.rules.most
        assert self.table.draining == len(self.draining)
        assert len(self.draining) <= self.table.rules.draining
        assert states.count(State.SERVING) >= len(self.open)
        queued = states.count(State.QUEUED)
        assert not queued or states.count(State.STARTING) >= self.table.rules.at_once
        for tenant in self.parked:
            assert tenant in self.table.entries, "somebody waits for nothing"


STEPS = st.tuples(
    st.sampled_from(["ask", "ask", "ready", "failed", "ack", "gone", "busy", "quiet", "down"]),
    st.integers(0, 11),
)


@settings(max_examples=300)
@given(st.lists(STEPS, max_size=60), st.integers(1, 3), st.integers(1, 2))
def test_whatever_happens(steps: list[tuple[str, int]], most: int, at_once: int) -> None:
    """Never too many, nobody waits in vain, and in the end everybody has an answer."""
    world = World(Table(Rules(most=most, at_once=at_once, idle=20, draining=2)))
    for what, index in steps:
        world.step(what, index)
    for _ in range(30):
        for what in ("ack", "ready", "gone"):
            world.step(what, 0)
    assert not world.parked
