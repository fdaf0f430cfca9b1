"""Questions that generations answer, on behalf of whoever asks the master.

The master passes a question on to the generations that it is for, and answers when all have, when
those that have not are gone, or when the time is over.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, Final

from nogilserve.supervise.child import Child
from nogilserve.supervise.control import Request

# What makes sense of answers is imported with the first one: few masters are asked.

__all__ = ["QUESTIONS", "Answers", "Inquiries"]

_SECONDS: Final = 10.0
"""For an answer, beyond what the question itself takes."""
_LONGEST: Final = 86400
"""Seconds that a question may take."""
_LOOK: Final = 3.0
"""For a look, which is repeated."""
QUESTIONS: Final = frozenset({"look", "stacks", "profile", "memory", "gc"})
"""Commands that only ask."""
_MOST_PAST: Final = 20_000
"""Kinds of requests of generations that are gone."""
_EVERY: Final = frozenset({"look", "gc", "log-level", "readiness"})
"""Questions for all generations; others are for the current one, or the one that is named."""

Answers = dict[int, dict[str, Any]]
"""By number of the generation."""


class _Inquiry:
    def __init__(
        self, question: str, done: Callable[[Answers], None], deadline: float, awaited: set[int]
    ) -> None:
        self.question = question
        self.done = done
        self.deadline = deadline
        self.awaited = awaited
        self.answers: Answers = {}


class Inquiries:
    """Owner: the main thread of the master."""

    def __init__(self) -> None:
        self._open: dict[int, _Inquiry] = {}
        self._numbers = itertools.count(1)
        self._last: dict[int, dict[str, Any]] = {}
        """What each generation has counted, when it was last asked."""
        self._past: dict[str, Any] = {}
        """What generations have counted that are gone."""

    @property
    def deadline(self) -> float | None:
        """When something is due, monotonic."""
        return min((inquiry.deadline for inquiry in self._open.values()), default=None)

    def begin(
        self,
        question: str,
        arguments: Mapping[str, Any],
        children: Mapping[int, Child],
        now: float,
        done: Callable[[Answers], None],
    ) -> None:
        """Ask these generations; `done` gets what they answer."""
        seconds = _LOOK if question == "look" else _SECONDS + float(arguments.get("seconds", 0))
        inquiry = _Inquiry(question, done, now + seconds, set(children))
        number = next(self._numbers)
        self._open[number] = inquiry
        for child in children.values():
            child.send("ask", id=number, question=question, arguments=dict(arguments))
        self._settle(number)

    def pass_on(
        self,
        request: Request,
        children: Mapping[int, Child],
        current: int,
        now: float,
        then: Callable[[Answers], None] = lambda _: None,
        *,
        every: bool = False,
    ) -> None:
        """Have a request answered by the generations it is for; `then` gets their answers, too.
        `every`: it is for all of `children`, whatever it is."""
        question, arguments = request.command, request.arguments
        wanted = current
        try:
            wanted = int(arguments.get("generation", 0)) or current
            possible = 0 <= float(arguments.get("seconds", 0)) <= _LONGEST
        except (TypeError, ValueError, OverflowError):
            possible = False
        if not possible:
            why = f"generation is a number, seconds one from 0 to {_LONGEST}"
            request.answer(why, ok=False)
            return
        asked = {
            number: child
            for number, child in children.items()
            if child.served and (every or question in _EVERY or number == wanted)
        }
        if not asked:
            which = f"generation {wanted}" if arguments.get("generation") else "generation yet"
            request.answer(f"there is no {which}", ok=False)
            return

        def done(answers: Answers) -> None:
            then(answers)
            problems = [a["error"] for a in answers.values() if "error" in a]
            if problems and len(problems) == len(answers):
                request.answer(problems[0], ok=False)
            elif not answers:
                request.answer("the generation has not answered in time", ok=False)
            else:
                found = {str(number): answer for number, answer in sorted(answers.items())}
                # Of this very moment: a generation is either in one of them or in the other.
                request.answer("", answers=found, past=self._past)

        self.begin(question, arguments, asked, now, done)

    def heard(self, generation: int, message: Mapping[str, Any]) -> None:
        """A generation has answered."""
        number = message["id"]
        inquiry = self._open.get(number)
        if inquiry is None or generation not in inquiry.awaited:
            return
        from nogilserve.supervise.looks import proper_answer

        answer = proper_answer(inquiry.question, message["answer"])
        inquiry.awaited.discard(generation)
        inquiry.answers[generation] = answer
        if inquiry.question == "look":
            self.counted(generation, answer.get("totals", {}))
        self._settle(number)

    def counted(self, generation: int, totals: dict[str, Any]) -> None:
        """What a generation has counted so far."""
        from nogilserve.runtimes.sums import are_totals

        if totals and are_totals(totals):
            self._last[generation] = totals

    def lost(self, generation: int) -> None:
        """A generation is gone."""
        if last := self._last.pop(generation, None):
            from nogilserve.runtimes.sums import merged, settled

            counters = settled(last.get("counters", {}))
            self._past = merged([self._past, last | {"counters": counters}])
            rows = self._past.get("requests", {})
            for kind in list(rows)[_MOST_PAST:]:  # somebody makes up ever new ones
                del rows[kind]
        for number, inquiry in list(self._open.items()):
            inquiry.awaited.discard(generation)
            self._settle(number)

    def tick(self, now: float) -> None:
        """What is due by the clock."""
        for number, inquiry in list(self._open.items()):
            if now >= inquiry.deadline:
                inquiry.awaited.clear()
                self._settle(number)

    def _settle(self, number: int) -> None:
        inquiry = self._open[number]
        if not inquiry.awaited:
            del self._open[number]
            inquiry.done(inquiry.answers)
