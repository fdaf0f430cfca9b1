"""Clients that read slowly, or not at all: no thread is held for them, memory is bounded."""

from collections.abc import Iterator

import pytest

from nogilserve.engine.exchange import MEMORY_HIGH
from nogilserve.messages import Exchange
from tests.engine.rig import Rig, get, read_all, reply
from tests.engine.threads import Running
from tests.support.leaks import descriptors
from tests.support.waiting import Deadline

PATTERN = bytes(range(251)) * 4200
"""A megabyte that shows where each byte is from."""


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A core without routes of its own."""
    with Rig() as made:
        yield made


def test_thread_is_not_held_for_a_finished_response(rig: Rig) -> None:
    """The application is done although the client has read nothing; the core sends the rest."""
    rig.routes["/big"] = lambda exchange: reply(exchange, PATTERN * 3)
    peer, other = rig.connect(receive_buffer=8192).send(get("/big")), rig.connect().send(get())
    assert rig.drive()
    assert not peer.busy()
    assert rig.core.counters.requests == 2
    assert other.bodies() == [b"hello"]
    data = read_all(rig, peer, lambda data: len(data) > len(PATTERN) * 3)
    assert data.partition(b"\r\n\r\n")[2] == PATTERN * 3
    peer.send(get("/next"))
    assert rig.drive()
    assert peer.bodies() == [b"/next"]


def test_requests_behind_a_slow_response_wait(rig: Rig) -> None:
    """Pipelined requests are run when the client has taken what came before."""
    rig.routes["/big"] = lambda exchange: reply(exchange, PATTERN)
    peer = rig.connect(receive_buffer=8192).send(get("/big") + get("/after"))
    assert rig.drive()
    assert rig.ran == ["/big"]
    data = read_all(rig, peer, lambda data: data.endswith(b"\r\n\r\n/after"))
    assert rig.ran == ["/big", "/after"]
    assert PATTERN in data


def test_memory_of_a_streamed_response_is_bounded(rig: Rig) -> None:
    """What a client does not read goes to disk; the order of the bytes stays."""
    held: list[int] = []

    def big(exchange: Exchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(len(PATTERN) * 4)
        for _ in range(4):
            for start in range(0, len(PATTERN), 40_000):
                exchange.send_data(PATTERN[start : start + 40_000])
                outbox = peer.connection._outbox
                held.append(outbox.memory if outbox is not None else 0)
        exchange.send_end()

    rig.routes["/big"] = big
    peer = rig.connect(receive_buffer=8192).send(get("/big"))
    before = len(descriptors())
    assert rig.drive()
    assert max(held) <= MEMORY_HIGH + 50_000
    assert len(descriptors()) == before + 1  # the spool
    data = read_all(rig, peer, lambda data: len(data) > len(PATTERN) * 4)
    assert data.partition(b"\r\n\r\n")[2] == PATTERN * 4
    assert len(descriptors()) == before


def test_memory_of_a_core_is_bounded(rig: Rig) -> None:
    """Many slow readers together get no more memory than the core allows; the rest is on disk."""
    size = 6_000_000
    rig.routes["/big"] = lambda exchange: reply(exchange, b"x" * size)
    peers = [rig.connect(receive_buffer=8192).send(get("/big")) for _ in range(6)]
    assert rig.drive()
    assert 0 < rig.core.held <= 1 << 24
    assert sum(peer.connection._outbox is not None for peer in peers) == 6
    for peer in peers:
        peer.sock.close()
    assert rig.drive()
    assert rig.core.held == 0


def test_client_that_reads_on_is_sent_on(rig: Rig) -> None:
    """Each byte that the client takes pushes the stall back; without one it is cut off."""
    rig.routes["/big"] = lambda exchange: reply(exchange, PATTERN * 3)
    peer = rig.connect(receive_buffer=8192).send(get("/big"))
    assert rig.drive()
    first = peer.connection.deadline
    for _ in range(3):
        assert peer.taken(1 << 16)
        assert rig.drive()
    assert peer.connection.deadline > first
    rig.look_after(58.0)
    assert rig.core.connections == 1
    rig.look_after(61.5)
    assert rig.core.connections == 0
    assert rig.refused == {"response not read": 1}
    assert rig.core.held == 0


def test_slow_reader_that_leaves(rig: Rig) -> None:
    """A client that closes in the middle of its response frees everything at once."""
    rig.routes["/big"] = lambda exchange: reply(exchange, PATTERN * 3)
    before = len(descriptors())
    peer = rig.connect(receive_buffer=8192).send(get("/big"))
    assert rig.drive()
    peer.sock.close()
    assert rig.drive()
    assert rig.core.connections == 0
    assert len(descriptors()) == before


def test_slow_reader_whose_core_was_lost(rig: Rig) -> None:
    """The rest of a response finished by a thread without a core is sent by the new driver."""

    def big(exchange: Exchange) -> None:
        rig.steal()
        reply(exchange, PATTERN)

    rig.routes["/big"] = big
    peer = rig.connect(receive_buffer=8192).send(get("/big") + get("/after"))
    assert not rig.drive()
    data = read_all(rig, peer, lambda data: data.endswith(b"\r\n\r\n/after"))
    assert PATTERN in data


def test_stalled_reader_is_told_to_the_application() -> None:
    """With memory and spool full the application's thread waits, but not longer than the stall
    timeout: then it is told that the client is gone."""
    piece = b"z" * (1 << 24)

    def endless(exchange: Exchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(None)
        deadline = Deadline(60)
        while deadline.require("it is never told"):
            exchange.send_data(piece)

    with Rig({"/endless": endless}, write_timeout=0.05) as rig:
        peer = rig.connect().send(get("/endless"))
        assert Running(rig.drive).result(60)
        assert len(rig.disconnected) == 1
        assert peer.taken()
        assert peer.closed
        assert rig.core.connections == 0
