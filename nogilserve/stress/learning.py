"""Phase 1: what each request is answered when nothing else runs.

First in order, several times, in one process. Then in random order, on all connections and threads,
with pauses, one at a time, there and in a second process. What differs then differs by nature:
whatever the second phase does but the overlap of requests was done here.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from nogilserve.errors import ConfigError
from nogilserve.stress.asks import Ask
from nogilserve.stress.bursts import alone, miscounted, read_counter
from nogilserve.stress.lessons import Lesson
from nogilserve.stress.markers import with_markers
from nogilserve.stress.session import Session, Stage

__all__ = ["learn"]

_BROKEN: Final = 500
_ENOUGH: Final = 2
"""Answers of both processes without which nothing can be told."""
_PASSES: Final = 2
_RUN: Final = 5
"""Times that each request is sent directly one after the other."""
_ROUNDS: Final = 3
_SLOW: Final = 0.4
"""Seconds: slower requests are sent less often."""
_PAUSES: Final = 300
_HELD: Final = 1.0


def learn(
    session: Session, asks: Sequence[Ask], seconds: float, tell: Callable[[str], None]
) -> None:
    """Fill the session's lessons. `seconds`: when to send no more than necessary. Raises
    AppImportError, ConfigError, SubjectDied."""
    until = monotonic() + seconds
    with session.fresh() as stage:
        _Learner(session, stage, until, tell).first(asks)
    with session.fresh() as stage:
        _Learner(session, stage, until, tell).second()
    for lesson in session.lessons:
        lesson.settle()
        if max(lesson.statuses) >= _BROKEN:
            about = f"{lesson.ask.label} ({lesson.ask.origin})"
            session.note(f"{about} is answered with {max(lesson.statuses)} also one at a time")


@dataclass
class _Learner:
    """Owner: the driving process's thread."""

    session: Session
    stage: Stage
    until: float
    tell: Callable[[str], None]
    sent: "Counter[int]" = field(default_factory=Counter)
    """How often each request was sent to this process."""

    def first(self, asks: Sequence[Ask]) -> None:
        """All there is to learn from one process."""
        for ask in asks:
            self._try(ask)
        if not self.session.lessons:
            raise ConfigError("there is no request left to replay")
        for each in range(_PASSES):
            self.tell(f"alone, in order, {each + 2} of {_PASSES + 1}")
            for which, _ in enumerate(self.session.lessons):
                self._alone(which)
        self._runs()
        self._counters()
        self._at_random()

    def second(self) -> None:
        """The same in another process: what differs between processes?"""
        self._check()
        self._at_random()
        self._check()

    def _try(self, ask: Ask) -> None:
        """Send a request for the first time, and a variant with markers if that is possible."""
        session = self.session
        session.lessons.append(Lesson(ask, session.hook.masks))
        which = len(session.lessons) - 1
        self.tell(f"alone, first: {ask.label}")
        answer, failures = alone(session, self.stage, which)
        if answer.problem:
            session.lessons.pop()
            session.note(f"{ask.label} ({ask.origin}) is left out: {_WHY[answer.problem]}")
            return
        lesson = session.lessons[which]
        lesson.learn(answer, self.stage.subject.number, failures)
        self.sent[which] += 1
        if answer.seconds > _SLOW:
            return
        client = self.stage.client
        marked = with_markers(ask, answer, lambda each: client.one(client.prepare(each, None)))
        if marked is not None and marked not in session.asks:
            self._try(marked)

    def _runs(self) -> None:
        """Each request several times without another one between."""
        numbers = itertools.count(1)
        for which, lesson in enumerate(self.session.lessons):
            if lesson.slowest < _SLOW:
                self.tell(f"alone, repeated: {lesson.ask.label}")
                run = next(numbers)
                for _ in range(_RUN):
                    self._alone(which, run=run)

    def _at_random(self) -> None:
        """In random order, in all threads and on all connections, one at a time."""
        session, stage = self.session, self.stage
        source = session.random("rehearsal", stage.subject.number)
        for each in range(_ROUNDS):
            self.tell(f"alone, in random order, {each + 1} of {_ROUNDS}")
            order = source.sample(range(len(session.lessons)), len(session.lessons))
            held = self._hold(source.randrange(max(session.launch.config.threads - 1, 1)))
            for which in order:
                lesson = session.lessons[which]
                if lesson.slowest < _SLOW or each < 2:
                    self._alone(which, source.randrange(session.most), pauses=_PAUSES * (each % 2))
            if held:
                stage.subject.ask("let go")
                stage.client.forget(held)

    def _hold(self, count: int) -> range:
        """Occupy threads, so that requests run in others than usual; the slots that do."""
        session, stage = self.session, self.stage
        if stage.subject.facts["interface"] != "wsgi":
            return range(0)
        slots = range(session.most, session.most + count)
        number = stage.client.burst_number()
        for slot in slots:
            stage.client.occupy(slot, number)
        late = monotonic() + _HELD
        while monotonic() < late and stage.subject.ask("held")["held"] < count:
            pass
        return slots

    def _counters(self) -> None:
        """By how much does each request change each counter?"""
        session = self.session
        for number, ask in enumerate(session.counters):
            if read_counter(session, self.stage, number) is None:
                raise ConfigError(f"{ask.origin}: {ask.label}: its answer is no number")
            steps = {}
            for which, lesson in enumerate(session.lessons):
                seen = {self._step(number, which) for _ in range(2)}
                if len(seen) > 1:
                    raise ConfigError(
                        f"{ask.origin}: {lesson.ask.label} does not always change {ask.label} "
                        f"by the same number, also when nothing else runs"
                    )
                steps[which] = seen.pop()
            session.steps.append(steps)

    def _step(self, number: int, which: int) -> int:
        before = read_counter(self.session, self.stage, number) or 0
        self._alone(which)
        return (read_counter(self.session, self.stage, number) or 0) - before

    def _check(self) -> None:
        for _, difference in miscounted(self.session, self.stage):
            raise ConfigError(
                f"{self.session.hook.file}: also when requests run one at a time: {difference.what}"
            )

    def _alone(self, which: int, slot: int = 0, *, run: int = 0, pauses: int = 0) -> None:
        lesson = self.session.lessons[which]
        self.sent[which] += 1
        if monotonic() > self.until and self.sent[which] > 1 and lesson.answers > _ENOUGH:
            self.session.note("Learning was cut short: --learn-seconds allows it more.")
            return
        answer, failures = alone(self.session, self.stage, which, slot, pauses)
        if not answer.problem:
            lesson.learn(answer, self.stage.subject.number, failures, run)


_WHY: Final = {
    "hang": "it is not answered in time, also when nothing else runs (--deadline)",
    "closed": "the connection is cut, also when nothing else runs",
    "endless": "its answer does not end",
}
