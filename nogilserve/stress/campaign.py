"""The whole run: learn, hunt, confirm, shrink, until the time is over."""

import argparse
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

from nogilserve.errors import AppImportError, ConfigError
from nogilserve.stress.asks import Ask
from nogilserve.stress.confirm import growth_alone, happens_alone, shrink
from nogilserve.stress.findings import Finding, Shared
from nogilserve.stress.growth import Grown
from nogilserve.stress.hunt import Episode, Suspicion, run_episode
from nogilserve.stress.learning import learn
from nogilserve.stress.moments import moments_of, shared_by
from nogilserve.stress.process import SubjectDied
from nogilserve.stress.progress import Progress
from nogilserve.stress.session import Session

__all__ = ["Campaign", "Result"]

_EARLY: Final = 3
"""Bursts in which a request counts as one of the first of its kind."""
_SHRINKING: Final = 12.0
"""Seconds to shrink a finding at most."""
_LOOKING: Final = 120.0
"""Seconds spent on looking into differences at least before a run is given up for them."""
_LESS: Final = 3
"""How much less memory requests have to take one at a time for the growth to be a finding."""
_NATURAL: Final = 3
"""After so many differences of a sort that turned out to be natural, it is not looked at again."""

_NOTHING_OF_YOURS: Final = (
    "In your own modules these requests touched nothing that threads share. If that is a surprise, "
    "name more requests (--requests, --openapi), or packages to make pauses in, too (--watch)."
)


@dataclass
class Result:
    """What came out. Owner: the driving thread."""

    app: str
    interface: str
    how: str
    gil: bool
    seed: int
    threads: int
    requests: Sequence[Ask] = ()
    loose: Sequence[str] = ()
    """Labels of requests whose bodies vary too much to be compared."""
    findings: list[Finding] = field(default_factory=list)
    notes: Sequence[str] = ()
    episodes: int = 0
    bursts: int = 0
    sent: int = 0
    natural: int = 0
    """Differences that turned out to be no races."""
    places: int = 0
    seconds: float = 0.0
    interrupted: bool = False

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "format": 1,
            "clean": not self.findings,
            "app": self.app,
            "interface": self.interface,
            "how": self.how,
            "python": platform.python_version(),
            "gil": self.gil,
            "seed": self.seed,
            "requests": [ask.plain() for ask in self.requests],
            "not_compared": list(self.loose),
            "findings": [finding.plain() for finding in self.findings],
            "notes": list(self.notes),
            "episodes": self.episodes,
            "bursts": self.bursts,
            "sent": self.sent,
            "natural": self.natural,
            "places": self.places,
            "seconds": round(self.seconds, 3),
            "interrupted": self.interrupted,
        }


class Campaign:
    """Owner: the driving process's thread."""

    def __init__(
        self, session: Session, own: argparse.Namespace, progress: Progress | None
    ) -> None:
        self._session = session
        self._own = own
        self._progress = progress
        self._share = 0.0
        """How much of the time is over."""
        self._known: set[tuple[str, int]] = set()
        self._natural: dict[tuple[str, int], int] = {}
        config = session.launch.config
        self.result = Result(config.app, "", "", False, session.seed, config.threads)

    def run(self, asks: Sequence[Ask]) -> Result:
        """All of it. Raises AppImportError, ConfigError."""
        began = monotonic()
        try:
            self._learn(asks)
            self._hunt()
        except KeyboardInterrupt:
            self.result.interrupted = True
        result, session = self.result, self._session
        if session.facts:
            facts = session.facts
            result.app, result.interface, result.how = (
                facts["app"],
                facts["interface"],
                facts["how"],
            )
            result.gil, result.places = facts["gil"], session.places
            if result.gil:
                session.note(_about_gil(facts["gil_enabled_by"]))
        result.requests = session.asks
        result.loose = [
            lesson.ask.label
            for lesson in session.lessons
            if any(lesson.is_loose(status) for status in lesson.statuses)
        ]
        if result.bursts and not result.places and not result.findings:
            session.note(_NOTHING_OF_YOURS)
        result.notes = session.notes
        result.seconds = monotonic() - began
        return result

    def _learn(self, asks: Sequence[Ask]) -> None:
        self._phase(f"Learning what is answered to {_requests(asks)}, one at a time")
        session = self._session
        try:
            learn(session, asks, self._own.learn_seconds, self._show)
        except SubjectDied as died:
            raise ConfigError(
                f"the process {died.how} while requests ran one at a time\n{died.said}".rstrip()
            ) from died

    def _hunt(self) -> None:
        own, result = self._own, self.result
        self._phase(f"Sending {_requests(self._session.lessons)} at the same time")
        began = monotonic()
        until = began + own.seconds
        most = 1 if own.first else own.findings

        def tell(sent: int) -> None:
            result.bursts += 1
            result.sent += sent
            found = f"{len(result.findings)} found" if result.findings else "nothing found"
            self._share = (monotonic() - began) / own.seconds
            self._show(f"{result.sent} requests in {result.bursts} bursts, {found}")

        looking = 0.0
        most_looking = max(_LOOKING, own.seconds * _LESS)
        while monotonic() < until and len(result.findings) < most:
            try:
                episode = run_episode(self._session, result.episodes, until, self._is_known, tell)
                result.episodes += 1
                paused = monotonic()
                self._judge(episode)
            except (AppImportError, ConfigError) as error:
                if not result.episodes:
                    raise
                self._session.note(f"A process could not be started any more: {error}")
                return
            waited = monotonic() - paused
            began, until, looking = began + waited, until + waited, looking + waited
            if looking > most_looking:
                self._session.note("It ended early: so many differences turned out to be natural.")
                return

    def _judge(self, episode: Episode) -> None:
        """Look into what was strange about an episode, if anything was."""
        if episode.suspicion is not None:
            self._look_into(episode, episode.suspicion)
        elif episode.grown is not None:
            self._look_into_growth(episode, episode.grown)

    def _is_known(self, suspicion: Suspicion) -> bool:
        return (suspicion.sort, suspicion.which) in self._known

    def _look_into(self, episode: Episode, suspicion: Suspicion) -> None:
        """Find out whether it is a race, and how little it takes."""
        session, result = self._session, self.result
        key = (suspicion.sort, suspicion.which)
        ask = session.lessons[suspicion.which].ask if suspicion.which >= 0 else None
        about = ask.label if ask else suspicion.difference.what
        self._show(f"looking into {about}")
        if happens_alone(session, episode.bursts, suspicion, f"{episode.number}"):
            self._dismiss(key, about)
            return
        self._known.add(key)
        finding = _finding(session, episode, suspicion, ask)
        if self._is_part_of_another(finding, suspicion):
            return
        found = shrink(
            session,
            suspicion,
            is_early=sum(suspicion.which in burst.requests for burst in episode.bursts) <= _EARLY,
            seconds=min(_SHRINKING, self._own.seconds),
            tell=lambda text: self._show(f"{about}: {text}"),
        )
        if found is not None:
            # Fewer requests may lack what others have done for them.
            again = found[0]
            if happens_alone(session, [again.burst] * 3, again, f"{episode.number} shrunk"):
                self._known.discard(key)
                self._dismiss(key, about)
                return
            again, finding.tries, finding.cold = found
            _describe(session, finding, again)
            finding.shrunk = True
        result.findings.append(finding)
        if self._progress is not None:
            self._progress.line(f"  found: {about}: {finding.what}")

    def _look_into_growth(self, episode: Episode, grown: Grown) -> None:
        """Is it so with one request at a time, too?"""
        key = ("memory", -1)
        if key in self._known:
            return
        self._known.add(key)
        self._show("looking into memory")
        usual = growth_alone(self._session, episode)
        if usual.each > grown.each / _LESS:
            self._session.note(f"Memory grows, also with one request at a time: by {grown}.")
            return
        what = f"Memory grows by {grown}; one at a time they take {usual.each / 1024:.1f} KiB each."
        chosen = sorted({which for burst in episode.bursts for which in burst.requests})
        asks = [self._session.lessons[which].ask for which in chosen]
        self.result.findings.append(
            Finding(
                *("memory", what, None), asks, episode=episode.number, burst=len(episode.bursts)
            )
        )

    def _dismiss(self, key: tuple[str, int], about: str) -> None:
        """It is no race: look for others, but not again and again at the same."""
        self.result.natural += 1
        self._natural[key] = self._natural.get(key, 0) + 1
        if self._natural[key] >= _NATURAL:
            self._known.add(key)
            self._session.note(f"{about}: varies also one at a time; not compared any more.")

    def _is_part_of_another(self, finding: Finding, suspicion: Suspicion) -> bool:
        """Whether what the request changes is what an earlier finding is about."""
        if suspicion.sort in ("hang", "crash", "check"):
            return False
        mine = _changed(_shared_of(suspicion))
        for other in self.result.findings:
            if mine and other.kind != "crash" and mine <= _changed(other.shared):
                label = finding.ask.label if finding.ask else finding.what
                if label not in other.also and (other.ask is None or label != other.ask.label):
                    other.also.append(label)
                return True
        return False

    def _phase(self, name: str) -> None:
        if self._progress is not None:
            self._progress.phase(name)

    def _show(self, text: str) -> None:
        if self._progress is not None:
            self._progress.show(self._share, text)


def _requests(those: Sequence[object]) -> str:
    return f"{len(those)} request{'s' * (len(those) != 1)}"


def _about_gil(culprits: Sequence[str]) -> str:
    """What it means that the GIL is on."""
    why = f"{', '.join(culprits)} switched the GIL on" if culprits else "The GIL is on"
    return f"{why}: threads change places often, but free-threaded Python finds more."


def _finding(session: Session, episode: Episode, suspicion: Suspicion, ask: Ask | None) -> Finding:
    finding = Finding(
        suspicion.sort,
        suspicion.difference.what,
        ask,
        episode=episode.number,
        burst=len(episode.bursts),
    )
    _describe(session, finding, suspicion)
    return finding


def _describe(session: Session, finding: Finding, suspicion: Suspicion) -> None:
    """Fill in what was seen with this burst."""
    finding.what = suspicion.difference.what
    finding.requests = [session.lessons[which].ask for which in suspicion.burst.requests]
    finding.index = suspicion.index
    finding.difference = suspicion.difference
    finding.answer = suspicion.answer
    finding.failures = suspicion.failures
    outcome = suspicion.outcome
    if outcome is not None:
        finding.stacks = outcome.stacks
        finding.shared = shared_by(outcome.turns)
        finding.moments = moments_of(outcome.turns, finding.shared)


def _shared_of(suspicion: Suspicion) -> list[Shared]:
    """What the request itself shares with others of its burst."""
    if suspicion.outcome is None:
        return []
    turns = suspicion.outcome.turns
    if suspicion.index < 0:
        return shared_by(turns)
    names = {
        touch[1]
        for turn in turns
        if turn["index"] == suspicion.index
        for touch in turn.get("touches", ())
    }
    return [each for each in shared_by(turns) if each.name in names]


def _changed(shared: Sequence[Shared]) -> set[str]:
    """The names of what is changed."""
    return {
        each.name
        for each in shared
        if any(kind == "writes" for _, _, kind, _ in each.places) and each.name[0] not in ".["
    }
