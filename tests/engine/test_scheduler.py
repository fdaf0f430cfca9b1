"""How connections are shared out over cores, and which kinds of requests are known to be slow."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from nogilserve.engine.scheduler import Slow
from nogilserve.engine.shares import Shares
from tests.engine.threads import SECONDS, Running

# ---- shares


@given(st.integers(1, 5), st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=60))
def test_shares_model(cores: int, script: list[tuple[bool, int]]) -> None:
    """A new connection always goes to a core with the fewest, here if here is one of them."""
    shares = Shares(cores)
    model = [0] * cores
    for opening, number in script:
        here = number % cores
        if opening:
            target = shares.assign(here)
            assert model[target] == min(model)
            assert target == here or model[here] > min(model)
            model[target] += 1
        elif model[here]:
            shares.release(here)
            model[here] -= 1
        assert shares.counts() == tuple(model)


def test_shares_stay_balanced_between_threads() -> None:
    """All threads assign from their own core at once: counts differ by one at most."""
    shares, each = Shares(3), 500
    start = threading.Barrier(3)

    def assign(here: int) -> list[int]:
        start.wait(SECONDS)
        return [shares.assign(here) for _ in range(each)]

    running = [Running(lambda here=here: assign(here)) for here in range(3)]  # type: ignore[misc]
    targets = [target for thread in running for target in thread.result()]
    assert shares.counts() == (each, each, each)
    for target in targets:
        shares.release(target)
    assert shares.counts() == (0, 0, 0)


# ---- slow kinds


def test_slow_learns_and_forgets() -> None:
    """One long call proves nothing, the second one does; some short ones in a row undo it."""
    slow, kind = Slow(), ("GET", "report")
    assert not slow.scores
    slow.was_long(kind)
    assert not slow.is_slow(kind)
    slow.was_long(kind)
    assert slow.is_slow(kind)
    assert not slow.is_slow(("GET", "other"))
    shorts = 0
    while slow.scores:
        slow.was_short(kind)
        shorts += 1
        assert shorts < 100
    assert shorts > 1
    assert not slow.is_slow(kind)
    slow.was_short(("GET", "never seen"))
    assert not slow.scores


def test_slow_is_sure_only_to_a_degree() -> None:
    """However often a kind was long, a bounded number of short calls makes it forgotten."""
    slow = Slow()
    for _ in range(1000):
        slow.was_long("kind")
    for _ in range(20):
        slow.was_short("kind")
    assert not slow.scores


def test_slow_is_bounded() -> None:
    """Clients choose paths, so the table takes no more than so many; the known go on learning."""
    slow = Slow()
    for number in range(10_000):
        slow.was_long(number)
    assert 0 < len(slow.scores) <= 1000
    before = slow.scores[0]
    slow.was_long(0)
    assert slow.scores[0] > before
