"""Who gets a connection: the feeder alone, with the ways' other ends held by the test."""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from nogilserve.runtimes.channel import RIGHTS
from nogilserve.runtimes.feeder import Feeder, Seat
from nogilserve.runtimes.intake import Intake, Sender, feed_pair
from nogilserve.runtimes.ledger import Ledger, Row
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(not RIGHTS, reason="this system passes no descriptors")


@dataclass(frozen=True)
class Listening:
    """A listening socket as the feeder wants it."""

    socket: Any
    server: tuple[str, str] = ("name", "80")
    role: str = "plain"


class Stage:
    """A feeder with members played by the test. Owner: the test."""

    def __init__(self, stack: ExitStack, members: int, listener: Any = None) -> None:
        self.stack = stack
        self.ledger = Ledger(members)
        self.seats = [Seat(index, self.ledger) for index in range(members)]
        self.rows: list[Row] = [self.ledger.row(index) for index in range(members)]
        self.listener: Any = listener or stack.enter_context(
            socket.create_server(("127.0.0.1", 0), backlog=512)
        )
        self.listener.setblocking(False)
        senders, self.intakes = [], []
        for row in self.rows:
            sending, receiving = feed_pair()
            stack.enter_context(sending)
            stack.enter_context(receiving)
            senders.append(Sender(sending))
            self.intakes.append(Intake(receiving, socket.AF_INET, ("name", "80"), row))
        self.feeder = Feeder(self.seats, "auto")
        self.feeder.start()
        self.feeder.watch(Listening(self.listener), senders)

    def open(self, *indexes: int) -> None:
        """Members that take connections from now on; the others do not."""
        for seat in self.seats:
            seat.opened = seat.index in indexes
        self.feeder.wake()

    def connect(self, count: int) -> list[socket.socket]:
        """New clients."""
        address = self.listener.getsockname()
        return [self.stack.enter_context(socket.create_connection(address)) for _ in range(count)]

    def given(self) -> list[int]:
        """Connections that each member was given."""
        return [seat.given for seat in self.seats]

    def holds(self) -> bool:
        """Whether a connection was accepted that nobody has been given."""
        return self.feeder.accepted > sum(self.given())

    def wait_given(self, *expected: int) -> None:
        """Wait until the members were given that many."""
        wait_until(lambda: self.given() == list(expected), 10, f"{self.given()}")

    def take(self, index: int, count: int) -> None:
        """A member takes connections and keeps them open."""
        for _ in range(count):
            self.stack.enter_context(self.intakes[index].accept()[0])

    def end(self) -> None:
        """Stop, and insist that the feeder ends."""
        self.feeder.stop()
        assert self.feeder.stopped.wait(10)
        self.feeder.close()
        self.ledger.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A feeder with three members, none open yet."""
    with ExitStack() as stack:
        made = Stage(stack, 3)
        yield made
        made.end()


def test_fewest_first(stage: Stage) -> None:
    """Connections go where the fewest are, those that were closed not counted."""
    stage.open(0, 1, 2)
    stage.connect(6)
    stage.wait_given(2, 2, 2)
    for index in range(3):
        stage.take(index, 2)
    stage.rows[1].close()
    stage.rows[1].close()
    stage.connect(2)
    stage.wait_given(2, 4, 2)


def test_equals_take_turns(stage: Stage) -> None:
    """Short connections one after the other do not all go to the first member."""
    stage.open(0, 1, 2)
    for number in range(6):
        stage.connect(1)
        wait_until(lambda wanted=number + 1: sum(stage.given()) == wanted)  # type: ignore[misc]
        index = number % 3
        stage.take(index, 1)
        stage.rows[index].close()
    assert stage.given() == [2, 2, 2]


def test_nobody_is_there(stage: Stage) -> None:
    """Without an open seat nothing is accepted; what waits is served as soon as there is one."""
    stage.connect(5)
    assert stage.feeder.accepted == 0
    stage.open(1)
    stage.wait_given(0, 5, 0)
    stage.open(2)
    stage.connect(1)
    stage.wait_given(0, 5, 1)


def test_slow_member_is_avoided(stage: Stage) -> None:
    """One that takes nothing for a while gets nothing more, whatever its load."""
    stage.open(0, 1)
    stage.connect(4)
    stage.wait_given(2, 2, 0)
    stage.take(0, 2)
    # Both look equally loaded; the test waits until time has told them apart.
    before = stage.given()

    def avoided() -> bool:
        nonlocal before
        stage.connect(1)
        wait_until(lambda: sum(stage.given()) > sum(before))
        went_to = [now - then for now, then in zip(stage.given(), before, strict=True)].index(1)
        if went_to == 0:
            stage.take(0, 1)
        before = stage.given()
        return before[0] - before[1] >= 5

    wait_until(avoided, 20)


def test_full_member_is_passed_over(stage: Stage) -> None:
    """When its queue is full the next one gets the connection, when all are it waits."""
    stage.open(0)
    clients = 0
    # A queue takes some hundred messages. What was accepted is given within moments, or not at all.
    with suppress(TimeoutError):
        while clients < 5000:
            stage.connect(50)
            clients += 50
            wait_until(lambda asked=clients: sum(stage.given()) == asked, 1)  # type: ignore[misc]
    full = stage.seats[0].given
    assert full < clients
    stage.open(0, 1)
    wait_until(lambda: sum(stage.given()) == clients, 10)
    assert stage.seats[0].given == full


def test_stop_hands_over_what_waits(stage: Stage) -> None:
    """Connections that are not accepted yet at the stop are, and are handed over."""
    stage.connect(7)
    for seat in stage.seats:
        seat.opened = seat.index == 2
    stage.feeder.stop()
    assert stage.feeder.stopped.wait(10)
    assert stage.given() == [0, 0, 7]


def test_stop_hands_over_what_is_held(stage: Stage) -> None:
    """Where the member's queue is full at the stop, it takes the rest as soon as it can."""
    clients = 0
    stage.open(0)
    with suppress(TimeoutError):
        while clients < 5000:
            stage.connect(50)
            clients += 50
            wait_until(lambda asked=clients: stage.given()[0] == asked, 1)  # type: ignore[misc]
    wait_until(stage.holds, 10)
    stage.feeder.stop()
    while not stage.feeder.stopped.is_set():
        with suppress(BlockingIOError):
            stage.intakes[0].accept()[0].close()
    assert stage.given()[0] == clients
    assert stage.feeder.refused == {}


class Failing:
    """A listening socket that has no descriptor left at first."""

    def __init__(self, sock: socket.socket, failures: int) -> None:
        self._sock = sock
        self.failures = failures

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def accept(self) -> Any:
        """Fails at first."""
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return self._sock.accept()


def test_no_descriptor_left(caplog: pytest.LogCaptureFixture) -> None:
    """It says so, counts it, pauses, and accepts again."""
    with ExitStack() as stack:
        sock = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        stage = Stage(stack, 1, Failing(sock, 1))
        stage.open(0)
        stage.connect(1)
        stage.wait_given(1)
        assert stage.feeder.refused == {"accept: EMFILE": 1}
        assert "cannot accept connections: [Errno 24] Too many open files" in caplog.text
        stage.end()
