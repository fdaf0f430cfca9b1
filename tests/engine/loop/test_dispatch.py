"""Accepting for event loops: even shares, new listeners, exhaustion, failed loops, the end."""

import errno
import os
import socket
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from nogilserve.engine.loop.core import Accepted
from nogilserve.engine.loop.dispatch import Dispatcher
from nogilserve.engine.poller import POLLERS
from nogilserve.engine.shares import Shares
from tests.engine.threads import Running
from tests.support.waiting import wait_until


class Listening:
    """A listening socket as the dispatcher wants it. Owner: the test; `error` is raised once."""

    def __init__(self) -> None:
        self.real = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.real.setblocking(False)
        self.errors: list[OSError] = []
        self.server = ("test", "80")
        self.role = "tls"

    @property
    def socket(self) -> Any:
        """Itself: it may fail instead of accepting."""
        return self

    @property
    def family(self) -> int:
        """Of the socket."""
        return self.real.family

    def fileno(self) -> int:
        """Of the socket."""
        return self.real.fileno()

    def accept(self) -> Any:
        """As a socket, or an error that was ordered."""
        if self.errors:
            raise self.errors.pop()
        return self.real.accept()


class Loop:
    """Where connections go. Any thread: `got` is only appended to by the dispatcher."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.got: list[Accepted] = []
        self.late = False
        self.closed = False

    def adopt_soon(self, batch: Sequence[Accepted]) -> None:
        """Remembered."""
        if self.closed:
            raise RuntimeError("Event loop is closed")
        self.got += batch

    def is_late(self, seconds: float) -> bool:
        """Whether it is blocked."""
        return self.late


class Accepting:
    """A running dispatcher with its loops and clients. Owner: the test."""

    def __init__(self, loops: int, **options: Any) -> None:
        self.listener = Listening()
        self.loops: Any = [Loop(index) for index in range(loops)]
        self.shares = Shares(loops)
        self.dispatcher = Dispatcher(self.loops, self.shares, **options)
        self.running = Running(self.dispatcher.run)
        self.listeners = [self.listener]
        self.clients: list[socket.socket] = []

    def watch(self, listener: Any = None) -> None:
        """Accept from it."""
        self.dispatcher.watch([listener or self.listener])

    def connect(self, count: int = 1, listener: Any = None) -> None:
        """So many clients, not waited for."""
        address = (listener or self.listener).real.getsockname()
        for _ in range(count):
            self.clients.append(socket.create_connection(address, 5))

    def got(self) -> int:
        """Connections handed over."""
        return sum(len(loop.got) for loop in self.loops)

    def __enter__(self) -> "Accepting":
        return self

    def __exit__(self, *_: object) -> None:
        if self.running.alive():
            self.dispatcher.stop()
        self.running.result()
        for loop in self.loops:
            for accepted in loop.got:
                os.close(accepted.fd)
        for each in [*self.clients, *(listener.real for listener in self.listeners)]:
            each.close()


@pytest.mark.parametrize("poller", POLLERS)
def test_even_shares(poller: str) -> None:
    """Of 64 connections on 8 loops each gets its share, whether they come together or not."""
    with Accepting(8, poller=poller) as accepting:
        accepting.connect(30)
        accepting.watch()
        accepting.connect(34)
        wait_until(lambda: accepting.got() == 64)
        assert [len(loop.got) for loop in accepting.loops] == [8] * 8
        assert accepting.shares.counts() == (8,) * 8
        one = accepting.loops[0].got[0]
        assert one.client is not None
        assert one.client[0] == "127.0.0.1"
        assert one.server == ("test", "80")


def test_a_loop_with_fewer_gets_the_next() -> None:
    """Who has lost connections is given the new ones."""
    with Accepting(4) as accepting:
        accepting.watch()
        accepting.connect(8)
        wait_until(lambda: accepting.got() == 8)
        accepting.shares.release(2)
        accepting.shares.release(2)
        accepting.connect(2)
        wait_until(lambda: accepting.got() == 10)
        assert [len(loop.got) for loop in accepting.loops] == [2, 2, 4, 2]


def test_blocked_loops_get_none() -> None:
    """Unless all of them are blocked."""
    with Accepting(3, late=0.25) as accepting:
        accepting.loops[0].late = accepting.loops[2].late = True
        accepting.watch()
        accepting.connect(4)
        wait_until(lambda: accepting.got() == 4)
        assert [len(loop.got) for loop in accepting.loops] == [0, 4, 0]
        accepting.loops[1].late = True
        accepting.connect(2)
        wait_until(lambda: accepting.got() == 6)


def test_a_loop_that_has_failed_costs_its_connections_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They are closed, and given back; accepting goes on."""
    with Accepting(2) as accepting:
        accepting.loops[0].closed = True
        accepting.watch()
        accepting.connect(1)
        accepting.clients[0].settimeout(5)
        assert accepting.clients[0].recv(1) == b""
        accepting.loops[0].closed = False
        accepting.connect(2)
        wait_until(lambda: accepting.got() == 2)
        assert accepting.shares.counts() == (1, 1)
    assert "takes no connections" in caplog.text


def test_more_listeners_while_it_runs() -> None:
    """Another socket is watched too, from another thread, in the middle."""
    with Accepting(2) as accepting:
        accepting.watch()
        accepting.connect(2)
        other = Listening()
        accepting.listeners.append(other)
        threading.Thread(target=accepting.watch, args=[other]).start()
        accepting.connect(2, other)
        wait_until(lambda: accepting.got() == 4)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_exhaustion(number: int, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once and counted; accepting pauses, also for listeners that are added then, and
    goes on."""
    with Accepting(1) as accepting:
        accepting.listener.errors.append(OSError(number, "none left"))
        accepting.connect(1)
        accepting.watch()
        wait_until(lambda: accepting.dispatcher.refused)
        other = Listening()
        accepting.listeners.append(other)
        accepting.watch(other)
        accepting.connect(1, other)
        wait_until(lambda: accepting.got() == 2)
    assert accepting.dispatcher.refused == {f"accept: {errno.errorcode[number]}": 1}
    assert caplog.text.count("trying again in 1 s") == 1


def test_other_errors_do_not_pause(caplog: pytest.LogCaptureFixture) -> None:
    """A connection that broke before it was accepted, or an error of the network."""
    with Accepting(1) as accepting:
        accepting.listener.errors += [
            OSError(errno.EPROTO, "broken"),
            OSError(errno.ECONNABORTED, "gone"),
        ]
        accepting.connect(1)
        accepting.watch()
        wait_until(lambda: accepting.got() == 1)
    assert list(accepting.dispatcher.refused) == ["accept: EPROTO"]


@pytest.mark.parametrize("count", [0, 1, 100])
@pytest.mark.parametrize("pausing", [False, True])
def test_stop_takes_what_waits(count: int, pausing: bool) -> None:
    """Connections in the listen queue are accepted before the end, also during a pause."""
    with Accepting(3) as accepting:
        if pausing:
            accepting.listener.errors.append(OSError(errno.EMFILE, "none left"))
            accepting.connect(1)
            accepting.watch()
            wait_until(lambda: accepting.dispatcher.refused)
            accepting.connect(count)
        else:
            accepting.connect(count)
            accepting.watch()
        accepting.dispatcher.stop()
        accepting.running.result()
        assert accepting.got() == count + pausing


class Hasty:
    """A queue whose reader has taken what was put, and ended, before `put` returns."""

    def __init__(self, accepting: Accepting) -> None:
        self._accepting = accepting
        self._items: list[object] = []

    def put(self, item: object) -> None:
        """Put, and have the dispatcher look for another reason."""
        self._items.append(item)
        self._accepting.dispatcher._writer.send(b"!")
        self._accepting.running.result()

    def get_nowait(self) -> object:
        """Take."""
        return self._items.pop(0)


def test_stop_that_is_obeyed_before_it_wakes() -> None:
    """The dispatcher was awake already: it is gone when it is to be woken."""
    accepting = Accepting(1)
    commands: Any = Hasty(accepting)
    accepting.dispatcher._commands = commands
    accepting.dispatcher.stop()
    accepting.running.result()
    accepting.listener.real.close()
