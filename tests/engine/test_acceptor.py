"""Accepting: who gets a connection, what happens at the end, and without descriptors."""

import json
import socket
import struct
import subprocess
import sys
from ast import literal_eval
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import pytest

from nogilserve.engine.acceptor import Acceptor
from nogilserve.engine.connection import Connection
from nogilserve.engine.core import Core
from nogilserve.engine.poller import POLLERS
from nogilserve.engine.wheel import NEVER
from tests.engine.cores import Listening, make_cores
from tests.engine.rig import get, parse
from tests.engine.threads import SECONDS
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


class Door:
    """A listening socket watched by some cores, all driven by the test."""

    def __init__(self, stack: ExitStack, count: int, poller: str = "auto", path: str = "") -> None:
        if path:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
            self.listener.listen(100)
        else:
            self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.listener.setblocking(False)
        stack.enter_context(self.listener)
        self.stack = stack
        self.cores = make_cores(count, poller)
        for core in self.cores:
            core.lock.acquire()
        self.acceptors = [Acceptor(Listening(self.listener), self.cores) for _ in self.cores]
        for core, acceptor in zip(self.cores, self.acceptors, strict=True):
            acceptor.start(core)
        stack.callback(self.close)

    def connect(self) -> socket.socket:
        """A client; it waits to be accepted when this returns."""
        client = self.stack.enter_context(socket.socket(self.listener.family))
        client.settimeout(SECONDS)
        before = self.queued()
        client.connect(self.listener.getsockname())
        if before is not None:
            wait_until(lambda: self.queued() == before + 1, SECONDS)
        return client

    def queued(self) -> int | None:
        """Connections that wait to be accepted (tcpi_unacked of tcp(7)); None where unknown."""
        if self.listener.family == socket.AF_UNIX or not sys.platform.startswith("linux"):
            return None
        info = self.listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        count: int = struct.unpack_from("I", info, 24)[0]
        return count

    def drive(self, core: Core) -> None:
        """Do all that is to be done on a core now."""
        assert core.drive(home=False, until=monotonic() + SECONDS)

    def close(self) -> None:
        """Free everything."""
        for core, acceptor in zip(self.cores, self.acceptors, strict=True):
            acceptor.stop(core)
        for core in self.cores:
            self.stack.callback(core.close)
            self.drive(core)
            for entry in list(core.table.values()):
                if isinstance(entry, Connection):
                    entry.close(core)
            assert core.connections == 0
        assert set(self.cores[0].shares.counts()) == {0}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes what a test opens."""
    with ExitStack() as made:
        yield made


@pytest.mark.parametrize("poller", POLLERS)
def test_connections_are_spread_over_the_cores(stack: ExitStack, poller: str) -> None:
    """One core accepts, and gives each connection to a core with the fewest."""
    door = Door(stack, 3, poller)
    for _ in range(10):
        door.connect()
    wait_until(door.cores[1].has_work, SECONDS)
    door.drive(door.cores[1])
    assert door.cores[1].counters.accepted == 10
    for core in door.cores:
        door.drive(core)
    assert sorted(core.connections for core in door.cores) == [3, 3, 4]
    assert door.cores[1].connections == 4
    assert sorted(door.cores[0].shares.counts()) == [3, 3, 4]


def test_closed_connections_count_no_longer(stack: ExitStack) -> None:
    """New connections go where old ones have left."""
    door = Door(stack, 2)
    clients = [door.connect() for _ in range(4)]
    for core in (*door.cores, *door.cores):
        door.drive(core)
    assert door.cores[0].shares.counts() == (2, 2)
    there = {
        entry.client[1]
        for entry in door.cores[1].table.values()
        if isinstance(entry, Connection) and entry.client is not None
    }
    for client in clients:
        if str(client.getsockname()[1]) in there:
            client.close()
    wait_until(door.cores[1].has_work, SECONDS)
    door.drive(door.cores[1])
    assert door.cores[0].shares.counts() == (2, 0)
    door.connect()
    door.drive(door.cores[0])
    door.drive(door.cores[1])
    assert door.cores[0].shares.counts() == (2, 1)
    assert door.cores[1].connections == 1


def answer(door: Door, client: socket.socket) -> object:
    """What the application says about the two ends of this connection."""
    client.sendall(get())
    for core in (*door.cores, *door.cores):
        door.drive(core)
    client.setblocking(False)
    [response] = parse(client.recv(65536))
    return literal_eval(response.body.decode())


def test_application_knows_both_ends(stack: ExitStack) -> None:
    """The client's address and port are those of the peer, the server's those configured."""
    client = (door := Door(stack, 2)).connect()
    host, port = client.getsockname()
    assert answer(door, client) == ((host, str(port)), ("localhost", "80"))


def test_unix_clients_have_no_address(stack: ExitStack, tmp_path: Path) -> None:
    """A unix socket says nothing about its client."""
    door = Door(stack, 1, path=str(tmp_path / "s"))
    assert answer(door, door.connect()) == (None, ("localhost", "80"))


def test_many_connections_leave_room_for_other_events(stack: ExitStack) -> None:
    """A flood is accepted in portions; in the end all of it is."""
    door = Door(stack, 1)
    [core] = door.cores
    for _ in range(80):
        door.connect()
    wait_until(core.has_work, SECONDS)
    assert core.drive(home=False, until=0.0)  # nothing taken from the poller yet
    turns = core.turns
    door.drive(core)
    assert core.connections == 80
    assert core.turns - turns >= 3


@pytest.mark.parametrize("poller", POLLERS)
def test_stop_takes_what_waits(stack: ExitStack, poller: str) -> None:
    """What the system has queued before the stop is accepted; later nothing is."""
    door = Door(stack, 2, poller)
    for _ in range(40):
        door.connect()
    door.acceptors[0].stop(door.cores[0])
    assert sum(core.counters.accepted for core in door.cores) == 40
    door.acceptors[1].stop(door.cores[1])
    for core in door.cores:
        door.drive(core)
    assert [core.connections for core in door.cores] == [20, 20]
    door.connect()
    for core in door.cores:
        door.drive(core)
    assert sum(core.counters.accepted for core in door.cores) == 40


def test_stop_may_be_repeated(stack: ExitStack) -> None:
    """A second stop does nothing."""
    door = Door(stack, 1)
    for _ in range(2):
        door.acceptors[0].stop(door.cores[0])
    assert door.cores[0].counters.accepted == 0


def test_listening_socket_shut_down_by_others_is_the_end_of_accepting(stack: ExitStack) -> None:
    """A socket that refuses is no error to be counted or logged again and again."""
    door = Door(stack, 1)
    door.listener.shutdown(socket.SHUT_RD)
    assert door.cores[0].drive(home=False, until=monotonic() + 0.05)
    assert door.cores[0].counters.refused == {}
    assert door.acceptors[0].deadline == NEVER


def test_connection_that_cannot_be_watched_is_closed(stack: ExitStack, tmp_path: Path) -> None:
    """A descriptor that the poller refuses costs that connection and nothing else."""
    fcntl, resource = pytest.importorskip("fcntl"), pytest.importorskip("resource")
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 1200:
        pytest.skip("so many descriptors are not allowed")
    door = Door(stack, 1, "select", str(tmp_path / "s"))
    [core], [acceptor] = door.cores, door.acceptors
    ours, theirs = (stack.enter_context(end) for end in socket.socketpair())
    high = socket.socket(fileno=fcntl.fcntl(ours.fileno(), fcntl.F_DUPFD, 1100))
    stack.enter_context(high)
    ours.close()
    core.shares.assign(0)
    acceptor.adopt(high, "", core)
    door.drive(core)
    assert core.connections == 0
    assert core.shares.counts() == (0,)
    assert sum(core.counters.refused.values()) == 1
    theirs.settimeout(SECONDS)
    assert theirs.recv(1) == b""
    assert answer(door, door.connect()) == (None, ("localhost", "80"))


def test_without_descriptors_it_pauses_and_recovers() -> None:
    """EMFILE is counted once, the core does not spin, and goes on when descriptors are free."""
    pytest.importorskip("resource")
    run = subprocess.run(
        [sys.executable, "-m", "tests.engine.exhausted"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    exhausted, paused, recovered = json.loads(run.stdout)
    assert (exhausted["accepted"], exhausted["connections"]) == (1, 1)
    assert exhausted["refused"] == {"accept: EMFILE": 1}
    assert not exhausted["work"], "the socket is still watched"
    assert exhausted["turns"] < 10
    assert paused == exhausted, "the pause is over at once"
    assert (recovered["accepted"], recovered["connections"]) == (4, 4)
    assert recovered["refused"] == {"accept: EMFILE": 1}
    assert "cannot accept connections" in run.stderr
    assert "ulimit" in run.stderr
