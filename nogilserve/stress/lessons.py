"""What is right for one request: learnt from its answers when it runs alone, then used to judge."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from nogilserve.stress.answers import Answer, body_text, head_text
from nogilserve.stress.asks import Ask
from nogilserve.stress.heads import Head
from nogilserve.stress.templates import Template

__all__ = ["Difference", "Lesson", "Memory", "failure_key"]

_MARKERS: Final = re.compile(r"ngs[0-9a-f]{12}")
_NUMBER: Final = re.compile(r"-?\d{1,18}")
_RUN: Final = 4
"""Answers that count up by the same step, one after the other, make a sequence."""
_SHARE: Final = 0.3
"""Of an answer that has to stay the same, for its text to be compared at all."""
_GAPS: Final = 8


@dataclass(frozen=True, slots=True)
class Difference:
    """What is wrong with an answer. Immutable."""

    kind: str
    """ "hang", "closed", "endless", "marker", "status", "head", "body", "constant" or "twice"."""
    what: str
    """A sentence."""
    expected: str = ""
    actual: str = ""

    @property
    def is_answer(self) -> bool:
        """Whether there are two texts to compare."""
        return bool(self.expected)


@dataclass
class Memory:
    """What one process has answered since it was started. Owner: the driving thread."""

    constants: dict[Any, str] = field(default_factory=dict)
    given: dict[Any, set[str]] = field(default_factory=dict)


class Lesson:
    """Owner: the driving process's thread."""

    def __init__(self, ask: Ask, masks: Sequence[re.Pattern[str]] = ()) -> None:
        """`masks`: what is to be ignored in answers."""
        self.ask = ask
        self._masks = masks
        self.slowest = 0.0
        """Seconds an answer took when nothing else ran."""
        self.answers = 0
        self.shows_others = False
        """Its answers show what other requests have sent, also when they run one at a time."""
        self.failures: set[str] = set()
        """Kinds of errors that are logged or raised when it runs alone."""
        self._heads: dict[int, Head] = {}
        self._bodies: dict[int, Template] = {}
        self._runs: dict[tuple[int, int], list[str]] = {}
        self._constant: dict[int, set[int]] = {}
        """By status: gaps of the body that stay the same as long as a process lives."""
        self._sequence: dict[int, set[int]] = {}
        """By status: gaps of the body that count up."""
        self._numeric: dict[int, set[int]] = {}

    @property
    def statuses(self) -> list[int]:
        """Those it was answered with alone."""
        return sorted(self._heads)

    def is_loose(self, status: int) -> bool:
        """Whether bodies vary too much by nature to be compared."""
        body = self._bodies[status]
        samples = max((len(text) for _, text in body.texts()), default=0)
        return body.gaps > _GAPS and body.fixed < _SHARE * samples

    def learn(
        self, answer: Answer, process: int, failures: Iterable[str] = (), run: int = 0
    ) -> None:
        """An answer that came while nothing else ran. `run`: a number for answers that came
        directly one after the other, 0 for any other."""
        self.answers += 1
        self.slowest = max(self.slowest, answer.seconds)
        self.failures.update(map(failure_key, failures))
        head, body = self._texts(answer)
        self.shows_others = self.shows_others or "{another marker}" in head + body
        self._heads.setdefault(answer.status, Head()).learn(head, process)
        self._bodies.setdefault(answer.status, Template()).learn(body, process)
        if run:
            self._runs.setdefault((answer.status, run), []).append(body)
        self._constant.clear()  # gaps may have moved: `settle` looks anew
        self._sequence.clear()
        self._numeric.clear()

    def settle(self) -> None:
        """Look what the gaps have in common; call it when enough was learnt."""
        for status, body in self._bodies.items():
            by_process: dict[int, list[list[str]]] = {}
            for process, values in body.samples():
                by_process.setdefault(process, []).append(values)
            gaps = range(body.gaps)
            self._constant[status] = {gap for gap in gaps if _is_constant(gap, by_process)}
            self._numeric[status] = {gap for gap in gaps if _is_numeric(gap, by_process)}
            runs = [
                [body.values(text) for text in run]
                for (at, _), run in self._runs.items()
                if at == status
            ]
            self._sequence[status] = {
                gap
                for gap in self._numeric[status]
                if _counts(gap, runs) and not _repeats(gap, by_process)
            }

    def judge(self, answer: Answer, memory: Memory) -> Difference | None:
        """What is wrong with an answer that came while others ran, None if it is right."""
        if answer.problem:
            return Difference(answer.problem, _PROBLEMS[answer.problem])
        head, body = self._texts(answer)
        if not self.shows_others and "{another marker}" in head + body:
            return self._differs(
                answer, "marker", "The answer shows what another request has sent."
            )
        if answer.status not in self._heads:
            usual = ", ".join(map(str, self.statuses))
            return self._differs(
                answer, "status", f"The status is {answer.status}; alone it is {usual}."
            )
        if not self._heads[answer.status].matches(head):
            return self._differs(answer, "head", "The header fields differ.")
        values = self._bodies[answer.status].values(body)
        if values is None:
            if self.is_loose(answer.status):
                return None
            return self._differs(answer, "body", "The body differs.")
        return self._judge_gaps(answer, values, memory)

    def _judge_gaps(self, answer: Answer, values: list[str], memory: Memory) -> Difference | None:
        status = answer.status
        for gap in self._numeric.get(status, ()):
            if not _NUMBER.fullmatch(values[gap]):
                return self._differs(
                    answer, "body", "Where there is a number alone, there is none."
                )
        for gap in self._constant.get(status, ()):
            known = memory.constants.setdefault((id(self), status, gap), values[gap])
            if known != values[gap]:
                return Difference(
                    "constant",
                    "Two answers of one process differ where they are the same alone.",
                    self._filled(status, gap, known),
                    self._filled(status, gap, values[gap]),
                )
        for gap in self._sequence.get(status, ()):
            given = memory.given.setdefault((id(self), status, gap), set())
            if values[gap] in given:
                return Difference(
                    "twice",
                    f"{values[gap]} was answered twice; alone each answer has a number of its own.",
                    self._filled(status, gap, "(a number of its own)"),
                    self._filled(status, gap, f"{values[gap]} (a second time)"),
                )
            given.add(values[gap])
        return None

    def _differs(self, answer: Answer, kind: str, what: str) -> Difference:
        status = answer.status if answer.status in self._heads else self.statuses[0]
        expected = f"{self._heads[status].expected()}\n\n{self._bodies[status].expected()}"
        head, body = self._texts(answer)
        if kind == "marker":
            head, body = head_text(answer), body_text(answer)
        elif answer.status == status:
            head = self._heads[status].shown(head)
            body = self._bodies[status].shown(body)
        return Difference(kind, what, expected, f"{head}\n\n{body}")

    def _filled(self, status: int, gap: int, value: str) -> str:
        return f"status {status}\n\n{self._bodies[status].filled(gap, value)}"

    def _texts(self, answer: Answer) -> tuple[str, str]:
        return self._masked(head_text(answer)), self._masked(body_text(answer))

    def _masked(self, text: str) -> str:
        for mask in self._masks:
            text = mask.sub("{ignored}", text)
        return _MARKERS.sub("{another marker}", text)


_PROBLEMS: Final = {
    "hang": "There is no answer.",
    "closed": "The connection was cut before the answer was complete.",
    "endless": "The answer does not end.",
}

type _Samples = dict[int, list[list[str]]]


def _is_constant(gap: int, samples: _Samples) -> bool:
    """Whether it is always the same in each of two processes or more, and not the same in all."""
    values = [{each[gap] for each in of_one} for of_one in samples.values() if len(of_one) > 1]
    if len(values) < 2 or any(len(each) > 1 for each in values):
        return False
    return len(set.union(*values)) > 1


def _is_numeric(gap: int, samples: _Samples) -> bool:
    values = [each[gap] for of_one in samples.values() for each in of_one]
    return len(values) >= _RUN and all(_NUMBER.fullmatch(value) for value in values)


def _repeats(gap: int, samples: _Samples) -> bool:
    return any(len({each[gap] for each in of_one}) < len(of_one) for of_one in samples.values())


def _counts(gap: int, runs: list[list[list[str] | None]]) -> bool:
    """Whether it goes up or down by the same step, in at least one long run and in all of them."""
    long = [run for run in runs if len(run) >= _RUN]
    return bool(long) and all(_is_progression(list(_numbers(gap, run))) for run in long)


def _numbers(gap: int, run: list[list[str] | None]) -> Iterator[int]:
    for values in run:
        if values is not None and _NUMBER.fullmatch(values[gap]):
            yield int(values[gap])


def _is_progression(numbers: list[int]) -> bool:
    if len(numbers) < _RUN:
        return False
    step = numbers[1] - numbers[0]
    expected = range(numbers[0], numbers[0] + step * len(numbers), step) if step else ()
    return bool(step) and numbers == list(expected)


def failure_key(text: str) -> str:
    """What failures of one kind have in common: the type of the exception, else the words."""
    last = text.rstrip().rpartition("\n")[2]
    return re.sub(r"\d+", "N", last.partition(":")[0])[:80]
