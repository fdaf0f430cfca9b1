"""One decides who answers: the application that begins, or the watch that gives it up."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from nogilserve.engine.body import BodyStore
from nogilserve.engine.timeouts import Abandoned, Turn, Watch
from nogilserve.errors import ClientDisconnected
from nogilserve.messages import Request, TimeLimits
from tests.engine.threads import Running
from tests.support.waiting import wait_until

REQUEST = Request("GET", "/slow", "/slow", "", 1, [], "a", 0, True, False, "")


class FakeCore:
    """Keeps what it is to do."""

    def __init__(self) -> None:
        self.submitted: list[Callable[[Any], bool]] = []

    def submit(self, what: Callable[[Any], bool]) -> None:
        """Keep it."""
        self.submitted.append(what)

    def drive_as_spare(self) -> None:
        """Nothing to drive."""


class FakeExchange:
    """A connection that notes what is done with it."""

    def __init__(self) -> None:
        self.core = FakeCore()
        self.request = REQUEST
        self.scheme = "http"
        self.client = None
        self.server = ("localhost", "80")
        self.tls = None
        self.redirects = False
        self.received = 0
        self.request_id = "abc"
        self.head_sent = False
        self.done: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: self.done.append(name)

    def time_out(self, turn: Turn, core: Any) -> bool:
        """The answer of the watch."""
        self.done.append("time_out")
        return True


def turn_of(exchange: FakeExchange) -> Turn:
    """Its turn, whose time is over at 10."""
    made: Any = exchange
    return Turn(made, 10.0)


FIRST: list[Callable[[Turn], object]] = [
    lambda turn: turn.send_whole(b"x"),
    lambda turn: turn.send_head(None),
    lambda turn: turn.send_early_hints([]),
]


@pytest.mark.parametrize("begin", FIRST)
def test_application_that_has_begun_is_left_alone(begin: Callable[[Turn], object]) -> None:
    """Once it answers it may take its time."""
    turn = turn_of(FakeExchange())
    begin(turn)
    assert not turn.expire()
    turn.send_data(b"more")
    turn.send_end()
    assert turn.come_back()


@pytest.mark.parametrize(
    "use", [*FIRST, lambda turn: turn.prepare("200 OK", []), lambda turn: turn.open_body()]
)
def test_application_that_was_given_up_touches_nothing(use: Callable[[Turn], object]) -> None:
    """Whatever it does ends in an error, and the connection sees nothing of it."""
    exchange = FakeExchange()
    turn = turn_of(exchange)
    assert turn.expire()
    assert not turn.expire()
    with pytest.raises(ClientDisconnected):
        use(turn)
    turn.abort()
    assert exchange.done == []
    assert not turn.come_back()


def test_both_at_the_same_moment() -> None:
    """Between the application's look and its claim the watch comes: one of them wins."""
    exchange = FakeExchange()
    turn = turn_of(exchange)
    won: list[bool] = []
    turn.lock = Before(lambda: won.append(turn.expire()))  # type: ignore[assignment]
    try:
        turn.send_whole(b"x")
    except ClientDisconnected:
        assert won == [True]
    else:
        assert won == [False]
    assert ("send_whole" in exchange.done) is not won[0]


class Before:
    """A lock that runs `between` right before it is first acquired."""

    def __init__(self, between: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._between: Callable[[], None] | None = between

    def __enter__(self) -> None:
        hook, self._between = self._between, None
        if hook is not None:
            hook()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


@pytest.mark.parametrize("returned", [False, True])
def test_body_is_closed_when_both_have_let_go(returned: bool) -> None:
    """The application may still be reading it when the connection is done with it."""
    store = BodyStore()
    store.write(b"x" * 300_000)
    file = store.open()
    turn = turn_of(FakeExchange())
    assert turn.expire()
    if returned:
        assert not turn.come_back()
        turn.keep(store)
    else:
        turn.keep(store)
        assert not file.closed
        assert not turn.come_back()
    assert file.closed


def test_watch_gives_up_and_takes_back(caplog: pytest.LogCaptureFixture) -> None:
    """The stuck thread is replaced, its stack logged; when it comes back one is let go."""
    exchange = FakeExchange()
    replaced: list[object] = []
    dismissed: list[str] = []
    watch = Watch(TimeLimits(0.05), replaced.append, lambda: dismissed.append("one"))
    gate = threading.Event()

    def gateway(turn: Any) -> None:
        assert gate.wait(10)
        with pytest.raises(ClientDisconnected):
            turn.send_whole(b"late")

    call = watch.wrap(lambda: gateway)()
    keeper = Running(watch.run)
    made: Any = exchange

    def run() -> str:
        try:
            call(made)
        except Abandoned:
            return "abandoned"
        return "answered"

    stuck = Running(run)
    wait_until(lambda: replaced)
    assert watch.stuck == 1
    (submitted,) = exchange.core.submitted
    assert submitted(exchange.core)
    wait_until(lambda: "It is at:" in caplog.text)
    assert watch.stuck == 1
    assert "request abc: GET /slow has not begun its response in 0.05 s" in caplog.text
    assert "assert gate.wait(10)" in caplog.text
    gate.set()
    assert stuck.result() == "abandoned"
    assert (watch.stuck, dismissed, exchange.done) == (0, ["one"], ["time_out"])
    watch.stop()
    keeper.result()
