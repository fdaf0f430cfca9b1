"""The life of connections against a plain model: whatever clients do in whatever order, and without
threads, because the test itself drives the core and takes it away from itself.

The model knows requests, answers and deadlines: no sockets, no protocol, no states of the code.
"""

from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nogilserve.messages import Exchange
from tests.engine.rig import Peer, Rig, Route, echo, get, parse, post, reply

BIG: Final = b"b" * (1 << 20)
"""More than the buffers of a socket pair take."""

IDLE, HEAD, BODY, WRITING, LINGER, CLOSED = "idle", "head", "body", "writing", "linger", "closed"
TIMES: Final = {"fresh": 10, "idle": 20, "head": 10, "body": 30, "writing": 100, "linger": 2}
"""Seconds that each state may last."""
_FRESH_AND_STOPPING: Final = 1


@dataclass
class Client:
    """What the model knows of one connection."""

    peer: Peer
    state: str = IDLE
    fresh: bool = True
    """It has not asked for anything yet."""
    rest: bytes = b""
    """What is missing of the request that it has begun."""
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    """What it has been answered, or is being."""
    behind: list[str] = field(default_factory=list)
    """Requests behind an answer that it does not read."""
    taken: bytes = b""
    warned: bool = False
    """Its last answer said that the connection ends."""
    gone: bool = False
    """It has closed its side of the connection."""
    silent: bool = False
    """It has closed its sending side."""

    def limit(self, stopping: bool) -> int:
        """Seconds until the server does not wait any longer."""
        if self.state == IDLE and self.fresh:
            return _FRESH_AND_STOPPING if stopping else TIMES["fresh"]
        return TIMES[self.state]


class Connections(RuleBasedStateMachine):
    """Clients of one core."""

    def __init__(self) -> None:
        super().__init__()
        routes: dict[str, Route] = {
            "/big": lambda exchange: reply(exchange, BIG),
            "/lost": self.lost,
            "/echo": echo,
            "/fast": reply,
        }
        self.rig = Rig(routes, keep_alive=20.0, write_timeout=100.0)
        self.rig.__enter__()
        self.clients: list[Client] = []
        self.run = 0
        self.stopping = False

    def lost(self, exchange: Exchange) -> None:
        """An application during whose call another thread takes the core."""
        self.rig.steal()
        reply(exchange, b"lost")

    def teardown(self) -> None:
        """The rig checks that nothing is left."""
        self.rig.__exit__(None, None, None)

    def settle(self) -> None:
        """Drive until nothing more happens, as the thief too where the core is lost."""
        while not self.rig.drive():
            pass

    # ---- the model

    def answered(self, client: Client, kind: str) -> None:
        """A request was complete, and is run if nothing is in its way."""
        if client.state == WRITING:
            client.behind.append(kind)
            return
        client.fresh = False
        client.warned = self.stopping
        self.run += 1
        body = {"big": BIG, "lost": b"lost", "echo": b"x" * 10}.get(kind, b"hello")
        client.answers.append((200, body))
        client.state = WRITING if kind == "big" else IDLE
        if client.state == IDLE:
            self.after_answer(client, ends=kind == "close")

    def after_answer(self, client: Client, *, ends: bool = False) -> None:
        """The whole answer is sent."""
        client.state = IDLE
        if ends:
            client.state = CLOSED
        elif client.warned:
            client.state = LINGER if client.behind else CLOSED
        elif not client.behind and (self.stopping or client.silent):
            client.state = CLOSED
        if client.state != IDLE:
            client.behind.clear()
        while client.behind and client.state == IDLE:
            self.answered(client, client.behind.pop(0))

    # ---- what clients do

    def some(self, data: st.DataObject, *states: str) -> Client | None:
        """A client that is still there and in one of these states."""
        fit = [c for c in self.clients if c.state in states and not c.gone and not c.silent]
        return data.draw(st.sampled_from(fit)) if fit else None

    @precondition(lambda self: len(self.clients) < 6 and not self.stopping)
    @rule()
    def connect(self) -> None:
        """Somebody comes."""
        self.clients.append(Client(self.rig.connect()))

    @rule(data=st.data(), kinds=st.lists(st.sampled_from(["fast", "lost", "big"]), min_size=1))
    def ask(self, data: st.DataObject, kinds: list[str]) -> None:
        """One request, or several at once."""
        client = self.some(data, IDLE, WRITING)
        if client is None or (self.stopping and client.state == WRITING):
            return
        kinds = kinds[:1] if self.stopping else kinds[:4]
        client.peer.send(b"".join(get(f"/{kind}") for kind in kinds))
        for kind in kinds:
            self.answered(client, kind)
        self.settle()

    @rule(data=st.data())
    def ask_for_the_last_time(self, data: st.DataObject) -> None:
        """A request that says so."""
        client = self.some(data, IDLE)
        if client is not None:
            client.peer.send(get("/fast", "Connection: close"))
            self.answered(client, "close")
            self.settle()

    @rule(data=st.data(), body=st.booleans(), cut=st.integers(1, 40))
    def begin(self, data: st.DataObject, body: bool, cut: int) -> None:
        """A part of a head, or a head and a part of its body."""
        client = self.some(data, IDLE)
        if client is None:
            return
        whole = post(b"x" * 10) if body else get("/fast")
        cut = len(whole) - 5 if body else min(cut, len(whole) - 1)
        client.peer.send(whole[:cut])
        client.rest = whole[cut:]
        client.state = BODY if body else HEAD
        self.settle()

    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """The rest of it."""
        client = self.some(data, HEAD, BODY)
        if client is None:
            return
        client.peer.send(client.rest)
        kind = "echo" if client.state == BODY else "fast"
        client.state = IDLE
        self.answered(client, kind)
        self.settle()

    @rule(data=st.data(), line=st.sampled_from([b"GET /\r\n\r\n", b"\0\r\n\r\n", b"A B C\r\n\r\n"]))
    def blunder(self, data: st.DataObject, line: bytes) -> None:
        """Something that is no request."""
        client = self.some(data, IDLE)
        if client is not None:
            client.peer.send(line)
            client.answers.append((400, b""))
            client.state = LINGER
            self.settle()

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        """Everything that comes."""
        client = self.some(data, WRITING)
        if client is None:
            return
        while client.state == WRITING:
            wanted = sum(len(body) for _, body in client.answers)
            while len(client.taken) < wanted:
                client.taken += client.peer.taken(1 << 18)
                self.settle()
            self.after_answer(client)
            self.settle()

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """Close, whatever is going on."""
        client = self.some(data, IDLE, HEAD, BODY, WRITING, LINGER)
        if client is not None:
            client.peer.sock.close()
            client.gone, client.state = True, CLOSED
            client.behind.clear()
            self.settle()

    @rule(data=st.data())
    def half_close(self, data: st.DataObject) -> None:
        """Send nothing more, and wait for the rest of the answers."""
        client = self.some(data, IDLE, HEAD, BODY)
        if client is None:
            return
        client.peer.sock.shutdown(1)
        client.silent = True
        if client.state == IDLE:
            client.state = CLOSED
        else:
            client.answers.append((400, b""))
            client.state = CLOSED  # a refusal is lingered upon, and the end is there already
        self.settle()

    @rule(seconds=st.sampled_from([5, 15, 25, 40, 150]))
    def wait(self, seconds: int) -> None:
        """Nobody does anything for so long; a deadline may be seen a second late."""
        self.rig.look_after(seconds)
        for client in self.clients:
            if client.state == CLOSED or seconds <= client.limit(self.stopping):
                continue
            if client.state in (HEAD, BODY):
                client.answers.append((408, b""))
                client.state = LINGER
            else:
                client.state = CLOSED
                client.behind.clear()
        self.settle()

    @precondition(lambda self: not self.stopping and len(self.clients) > 3)
    @rule()
    def stop(self) -> None:
        """The engine stops: who is idle is not waited for, or hardly; others get their answers."""
        self.stopping = True
        self.rig.stop()
        for client in self.clients:
            if client.state == IDLE and not client.fresh:
                client.state = CLOSED

    # ---- what must be so

    @invariant()
    def as_many_connections(self) -> None:
        """None is forgotten, and none is kept."""
        core = self.rig.core
        states = [client.state for client in self.clients]
        assert core.connections == sum(state != CLOSED for state in states), states
        assert self.rig.shares.counts() == (core.connections,)
        assert core.counters.closed == states.count(CLOSED)

    @invariant()
    def counters_agree(self) -> None:
        """Every request was run once, and none is in progress."""
        core = self.rig.core
        assert core.counters.requests == core.calls == len(self.rig.ran) == self.run
        assert not any(client.peer.busy() for client in self.clients)
        assert bool(core.held) == any(client.state == WRITING for client in self.clients)

    @invariant()
    def answers_agree(self) -> None:
        """Each client has got what it asked for, in order."""
        for client in self.clients:
            if client.gone or client.state == WRITING:
                continue
            client.taken += client.peer.taken()
            if client.answers and client.answers[-1][1] is BIG and client.state == CLOSED:
                continue  # given up in the middle
            got = [(answer.status, answer.body) for answer in parse(client.taken)]
            assert [status for status, _ in got] == [status for status, _ in client.answers]
            for (status, body), (_, expected) in zip(got, client.answers, strict=True):
                assert status != 200 or body == expected
            assert client.peer.closed == (client.state in (LINGER, CLOSED))

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        """Every open connection has a deadline."""
        now = monotonic()
        for client in self.clients:
            if client.state != CLOSED:
                assert client.peer.connection.deadline < now + 101


TestConnections = Connections.TestCase
TestConnections.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)
