"""Is it a race, and how little does it take?

What looked wrong is tried the other way round: a fresh process is sent the same requests, one at a
time. What happens there, too, is no race, and is learnt. What does not, is shown again with fewer
and fewer requests.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from time import monotonic
from typing import Final

from nogilserve.stress.bursts import Burst, alone, miscounted
from nogilserve.stress.growth import Grown, Growth
from nogilserve.stress.hunt import Episode, Suspicion, attempt, sort_of
from nogilserve.stress.lessons import Memory, failure_key
from nogilserve.stress.process import SubjectDied
from nogilserve.stress.session import Session, Stage

__all__ = ["Shrunk", "growth_alone", "happens_alone", "shrink"]

_LONGEST: Final = 8.0
"""Seconds for the control at most, …"""
_FIRST, _LAST = 40, 60
"""… and bursts at the beginning and the end of the episode that are repeated."""
_EACH: Final = 1.2
"""Seconds in which a set of requests has to show it."""
_PAIR: Final = 2
_COLD: Final = 6
"""Fresh processes in which it has to show it, if only their first requests do."""
_COLD_BURSTS: Final = 2
_PAUSES: Final = (500, 300, 100, 20)

type Shrunk = tuple[Suspicion, int, bool]
"""How it was seen last, with how few; after how many bursts; only in a fresh process."""


def happens_alone(
    session: Session, bursts: Sequence[Burst], suspicion: Suspicion, name: str
) -> bool:
    """Send the requests of these bursts one at a time; whether the same is wrong then. All that is
    answered is learnt. `name` makes the choices. Raises AppImportError."""
    until = monotonic() + _LONGEST
    if len(bursts) > _FIRST + _LAST:
        bursts = [*bursts[:_FIRST], *bursts[-_LAST:]]
    source = session.random("control", name)
    changed: set[int] = set()
    natural = False
    # What the request is answered may depend on what was asked before it, so it gets its turn
    # before the others, after them, and between them.
    mixed = any(set(burst.requests) != {suspicion.which} for burst in bursts)
    for place in (-1, 1, 0) if mixed else (0,):
        if monotonic() > until or natural:
            break
        with session.fresh() as stage:
            orders = [_order(source, burst.requests, suspicion.which, place) for burst in bursts]
            natural = _one_at_a_time(session, stage, orders, suspicion, until, source, changed)
    for which in changed:
        session.lessons[which].settle()
    if natural and suspicion.sort == "answer" and suspicion.answer is not None:
        # It may be another difference, which only looks alike.
        return session.lessons[suspicion.which].judge(suspicion.answer, Memory()) is None
    return natural


def growth_alone(session: Session, episode: Episode) -> Grown:
    """How much memory a fresh process takes for the episode's requests, one at a time. Raises
    AppImportError."""
    until = monotonic() + _LONGEST
    with session.fresh() as stage:
        growth = Growth(stage.subject.memory)
        try:
            for burst in itertools.cycle(episode.bursts):
                for which in burst.requests:
                    if (now := monotonic()) > until:
                        return growth.seen()
                    alone(session, stage, which)
                    growth.look(now, stage.sent)
        except SubjectDied:
            pass
        return growth.seen()


def _order(source: random.Random, requests: Sequence[int], which: int, place: int) -> list[int]:
    """Some order, with one of the requests first (-1), last (1) or anywhere (0)."""
    shuffled = source.sample(requests, len(requests))
    return sorted(shuffled, key=lambda each: place * (each == which))


def _one_at_a_time(
    session: Session,
    stage: Stage,
    orders: Sequence[Sequence[int]],
    suspicion: Suspicion,
    until: float,
    source: random.Random,
    changed: set[int],
) -> bool:
    """Whether the same is wrong; the lessons that learnt something are added to `changed`."""
    natural = False
    miscounted(session, stage)
    for order in orders:
        for which in order:
            if monotonic() > until:
                return natural
            lesson = session.lessons[which]
            slot = source.randrange(session.most)
            try:
                answer, failures = alone(session, stage, which, slot, suspicion.burst.pauses)
            except SubjectDied:
                return suspicion.sort == "crash"
            difference = lesson.judge(answer, stage.memory)
            if difference is not None:
                natural |= (sort_of(difference), which) == (suspicion.sort, suspicion.which)
            if set(map(failure_key, failures)) - lesson.failures:
                natural |= ("error", which) == (suspicion.sort, suspicion.which)
            if not answer.problem:
                lesson.learn(answer, stage.subject.number, failures)
                changed.add(which)
        for _, difference in miscounted(session, stage):
            natural |= difference.kind == suspicion.sort
    return natural


def shrink(
    session: Session,
    suspicion: Suspicion,
    *,
    is_early: bool,
    seconds: float,
    tell: Callable[[str], None],
) -> Shrunk | None:
    """Show it again with as few requests as possible; None if it does not show again. `is_early`:
    the request was among the first of its kind in its process. Raises AppImportError."""
    until = monotonic() + seconds
    numbers = itertools.count(1)
    best: Shrunk | None = None
    with ExitStack() as stages:
        stage = stages.enter_context(session.fresh())
        # What is made once in the life of a process shows in a fresh one or not at all.
        for requests in () if is_early and suspicion.sort == "constant" else _candidates(suspicion):
            if monotonic() > until:
                break
            tell(f"{len(requests)} requests, set {next(numbers)}")
            found = _show(
                session, stage, suspicion, requests, min(until, monotonic() + _EACH), "warm"
            )
            if found is not None:
                best = _fewer(session, stages, found, suspicion, until)
                break
            if not stage.subject.is_alive():
                stage = stages.enter_context(session.fresh())
    if best is None and is_early:
        best = _shrink_cold(session, suspicion, until + seconds, tell)
    return best


def _fewer(
    session: Session, stages: ExitStack, found: Shrunk, suspicion: Suspicion, until: float
) -> Shrunk:
    """Leave out one request after the other, as long as it still shows."""
    best = found
    smaller = True
    while smaller and len(best[0].burst.requests) > _PAIR:
        smaller = False
        requests = list(best[0].burst.requests)
        for which in dict.fromkeys(requests):
            left = requests.copy()
            left.remove(which)
            if suspicion.which >= 0 and suspicion.which not in left:
                continue
            # What has just shown it may have left something behind.
            stage = stages.enter_context(session.fresh())
            again = _show(session, stage, suspicion, left, min(until, monotonic() + _EACH), "few")
            if again is not None:
                best, smaller = again, True
                break
    return best


def _candidates(suspicion: Suspicion) -> Iterator[list[int]]:
    """Sets of requests, the smallest first."""
    burst = list(suspicion.burst.requests)
    others = list(dict.fromkeys(burst))
    if suspicion.which >= 0:
        main = suspicion.which
        others.remove(main)
        others.sort(key=lambda other: -burst.count(other))
        yield [main, main]
        if not others:
            yield [main] * 4
        yield from ([main, other] for other in others)
        yield from ([main, other, other] for other in others)
        yield from ([main, *pair] for pair in itertools.combinations(others, 2))
    else:
        yield from ([each, each] for each in others)
        yield from map(list, itertools.combinations(others, 2))
        yield from map(list, itertools.combinations(others, 3))
    if len(burst) > 3:
        yield burst[: len(burst) // 2]
    yield burst


def _show(
    session: Session,
    stage: Stage,
    suspicion: Suspicion,
    requests: Sequence[int],
    until: float,
    name: str,
    bursts: int = 1_000_000,
) -> Shrunk | None:
    """Send these requests at the same time again and again until the same is wrong."""
    source = session.random("shrink", name, *requests)
    for count in range(1, bursts + 1):
        if monotonic() > until:
            return None
        order = source.sample(requests, len(requests))
        pauses = _PAUSES[(count - 1) % len(_PAUSES)]
        burst = Burst(order, pauses, source.getrandbits(32))
        found = attempt(session, stage, burst, detail=True)
        for each in found:
            if each.same_as(suspicion):
                return each, count, False
        if any(each.sort == "crash" for each in found):
            return None
    return None


def _shrink_cold(
    session: Session, suspicion: Suspicion, until: float, tell: Callable[[str], None]
) -> Shrunk | None:
    """The same with fresh processes for each set of requests."""
    for requests in _candidates(suspicion):
        tell(f"{len(requests)} requests, in fresh processes")
        for count in range(1, _COLD + 1):
            if monotonic() > until:
                return None
            with session.fresh() as stage:
                name = f"cold {count}"
                found = _show(session, stage, suspicion, requests, until, name, _COLD_BURSTS)
            if found is not None:
                return found[0], count, True
    return None
