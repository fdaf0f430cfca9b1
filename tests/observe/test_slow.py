"""The watch for slow requests: one report each, with the places it was seen at."""

import logging
import threading
from collections.abc import Callable

import pytest

from nogilserve.observe.slow import Slow, SlowWatch

LOGGER = "nogilserve.slow"


def slow(number: int, where: Callable[[], str] | None, began: float = 0.0) -> Slow:
    """A request that is inside since then."""
    thread = threading.get_ident()
    return Slow((number, began), f"GET /{number}", f"id-{number}", began, thread, where)


@pytest.fixture
def log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> pytest.LogCaptureFixture:
    """What is logged, whatever the logger was set to before."""
    monkeypatch.setattr(logging.getLogger("nogilserve"), "propagate", True)
    caplog.set_level(logging.WARNING, LOGGER)
    return caplog


def test_a_request_is_reported_once_when_it_is_over(log: pytest.LogCaptureFixture) -> None:
    """The places are counted, the most frequent one comes first."""
    places = iter(['  File "a.py", line 1, in a', *['  File "b.py", line 2, in b'] * 2])
    inside = [slow(1, lambda: next(places))]
    watch = SlowWatch(1.0, lambda: inside)
    watch.look(0.5)
    for now in (1.0, 2.0, 3.5):
        watch.look(now)
    assert log.messages == []
    inside.clear()
    watch.look(4.0)
    watch.look(5.0)
    (message,) = log.messages
    assert message.startswith("[id-1] GET /1 was inside the application for 3.5 s:")
    assert message.index("in b") < message.index("in a")
    assert "in 2 of 3 looks" in message


def test_quick_requests_are_left_alone(log: pytest.LogCaptureFixture) -> None:
    """Another request of the same thread is another one, and none of them was slow."""
    inside: list[Slow] = []
    watch = SlowWatch(1.0, lambda: inside)
    for number in range(5):
        inside[:] = [slow(7, None, began=float(number))]
        watch.look(number + 0.9)
    assert log.messages == []


def test_threads_are_looked_at(log: pytest.LogCaptureFixture) -> None:
    """Without a task the stack of the thread is what is shown."""
    inside = [slow(1, None)]
    watch = SlowWatch(0.1, lambda: inside)
    watch.look(1.0)
    inside.clear()
    watch.look(2.0)
    assert "test_threads_are_looked_at" in log.messages[0]


def test_the_servers_own_coroutines_are_left_out(log: pytest.LogCaptureFixture) -> None:
    """What is shown of a task begins with the application."""
    text = (
        '  File "/x/nogilserve/gateways/asgi/gateway.py", line 5, in AsgiGateway.http\n    await\n'
        '  File "/srv/main.py", line 3, in app\n    await query()'
    )
    inside = [slow(1, lambda: text)]
    watch = SlowWatch(0.1, lambda: inside)
    watch.look(1.0)
    inside.clear()
    watch.look(2.0)
    assert "AsgiGateway" not in log.messages[0]
    assert "await query()" in log.messages[0]


def test_an_error_does_not_end_the_watch(log: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next look happens."""
    looks = threading.Semaphore(0)

    def inside() -> list[Slow]:
        looks.release()
        raise RuntimeError("broken")

    watch = SlowWatch(0.05, inside)
    thread = threading.Thread(target=watch.run)
    thread.start()
    for _ in range(3):
        assert looks.acquire(timeout=10)
    watch.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert "internal error" in log.messages[0]
