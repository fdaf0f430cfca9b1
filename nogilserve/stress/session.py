"""What a whole run has in common: the application, the requests, the hooks, what was learnt."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from nogilserve.errors import ConfigError
from nogilserve.stress.asks import Ask
from nogilserve.stress.client import Client
from nogilserve.stress.hook import Hook
from nogilserve.stress.lessons import Lesson, Memory
from nogilserve.stress.process import Launch, Subject, SubjectDied

__all__ = ["Session", "Stage"]


@dataclass
class Stage:
    """A subject, connections to it, and what it has answered. Owner: the driving thread."""

    subject: Subject
    client: Client
    memory: Memory
    sent: int = 0
    """Requests it was sent."""
    answered: "Counter[str]" = field(default_factory=Counter)
    """How many of each, by label, were answered with success."""
    totals: dict[int, int] = field(default_factory=dict)
    """Of each counter, what it has to say next."""


@dataclass
class Session:
    """Owner: the driving process's thread."""

    launch: Launch
    hook: Hook
    seed: int
    most: int
    """Requests of a burst, at most."""
    deadline: float
    host: str
    say: Callable[[str], None]
    """Takes a line for people: what was left out and why."""
    lessons: list[Lesson] = field(default_factory=list)
    steps: list[dict[int, int]] = field(default_factory=list)
    """Of each counter: by how much each lesson's request changes it."""
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    """What the last subject has said of itself."""
    places: int = 0
    """Where pauses were possible, at most."""

    @property
    def counters(self) -> Sequence[Ask]:
        """Requests whose answers are numbers that must not lose anything."""
        return self.hook.counters

    @property
    def asks(self) -> Sequence[Ask]:
        """The requests that are replayed."""
        return [lesson.ask for lesson in self.lessons]

    def note(self, text: str) -> None:
        """Say it now, and again in the report."""
        if text not in self.notes:
            self.notes.append(text)
            self.say(text)

    def random(self, *names: object) -> random.Random:
        """A source of choices that depends on the seed and these names only."""
        return random.Random("/".join(map(str, (self.seed, *names))))

    @contextmanager
    def fresh(self) -> Iterator[Stage]:
        """A new process with the hook's set-up done; it ends with the block. Raises
        AppImportError, ConfigError."""
        subject = self.launch.start()
        try:
            self.facts = subject.facts
            client = Client(subject, self.seed, self.deadline, self.host)
            try:
                try:
                    client.headers = self.hook.prepare(client)
                except ConfigError as error:
                    said = subject.said()
                    raise ConfigError(f"{said}\n{error}" if said else str(error)) from error
                yield Stage(subject, client, Memory())
            finally:
                client.close()
                with suppress(SubjectDied):
                    self.places = max(self.places, subject.ask("places")["places"])
        finally:
            subject.end()
