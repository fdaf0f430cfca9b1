"""Every poller of this system shows the same behaviour."""

import select
import socket
import threading
from collections.abc import Iterator

import pytest

from nogilserve.engine.poller import POLLERS, READ, WRITE, Poller, make_poller, wait_for
from nogilserve.errors import ConfigError
from tests.engine.threads import SECONDS, Running
from tests.support.waiting import wait_until

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=list(POLLERS))
def poller(request: pytest.FixtureRequest) -> Iterator[Poller]:
    """One of each kind."""
    made = make_poller(request.param)
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two connected sockets, non-blocking."""
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    with left, right:
        yield left, right


def fill(sock: socket.socket) -> None:
    """Write until the system takes no more."""
    try:
        while sock.send(b"x" * 65536):
            pass
    except BlockingIOError:
        pass


def drain(sock: socket.socket) -> None:
    """Read until there is nothing."""
    try:
        while sock.recv(65536):
            pass
    except BlockingIOError:
        pass


def test_reports_readable_again_and_again(poller: Poller, pair: Pair) -> None:
    """A readable descriptor is reported until it is read: pollers are level-triggered."""
    left, right = pair
    poller.register(left.fileno(), READ)
    assert poller.poll(0) == []
    right.send(b"x")
    assert poller.poll(SECONDS) == [(left.fileno(), READ)]
    assert poller.poll(SECONDS) == [(left.fileno(), READ)]
    left.recv(1)
    assert poller.poll(0) == []


def test_reports_writable(poller: Poller, pair: Pair) -> None:
    """Writing is reported while there is room, and again once the other side has read."""
    left, right = pair
    poller.register(left.fileno(), WRITE)
    assert poller.poll(0) == [(left.fileno(), WRITE)]
    fill(left)
    assert poller.poll(0) == []
    drain(right)
    assert poller.poll(SECONDS) == [(left.fileno(), WRITE)]


def test_reports_both_directions_in_one_event(poller: Poller, pair: Pair) -> None:
    """A descriptor that can be read and written gives one event with both bits."""
    left, right = pair
    poller.register(left.fileno(), READ | WRITE)
    right.send(b"x")
    assert poller.poll(SECONDS) == [(left.fileno(), READ | WRITE)]


def test_modify_changes_what_is_watched(poller: Poller, pair: Pair) -> None:
    """After modify only the events of the new mask are reported."""
    left, right = pair
    right.send(b"x")
    poller.register(left.fileno(), READ)
    poller.modify(left.fileno(), WRITE)
    assert poller.poll(0) == [(left.fileno(), WRITE)]
    poller.modify(left.fileno(), READ)
    assert poller.poll(0) == [(left.fileno(), READ)]


def test_mask_zero_is_silent_until_modified(poller: Poller, pair: Pair) -> None:
    """Mask 0, from the start or later, keeps a descriptor known and quiet."""
    left, right = pair
    right.send(b"x")
    poller.register(left.fileno(), 0)
    assert poller.poll(0) == []
    assert not poller.peek()
    poller.modify(left.fileno(), READ)
    assert poller.poll(0) == [(left.fileno(), READ)]
    poller.modify(left.fileno(), 0)
    assert poller.poll(0) == []
    poller.unregister(left.fileno())


def test_unregistered_is_forgotten(poller: Poller, pair: Pair) -> None:
    """After unregister nothing is reported; the descriptor can be registered afresh."""
    left, right = pair
    right.send(b"x")
    poller.register(left.fileno(), READ)
    poller.unregister(left.fileno())
    assert poller.poll(0) == []
    poller.register(left.fileno(), READ)
    assert poller.poll(0) == [(left.fileno(), READ)]


def test_end_of_stream_is_readable(poller: Poller, pair: Pair) -> None:
    """The other side's end is reported to who watches for reading."""
    left, right = pair
    poller.register(left.fileno(), READ)
    right.close()
    [(fd, mask)] = poller.poll(SECONDS)
    assert fd == left.fileno()
    assert mask & READ


def test_poll_waits_for_its_timeout_and_no_longer(poller: Poller, pair: Pair) -> None:
    """Without an event poll returns an empty list when the timeout has passed."""
    poller.register(pair[0].fileno(), READ)
    assert Running(lambda: poller.poll(0.02)).result() == []


def test_negative_timeout_waits_for_an_event(poller: Poller, pair: Pair) -> None:
    """With a negative timeout poll returns when, and only when, something happens."""
    left, right = pair
    poller.register(left.fileno(), READ)
    with Running(lambda: poller.poll(-1)) as waiting:
        right.send(b"x")
        assert waiting.result() == [(left.fileno(), READ)]


def test_peek_from_another_thread(poller: Poller, pair: Pair) -> None:
    """While the owner is blocked in poll, any thread may peek, and sees the same readiness."""
    left, _ = pair
    wake, waker = socket.socketpair()
    with wake, waker:
        poller.register(wake.fileno(), READ)
        poller.register(left.fileno(), 0)
        begun = threading.Event()

        def owner() -> list[tuple[int, int]]:
            begun.set()
            return poller.poll(-1)

        with Running(owner) as waiting:
            assert begun.wait(SECONDS)
            for _ in range(100):
                assert not poller.peek()
            waker.send(b"!")
            wait_until(poller.peek, SECONDS)
            assert poller.peek()
            assert waiting.result() == [(wake.fileno(), READ)]


def test_peek_while_the_owner_closes(poller: Poller, pair: Pair) -> None:
    """Somebody who peeks may have read the table before the owner took out what it has closed by
    now: that breaks nobody."""
    left, right = pair
    poller.register(left.fileno(), READ)
    done = threading.Event()

    def owner() -> None:
        try:
            for _ in range(2000):
                end, other = socket.socketpair()
                other.close()
                poller.register(end.fileno(), READ)
                poller.unregister(end.fileno())
                end.close()
        finally:
            done.set()

    with Running(owner) as closing:
        while not done.is_set():
            poller.peek()
        closing.result()
    right.send(b"x")
    assert poller.peek()


def test_listener(poller: Poller) -> None:
    """A listening socket is reported when a connection waits, to several pollers if need be."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        other = make_poller()
        poller.register_listener(listener.fileno())
        other.register_listener(listener.fileno())
        try:
            with socket.create_connection(listener.getsockname(), SECONDS):
                [(fd, mask)] = poller.poll(SECONDS)
                assert fd == listener.fileno()
                assert mask & READ
                assert other.peek()
                listener.accept()[0].close()
                assert poller.poll(0) == []
        finally:
            poller.unregister(listener.fileno())
            other.close()


def test_many_descriptors_all_get_their_turn(poller: Poller) -> None:
    """More ready descriptors than one batch holds are all reported within a few polls."""
    pairs = [socket.socketpair() for _ in range(100)]
    try:
        for left, right in pairs:
            poller.register(left.fileno(), READ)
            right.send(b"x")
        socks = {left.fileno(): left for left, _ in pairs}
        seen = set()
        for _ in range(20):
            for fd, _mask in poller.poll(0):
                socks[fd].recv(1)
                seen.add(fd)
        assert seen == set(socks)
    finally:
        for left, right in pairs:
            left.close()
            right.close()


@pytest.fixture
def high() -> Iterator[socket.socket]:
    """A socket whose descriptor is beyond what select can watch."""
    fcntl, resource = pytest.importorskip("fcntl"), pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip("so many descriptors are not allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    left, right = socket.socketpair()
    try:
        with left, right:
            made = socket.socket(fileno=fcntl.fcntl(left.fileno(), fcntl.F_DUPFD, 1100))
            with made:
                yield made
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_descriptor_that_select_cannot_watch(high: socket.socket, pair: Pair) -> None:
    """It is refused when it is registered, so that it cannot break every later poll."""
    left, right = pair
    poller = make_poller("select")
    poller.register(left.fileno(), READ)
    with pytest.raises(OSError, match=r"[Ff]ile|descriptor"):
        poller.register(high.fileno(), READ)
    right.send(b"x")
    assert poller.poll(0) == [(left.fileno(), READ)]
    poller.close()


def test_wait_for_a_high_descriptor(high: socket.socket) -> None:
    """Waiting for one socket has no such limit where poll exists."""
    assert wait_for(high.fileno(), WRITE, SECONDS)


def test_wait_for_readiness(pair: Pair) -> None:
    """wait_for says True once the descriptor is ready, False after the timeout."""
    left, right = pair
    assert wait_for(left.fileno(), WRITE, SECONDS)
    assert not wait_for(left.fileno(), READ, 0.01)
    assert not wait_for(left.fileno(), READ, -1)
    with Running(lambda: wait_for(left.fileno(), READ, SECONDS)) as waiting:
        right.send(b"x")
        assert waiting.result()


def test_wait_for_a_peer_that_is_gone(pair: Pair) -> None:
    """A closed peer ends the wait: reading or writing then tells what happened."""
    left, right = pair
    fill(left)
    right.close()
    assert wait_for(left.fileno(), WRITE, SECONDS)


def test_auto_takes_the_best() -> None:
    """Without a wish the first of the list is made."""
    made = make_poller()
    assert type(made) is next(iter(POLLERS.values()))
    made.close()


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="Linux")
def test_linux_prefers_epoll() -> None:
    """epoll does not slow down with the number of connections."""
    assert list(POLLERS) == ["epoll", "poll", "select"]


def test_unknown_poller_is_a_configuration_error() -> None:
    """The error names what was asked for and what there is."""
    with pytest.raises(ConfigError) as caught:
        make_poller("devpoll")
    assert "devpoll" in str(caught.value)
    assert all(name in str(caught.value) for name in POLLERS)
