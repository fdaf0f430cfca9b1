"""A burst: some requests that begin at the same moment, and what came of them."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from nogilserve.stress.answers import Answer
from nogilserve.stress.lessons import Difference, Lesson, failure_key
from nogilserve.stress.session import Session, Stage
from nogilserve.stress.tickets import Ticket

__all__ = [
    "Burst",
    "Outcome",
    "alone",
    "first_plans",
    "miscounted",
    "perform",
    "plan",
    "read_counter",
]

_INTEGER: Final = re.compile(r"-?\d+")
_SLOW: Final = 0.3
"""Seconds: slower requests are chosen less often."""


@dataclass(frozen=True, slots=True)
class Burst:
    """Immutable."""

    requests: Sequence[int]
    """Numbers of lessons; one may be there several times."""
    pauses: int
    """How likely a pause is, in thousandths."""
    seed: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Immutable."""

    answers: Sequence[Answer]
    failures: Sequence[Sequence[str]]
    """Of each request: what was raised or logged."""
    wrong: Sequence[tuple[int, Difference]]
    """Which requests of the burst were answered wrongly, or failed as they never do alone; -1 for
    what no single request has to do with."""
    turns: Sequence[dict[str, Any]] = field(default_factory=tuple)
    stacks: Sequence[tuple[str, Sequence[str]]] = ()
    """Of all threads, when something hangs."""


def plan(source: random.Random, lessons: Sequence[Lesson], most: int) -> Burst:
    """Choose requests and pauses."""
    weights = [1 / (1 + max(lesson.slowest, _SLOW) / _SLOW) for lesson in lessons]
    numbers = range(len(lessons))
    size = min(source.choice((2, 3, 4, 6, 8, most)), most)
    kinds = source.choice((1, 1, 2, 2, 3, size))
    chosen = source.choices(numbers, weights, k=kinds)
    requests = [source.choice(chosen) for _ in range(size)]
    return Burst(requests, source.choice((20, 100, 300, 500)), source.getrandbits(32))


def first_plans(source: random.Random, lessons: Sequence[Lesson], most: int) -> list[Burst]:
    """Bursts for a fresh process, one for each request: what is made at first use is made then."""
    numbers = source.sample(range(len(lessons)), len(lessons))
    return [
        Burst(
            [which] * min(source.choice((2, 4, 8)), most),
            source.choice((300, 500, 700)),
            source.getrandbits(32),
        )
        for which in numbers
        if lessons[which].slowest < _SLOW
    ]


def perform(session: Session, stage: Stage, burst: Burst, *, detail: bool = False) -> Outcome:
    """Send the requests of a burst and judge the answers. Raises SubjectDied."""
    client, number = stage.client, stage.client.burst_number()
    source = random.Random(burst.seed)
    count = len(burst.requests)
    sent = [
        client.prepare(
            session.lessons[which].ask,
            Ticket(number, index, count, source.getrandbits(32), burst.pauses, detail),
        )
        for index, which in enumerate(burst.requests)
    ]
    slots = source.sample(range(session.most), count)
    answers = client.together(sent, slots)
    stage.sent += count
    hangs = any(answer.problem == "hang" for answer in answers)
    stacks = stage.subject.ask("stacks")["stacks"] if hangs else []
    failures, turns = _left(stage, number, count)
    _count(session, stage, burst, answers)
    wrong = _wrong(session, stage, burst, answers, failures)
    if not wrong:
        wrong = miscounted(session, stage)
    if wrong:
        turns = stage.subject.ask("leave", burst=number, detail=True)["turns"]
    return Outcome(answers, failures, wrong, turns, stacks)


def alone(
    session: Session, stage: Stage, which: int, slot: int = 0, pauses: int = 0
) -> tuple[Answer, Sequence[str]]:
    """Send one request while nothing else runs; the answer and what was raised or logged."""
    client, number = stage.client, stage.client.burst_number()
    ticket = Ticket(number, 0, 1, number, pauses)
    answer = client.one(client.prepare(session.lessons[which].ask, ticket), slot)
    stage.sent += 1
    _count(session, stage, Burst([which], pauses, 0), [answer])
    return answer, _left(stage, number, 1)[0][0]


def _left(stage: Stage, number: int, count: int) -> tuple[list[list[str]], list[dict[str, Any]]]:
    """What the subject has to say of a burst: failures of each request, its turns."""
    failures: list[list[str]] = [[] for _ in range(count)]
    turns = stage.subject.ask("leave", burst=number, detail=False)["turns"]
    for turn in turns:
        failures[turn["index"]] = turn["failures"]
    return failures, turns


def _wrong(
    session: Session,
    stage: Stage,
    burst: Burst,
    answers: Sequence[Answer],
    failures: Sequence[Sequence[str]],
) -> "list[tuple[int, Difference]]":
    found = []
    for index, which in enumerate(burst.requests):
        lesson = session.lessons[which]
        difference = lesson.judge(answers[index], stage.memory)
        if difference is None:
            unknown = [text for text in failures[index] if failure_key(text) not in lesson.failures]
            if unknown:
                what = f"{failure_key(unknown[0])} is raised or logged, which never happens alone."
                difference = Difference("error", what)
        if difference is not None:
            found.append((index, difference))
    return found


def _count(session: Session, stage: Stage, burst: Burst, answers: Sequence[Answer]) -> None:
    """Note what was answered, and what the counters have to say now."""
    for which, answer in zip(burst.requests, answers, strict=True):
        if 0 < answer.status < 400:
            stage.answered[session.lessons[which].ask.label] += 1
        for number, steps in enumerate(session.steps):
            if number in stage.totals:
                stage.totals[number] += steps.get(which, 0)


def read_counter(session: Session, stage: Stage, number: int) -> int | None:
    """What a counter says, None if that is no number. Nothing else may run."""
    ask = session.counters[number]
    answer = stage.client.one(stage.client.prepare(ask, None))
    found = _INTEGER.search(answer.text) if answer.status < 400 and not answer.problem else None
    return int(found[0]) if found else None


def miscounted(session: Session, stage: Stage) -> list[tuple[int, Difference]]:
    """Look at all counters, and have the hook check; nothing else may run."""
    wrong = []
    for number in range(len(session.steps)):
        value = read_counter(session, stage, number)
        expected = stage.totals.get(number, value)
        if value != expected:
            label = session.counters[number].label
            wrong.append(
                (
                    -1,
                    Difference(
                        "counter",
                        f"{label} says {value}; what was answered adds up to {expected}.",
                        f"{label}\n{expected}",
                        f"{label}\n{value}",
                    ),
                )
            )
        if value is not None:
            stage.totals[number] = value
    complaint = session.hook.complaint(stage.client, stage.answered)
    if complaint:
        wrong.append((-1, Difference("check", complaint)))
    return wrong
