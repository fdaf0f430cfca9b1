"""Is it a race, and how little does it take?

What looked wrong is tried the other way round: a fresh process is sent the same requests, one at a
time. What happens there, too, is no race, and is learnt. What does not, is shown again with fewer
and fewer requests.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from time import monotonic
from typing import Final

from nogilserve.stress.bursts import Burst, alone
from nogilserve.stress.hunt import Episode, Suspicion, attempt, sort_of
from nogilserve.stress.process import SubjectDied
from nogilserve.stress.session import Session, Stage

__all__ = ["Shrunk", "happens_alone", "shrink"]

_LONGEST: Final = 8.0
"""Seconds for the control at most, …"""
_FIRST, _LAST = 40, 60
"""… and bursts at the beginning and the end of the episode that are repeated."""
_EACH: Final = 1.2
"""Seconds in which a set of requests has to show it."""
_COLD: Final = 6
"""Fresh processes in which it has to show it, if only their first requests do."""
_COLD_BURSTS: Final = 2
_PAUSES: Final = (300, 100, 500, 20)

type Shrunk = tuple[Suspicion, int, bool]
"""How it was seen last, with how few; after how many bursts; only in a fresh process."""


def happens_alone(session: Session, episode: Episode, suspicion: Suspicion) -> bool:
    """Send the episode's requests one at a time; whether the same is wrong then. All that is
    answered is learnt. Raises AppImportError."""
    until = monotonic() + _LONGEST
    source = session.random("control", episode.number)
    bursts = episode.bursts
    if len(bursts) > _FIRST + _LAST:
        bursts = bursts[:_FIRST] + bursts[-_LAST:]
    natural = False
    changed = set()
    with session.fresh() as stage:
        for burst in bursts:
            for which in source.sample(burst.requests, len(burst.requests)):
                if monotonic() > until:
                    break
                lesson = session.lessons[which]
                slot = source.randrange(session.most)
                try:
                    answer, failures = alone(session, stage, which, slot, burst.pauses)
                except SubjectDied:
                    return suspicion.sort == "crash"
                difference = lesson.judge(answer, stage.memory)
                if difference is not None:
                    natural |= (sort_of(difference), which) == (suspicion.sort, suspicion.which)
                if not answer.problem:
                    lesson.learn(answer, stage.subject.number, failures)
                    changed.add(which)
    for which in changed:
        session.lessons[which].settle()
    if natural and suspicion.sort == "answer" and suspicion.answer is not None:
        # It may be another difference, which only looks alike.
        return session.lessons[suspicion.which].judge(suspicion.answer, stage.memory) is None
    return natural


def shrink(
    session: Session,
    suspicion: Suspicion,
    *,
    early: bool,
    seconds: float,
    tell: Callable[[str], None],
) -> Shrunk | None:
    """Show it again with as few requests as possible; None if it does not show again. `early`: it
    was among the first requests of its process. Raises AppImportError."""
    until = monotonic() + seconds
    numbers = itertools.count(1)
    best: Shrunk | None = None
    with ExitStack() as stages:
        stage = stages.enter_context(session.fresh())
        for requests in _candidates(suspicion):
            if monotonic() > until:
                break
            tell(f"{len(requests)} requests, set {next(numbers)}")
            found = _show(session, stage, suspicion, requests, min(until, monotonic() + _EACH))
            if found is not None:
                best = found
                break
            if not stage.subject.is_alive():
                stage = stages.enter_context(session.fresh())
    if best is None and early:
        best = _shrink_cold(session, suspicion, until + seconds, tell)
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
    bursts: int = 1_000_000,
) -> Shrunk | None:
    """Send these requests at the same time again and again until the same is wrong."""
    source = session.random("shrink", *requests)
    for count in range(1, bursts + 1):
        if monotonic() > until:
            return None
        order = source.sample(requests, len(requests))
        pauses = _PAUSES[count % len(_PAUSES)]
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
                found = _show(session, stage, suspicion, requests, until, _COLD_BURSTS)
            if found is not None:
                return found[0], count, True
    return None
