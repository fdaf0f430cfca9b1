"""What was found: plain values for the report."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nogilserve.stress.answers import Answer
from nogilserve.stress.asks import Ask
from nogilserve.stress.lessons import Difference

__all__ = ["Finding", "Moment", "Shared"]


@dataclass(frozen=True, slots=True)
class Moment:
    """A request touched something at some time. Immutable."""

    at: float
    """Milliseconds since the first one."""
    request: int
    """Its place in the finding's requests."""
    does: str
    """ "reads", "writes" or "uses"."""
    name: str
    file: str
    line: int
    function: str
    thread: str
    stack: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Shared:
    """Something that several of the requests touched, and where. Immutable."""

    name: str
    places: Sequence[tuple[str, int, str, str]]
    """File, line, what is done there, the line's text."""


@dataclass
class Finding:
    """Something that happens only when requests run at the same time. Owner: the driving thread,
    which fills it as it learns more."""

    kind: str
    """ "answer", "marker", "twice", "constant", "error", "hang", "crash", "closed", "counter",
    "check" or "memory"."""
    what: str
    ask: Ask | None
    """Whose answer it is, None if it is nobody's."""
    requests: list[Ask] = field(default_factory=list)
    """A smallest set that still shows it, at the same time."""
    index: int = -1
    """Which of them is `ask`, -1 for none."""
    difference: Difference | None = None
    answer: Answer | None = None
    failures: Sequence[str] = ()
    """What the application raised or logged then, and never does alone."""
    shrunk: bool = False
    """Whether fewer requests were tried."""
    tries: int = 0
    """How many bursts of exactly these it took to see it again, 0 if it was not seen again."""
    cold: bool = False
    """It was seen among the first requests of a fresh process only."""
    moments: Sequence[Moment] = ()
    shared: Sequence[Shared] = ()
    stacks: Sequence[tuple[str, Sequence[str]]] = ()
    """Of a process that hangs: thread and frames."""
    episode: int = 0
    burst: int = 0
    also: list[str] = field(default_factory=list)
    """Other requests on which the same was seen."""

    @property
    def key(self) -> tuple[str, str]:
        """What makes another finding the same one."""
        return (self.kind, self.ask.label if self.ask else self.what)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "kind": self.kind,
            "what": self.what,
            "request": self.ask.plain() if self.ask else None,
            "index": self.index,
            "requests": [ask.plain() for ask in self.requests],
            "expected": self.difference.expected if self.difference else "",
            "actual": self.difference.actual if self.difference else "",
            "answer": self.answer.plain() if self.answer else None,
            "failures": list(self.failures),
            "shrunk": self.shrunk,
            "tries": self.tries,
            "cold": self.cold,
            "moments": [
                {name: getattr(each, name) for name in Moment.__slots__} for each in self.moments
            ],
            "shared": [
                {"name": each.name, "places": [list(place) for place in each.places]}
                for each in self.shared
            ],
            "stacks": [[thread, list(frames)] for thread, frames in self.stacks],
            "episode": self.episode,
            "burst": self.burst,
            "also": self.also,
        }
