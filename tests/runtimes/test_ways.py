"""The ways between a serving process and its members: channel, ledger, sender and intake."""

import errno
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from nogilserve.runtimes.channel import RIGHTS, Channel
from nogilserve.runtimes.feeder import Seat
from nogilserve.runtimes.intake import Intake, Sender, feed_pair
from nogilserve.runtimes.ledger import Ledger, RowShares
from nogilserve.runtimes.sums import merged, settled
from tests.engine.threads import Running

SECONDS = 10.0

pytestmark = pytest.mark.skipif(not RIGHTS, reason="this system passes no descriptors")


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    """Both ends of a channel."""
    one, two = socket.socketpair()
    with one, two:
        yield Channel(one), Channel(two)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """A ledger of two members."""
    made = Ledger(2)
    yield made
    made.close()


# ---- channel


def test_message_with_data(ends: tuple[Channel, Channel]) -> None:
    """Plain data arrives as it was, whatever its size."""
    here, there = ends
    data = {"big": "x" * 5_000_000, "small": [1, None, ("a", b"b")]}
    sending = Running(lambda: here.send("name", data))
    assert there.receive() == ("name", data, [])
    sending.result(SECONDS)


def test_message_with_sockets(ends: tuple[Channel, Channel]) -> None:
    """Sockets arrive with the message they were sent with, and are not inheritable."""
    here, there = ends
    here.send("without")
    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(5)]
        for pair in pairs:
            for sock in pair:
                stack.enter_context(sock)
        here.send("with", None, [ours for ours, _ in pairs])
        here.send("without")
        assert there.receive()[2] == []
        _, _, received = there.receive()
        assert there.receive()[2] == []
        for sock, (_, other) in zip(received, pairs, strict=True):
            with sock:
                assert not os.get_inheritable(sock.fileno())
                sock.send(b"!")
                assert other.recv(1) == b"!"


def test_messages_of_threads_stay_whole(ends: tuple[Channel, Channel]) -> None:
    """Many threads send at once over a channel that takes less than a message at a time."""
    here, there = ends
    texts = [str(number) * 100_000 for number in range(8)]
    threads = [Running(lambda text=text: here.send(text[0], text)) for text in texts]  # type: ignore[misc]
    found = {there.receive()[:2] for _ in texts}
    for thread in threads:
        thread.result(SECONDS)
    assert found == {(text[0], text) for text in texts}


@pytest.mark.parametrize("how", ["close", "half"])
def test_other_end_is_gone(ends: tuple[Channel, Channel], how: str) -> None:
    """EOFError, also in the middle of a message."""
    here, there = ends
    if how == "half":
        os.write(here.fileno(), b"\x00\x00")
    here.close()
    with pytest.raises(EOFError):
        there.receive()


# ---- ledger


def test_ledger_is_shared(ledger: Ledger) -> None:
    """What a member counts is seen by the other side, row by row."""
    member = Ledger(2, ledger.reference)
    row = member.row(1)
    row.take()
    row.take()
    row.close()
    assert (ledger.taken(1), ledger.closed(1)) == (2, 1)
    assert (ledger.taken(0), ledger.closed(0)) == (0, 0)
    row.begin()
    assert (ledger.taken(1), ledger.begun(1), ledger.closed(1)) == (2, 1, 1)
    ledger.bury(1)
    assert ledger.closed(1) == 3
    member.close()


def test_what_a_member_begins_is_not_missed(ledger: Ledger) -> None:
    """Connections that no feeder has handed over: they count while they are open, and neither
    owe the member any nor make it look slow later."""
    seat = Seat(0, ledger)
    shares = RowShares(1, ledger.row(0))
    shares.take(0)
    assert seat.load() == 1
    shares.release(0)
    assert seat.load() == 0
    for seconds in range(3):
        assert not seat.is_slow(100.0 + seconds)


def test_no_count_is_lost(ledger: Ledger) -> None:
    """Threads that count at once do not overwrite each other's counts."""
    shares = RowShares(2, ledger.row(0))
    barrier = threading.Barrier(4)

    def count(index: int) -> None:
        barrier.wait(SECONDS)
        for _ in range(2000):
            shares.release(shares.assign(index % 2))

    threads = [Running(lambda index=index: count(index)) for index in range(4)]  # type: ignore[misc]
    for thread in threads:
        thread.result(60)
    assert ledger.closed(0) == 8000
    assert shares.counts() == (0, 0)


# ---- sender and intake


class Way:
    """A way for connections, and clients to send over it. Owner: the test."""

    def __init__(self, ledger: Ledger, stack: ExitStack) -> None:
        sending, receiving = feed_pair()
        stack.enter_context(sending)
        stack.enter_context(receiving)
        self.stack = stack
        self.sender = Sender(sending)
        self.row = ledger.row(0)
        self.intake = Intake(receiving, socket.AF_INET, ("name", "80"), self.row)
        self.listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

    def connect(self) -> tuple[socket.socket, socket.socket, Any]:
        """A client, the accepted connection, and its address."""
        client = self.stack.enter_context(socket.create_connection(self.listener.getsockname()))
        connection, address = self.listener.accept()
        return client, self.stack.enter_context(connection), address


@pytest.fixture
def way(ledger: Ledger) -> Iterator[Way]:
    """A way to member 0."""
    with ExitStack() as stack:
        made = Way(ledger, stack)
        yield made


def test_connection_arrives(way: Way, ledger: Ledger) -> None:
    """With the address of its client, not inheritable, and counted as taken."""
    with pytest.raises(BlockingIOError):
        way.intake.accept()
    client, connection, address = way.connect()
    assert way.sender.send(connection, address)
    connection.close()
    arrived, known = way.intake.accept()
    with arrived:
        assert known == address
        assert not os.get_inheritable(arrived.fileno())
        arrived.send(b"!")
        assert client.recv(1) == b"!"
    assert (ledger.taken(0), ledger.closed(0)) == (1, 0)


def test_full_queue_is_said(way: Way) -> None:
    """When nobody takes anything, the sender says so instead of waiting; nothing is lost."""
    _, connection, address = way.connect()
    count = 0
    while way.sender.send(connection, address):
        count += 1
    assert count >= 10
    for _ in range(count):
        way.intake.accept()[0].close()
    with pytest.raises(BlockingIOError):
        way.intake.accept()
    assert way.sender.send(connection, address)


def test_accepting_process_is_gone(way: Way) -> None:
    """That is no connection."""
    way.sender.close()
    with pytest.raises(BlockingIOError):
        way.intake.accept()


def test_no_descriptor_left(way: Way, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system drops what it cannot give a number: said as EMFILE, counted as closed."""
    sock: Any = way.intake._sock

    class Exhausted:
        def recvmsg(self, *sizes: int) -> tuple[bytes, list[Any], int, None]:
            return sock.recvmsg(sizes[0], 0)[0], [], socket.MSG_CTRUNC, None

        def fileno(self) -> int:
            return int(sock.fileno())

    _, connection, address = way.connect()
    way.sender.send(connection, address)
    monkeypatch.setattr(way.intake, "_sock", Exhausted())
    with pytest.raises(OSError, match="an accepted connection is lost") as caught:
        way.intake.accept()
    assert caught.value.errno == errno.EMFILE
    assert (ledger.taken(0), ledger.closed(0)) == (1, 1)


def test_threads_take_each_connection_once(way: Way) -> None:
    """Several threads of a member accept from one intake: every connection goes to one of them."""
    made = [way.connect() for _ in range(60)]
    left = threading.Semaphore(60)

    def take() -> list[Any]:
        found = []
        while left.acquire(timeout=0):
            while True:
                try:
                    sock, address = way.intake.accept()
                except BlockingIOError:
                    continue
                sock.close()
                found.append(address)
                break
        return found

    takers: list[Running[list[Any]]] = [Running(take) for _ in range(4)]
    for _, connection, address in made:
        while not way.sender.send(connection, address):
            pass
    taken = [address for taker in takers for address in taker.result(SECONDS)]
    assert sorted(taken) == sorted(address for _, _, address in made)


# ---- sums


def test_sums() -> None:
    """Numbers are added, the longest wait is the longest, dictionaries are added by key."""
    one = {"requests": 1, "longest_wait": 2.0, "refused": {"a": 1}, "active": 1}
    two = {"requests": 5, "longest_wait": 1.0, "refused": {"a": 1, "b": 2}, "active": 0}
    expected = {"requests": 6, "longest_wait": 2.0, "refused": {"a": 2, "b": 2}, "active": 1}
    assert merged([one, two]) == merged([two, {}, one]) == expected
    assert settled(one) == {**one, "active": 0}
    assert one["refused"] == {"a": 1}
