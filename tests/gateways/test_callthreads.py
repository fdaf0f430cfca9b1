"""Threads that call what may block, for event loops."""

import threading
from collections.abc import Iterator
from functools import partial

import pytest

from nogilserve.gateways.callthreads import CallThreads
from tests.support.waiting import wait_until


@pytest.fixture
def threads() -> Iterator[CallThreads]:
    """Three at most."""
    made = CallThreads(3)
    yield made
    made.close()
    wait_until(lambda: not alive())


def alive() -> list[threading.Thread]:
    """Those of `CallThreads` that have not ended."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("call-")]


def test_all_are_used_and_no_more(threads: CallThreads) -> None:
    """Calls that wait for each other run at once, as many as there may be; the next one waits."""
    together = threading.Barrier(4)
    late = threading.Event()
    for _ in range(3):
        threads.submit(lambda: together.wait(10))
    threads.submit(late.set)
    assert not late.is_set()
    together.wait(10)
    assert late.wait(10)
    assert len(alive()) == 3


def test_every_submission_of_many_threads_is_called_once(threads: CallThreads) -> None:
    """Submitted from several threads at once, while workers come and go idle."""
    called: list[int] = []
    start = threading.Barrier(4)

    def submit(first: int) -> None:
        start.wait(10)
        for number in range(first, first + 200):
            threads.submit(partial(called.append, number))

    submitters = [threading.Thread(target=submit, args=(1000 * part,)) for part in range(4)]
    for thread in submitters:
        thread.start()
    for thread in submitters:
        thread.join(10)
    wait_until(lambda: len(called) == 800)
    assert len(set(called)) == 800


def test_one_that_is_stuck_is_replaced(threads: CallThreads) -> None:
    """With `replace` one more may run; when the stuck one comes back there is one less."""
    stuck, free = threading.Event(), threading.Event()
    for _ in range(3):
        threads.submit(lambda: stuck.wait(10))
    threads.submit(free.set)
    threads.replace(+1)
    threads.submit(lambda: None)
    assert free.wait(10)
    assert threads.replaced() == 1
    stuck.set()
    threads.replace(-1)
    assert threads.replaced() == 0
    threads.submit(lambda: None)
    wait_until(lambda: len(alive()) <= 3)


def test_what_raises_costs_no_thread(
    threads: CallThreads, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the next one is called."""
    after = threading.Event()

    def fail() -> None:
        raise RuntimeError("on purpose")

    threads.submit(fail)
    threads.submit(after.set)
    assert after.wait(10)
    wait_until(lambda: "on purpose" in caplog.text)  # another thread may have called the second


def test_nothing_is_taken_when_closed() -> None:
    """Submitting says so, and idle threads end."""
    made = CallThreads(1)
    done = threading.Event()
    made.submit(done.set)
    assert done.wait(10)
    made.close()
    with pytest.raises(RuntimeError):
        made.submit(done.set)
    wait_until(lambda: not alive())
