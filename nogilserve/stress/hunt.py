"""Phase 2: bursts of requests that run at the same time, judged by what was learnt.

An episode is a fresh process and the bursts it gets. Two of three episodes are short and send each
request at the same time as copies of itself, because much goes wrong only once in the life of a
process, when things are made at first use. The others grow longer and longer. The first wrong
answer ends an episode: what comes after it may be its consequence.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from nogilserve.stress.answers import Answer
from nogilserve.stress.bursts import Burst, Outcome, first_plans, miscounted, perform, plan
from nogilserve.stress.growth import Grown, Growth
from nogilserve.stress.lessons import Difference
from nogilserve.stress.process import SubjectDied
from nogilserve.stress.session import Session, Stage

__all__ = ["Episode", "Suspicion", "run_episode", "sort_of"]

_FIRST: Final = 1.0
_LONGEST: Final = 16.0
_STARTS: Final = 3
"""A long episode lasts so many times as long as its process takes to start, at least."""
_ANSWERS: Final = frozenset({"status", "head", "body"})


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Something that may be wrong. Immutable."""

    sort: str
    """Kind of finding, see `findings.Finding`."""
    which: int
    """Number of the lesson, -1 for none."""
    difference: Difference
    burst: Burst
    outcome: Outcome | None
    """None when the process has died."""
    answer: Answer | None = None
    failures: tuple[str, ...] = ()
    index: int = -1
    """Place of the request in the burst."""

    def same_as(self, other: "Suspicion") -> bool:
        """Whether another one is of the same sort and about the same request."""
        return (self.sort, self.which) == (other.sort, other.which)


@dataclass
class Episode:
    """What happened to one process. Owner: the driving thread."""

    number: int
    bursts: list[Burst] = field(default_factory=list)
    requests: int = 0
    suspicion: Suspicion | None = None
    grown: Grown | None = None
    """How much memory its process took, if it took more and more."""


def sort_of(difference: Difference) -> str:
    """The kind of finding that a difference makes."""
    return "answer" if difference.kind in _ANSWERS else difference.kind


def run_episode(
    session: Session,
    number: int,
    until: float,
    is_known: Callable[[Suspicion], bool],
    tell: Callable[[int], None],
) -> Episode:
    """Send bursts to a fresh process until something is wrong or the time is over (monotonic
    seconds). `is_known` says whether to go on nevertheless; `tell` hears how many requests were
    sent. Raises AppImportError."""
    episode = Episode(number)
    source = session.random("episode", number)
    began = monotonic()
    with session.fresh() as stage:
        started = monotonic()
        end = min(until, started + _length(number, started - began))
        miscounted(session, stage)
        growth = Growth(stage.subject.memory)
        first = first_plans(source, session.lessons, session.most)
        # However slowly it has started: the first process gets its first bursts.
        while (now := monotonic()) < end or (first and (now < until or not number)):
            burst = first.pop() if first else plan(source, session.lessons, session.most)
            episode.bursts.append(burst)
            tell(len(burst.requests))
            for suspicion in attempt(session, stage, burst):
                if not is_known(suspicion):
                    episode.suspicion = suspicion
                    break
            episode.requests = stage.sent
            if episode.suspicion or not stage.subject.is_alive():
                return episode
            growth.look(now, stage.sent)
        episode.grown = growth.verdict()
    return episode


def _length(number: int, start: float) -> float:
    """Seconds that an episode lasts; its process took `start` to be there."""
    long, rest = divmod(number, 3)
    if rest < 2:
        return 0.0
    return max(min(_FIRST * (1 << long), _LONGEST), _STARTS * start)


def attempt(
    session: Session, stage: Stage, burst: Burst, *, detail: bool = False
) -> list[Suspicion]:
    """Perform a burst; what looks wrong about it, the most telling first."""
    try:
        outcome = perform(session, stage, burst, detail=detail)
    except SubjectDied as died:
        how = f"The process {died.how}."
        return [
            Suspicion("crash", -1, Difference("crash", how), burst, None, failures=(died.said,))
        ]
    found = [
        Suspicion(
            sort_of(difference),
            burst.requests[index] if index >= 0 else -1,
            difference,
            burst,
            outcome,
            outcome.answers[index] if index >= 0 else None,
            tuple(outcome.failures[index]) if index >= 0 else (),
            index,
        )
        for index, difference in outcome.wrong
    ]
    # A request that hangs makes others late.
    return sorted(found, key=lambda each: _ORDER.index(each.sort))


_ORDER: Final = (
    *("crash", "marker", "hang", "answer", "constant", "twice", "error"),
    *("closed", "endless", "counter", "check"),
)
