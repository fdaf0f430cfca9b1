"""What the master does about its generations: a table of states and pure rules.

    STARTING ──loaded──▶ OPENING ──ready──▶ SERVING ──a newer one serves──▶ DRAINING ──▶ (gone)
        └──── fails, is killed, takes too long: (gone) ◀────┴── crashes: (gone), and replaced

At most one generation is STARTING or OPENING, at most one is SERVING, and one that serves is told
to drain only when a newer one serves (or all is to end). Nothing here knows processes, sockets
or clocks: events and the time come in, actions go out.
"""

from typing import Final

from nogilserve.supervise.actions import (
    Action,
    Announce,
    Cut,
    Drain,
    End,
    Failure,
    Generation,
    Kill,
    Open,
    Rules,
    Say,
    Spawn,
    State,
)

__all__ = ["Machine"]

_ENDING: Final = 5.0
"""Seconds beyond its own deadline for a process to end before it is killed."""
_CLEANING: Final = 2.0
"""Seconds for an import that was interrupted to clean up after itself."""
_SOON: Final = 10.0
"""A generation that served for less has died soon, which makes the next wait longer."""
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 30.0
_DRAINING_AT_ONCE: Final = 3
"""Generations that may drain with patience; the oldest of more ends its idle connections."""


class Machine:
    """Owner: the main thread of the master. Every method returns what is to be done now."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.generations: dict[int, Generation] = {}
        self.current = 0
        """The one that serves, 0: none."""
        self.begun = False
        """A generation has served."""
        self.stopping = 0
        """How often it was told to stop."""
        self.retry_at: float | None = None
        self.last = 0
        """The number of the newest generation."""
        self._failures = 0
        """Ends soon after the start, in a row."""
        self._again = ""
        """Why another reload has to follow the one in progress."""
        self._failure: Failure | None = None
        self._signal = 0
        self._ended = False

    # ---- events

    def start(self, now: float) -> list[Action]:
        """Begin."""
        return self._spawn("the start", now)

    def loaded(self, number: int, now: float) -> list[Action]:
        """The application of a generation is imported; it can take the listening sockets."""
        generation = self.generations.get(number)
        if (
            generation is None
            or generation.state != State.STARTING
            or generation.killed
            or generation.interrupted
        ):
            return []
        generation.state = State.OPENING
        generation.since = now
        return [Open(number)]

    def ready(self, number: int, now: float) -> list[Action]:
        """A generation accepts."""
        generation = self.generations.get(number)
        if generation is None or generation.state != State.OPENING or generation.killed:
            return []
        first, self.begun = not self.begun, True
        before, self.current = self.generations.get(self.current), number
        generation.state, generation.since, generation.deadline = State.SERVING, now, None
        self.retry_at = None
        actions: list[Action] = [Announce(number, first)]
        if before is not None:
            actions += self._retire(before, now)
        if self._again:
            reason, self._again = self._again, ""
            actions += self._spawn(reason, now)
        return actions

    def failed(self, number: int, failure: Failure, now: float) -> list[Action]:
        """A generation says why it cannot start; it ends by itself."""
        generation = self.generations.get(number)
        if generation is not None:
            generation.failure = generation.failure or failure
            generation.deadline = now + _ENDING
        return []

    def exited(self, number: int, how: str, now: float) -> list[Action]:
        """A process is gone; `how`: "" for an orderly end, else as the end of a sentence."""
        generation = self.generations.pop(number, None)
        if generation is None:
            return []
        actions: list[Action] = []
        if self.current == number:
            self.current = 0
            if not self.stopping:
                actions = self._crashed(generation, how, now)
        elif generation.state in (State.STARTING, State.OPENING):
            if not self.stopping and not generation.unwanted:
                actions = self._did_not_start(generation, how, now)
        elif how and not generation.unwanted:
            actions = [Say("warning", f"Generation {number} {how} while it was ending")]
        return actions + self._end_if_over()

    def reload(self, reason: str, now: float) -> list[Action]:
        """Newer code is to be served."""
        if self.stopping:
            return []
        self._failures = 0
        self.retry_at = None
        for generation in list(self.generations.values()):
            if generation.state == State.OPENING:
                self._again = reason
                return []
            if generation.state == State.STARTING:
                return [self._kill(generation, now), *self._spawn(reason, now)]
        return self._spawn(reason, now)

    def replace(self, number: int, reason: str, now: float) -> list[Action]:
        """The generation that serves should give way to the next one."""
        if self.stopping or number != self.current or self._starting() or self.retry_at is not None:
            return []
        return self._spawn(reason, now, needed=True)

    def stalled(self, number: int, reason: str, now: float) -> list[Action]:
        """A generation does not react any more."""
        generation = self.generations.get(number)
        if generation is None or generation.stalled:
            return []
        generation.stalled = True
        return [
            Say("error", f"Generation {number} {reason}"),
            *self.replace(number, f"generation {number} {reason}", now),
        ]

    def revived(self, number: int) -> list[Action]:
        """It does after all."""
        generation = self.generations.get(number)
        if generation is None or not generation.stalled:
            return []
        generation.stalled = False
        return [Say("warning", f"Generation {number} reacts again")]

    def stop(self, now: float, signal: int = 0, *, patient: bool = False) -> list[Action]:
        """Finish everything and end; told again, end at once. `patient`: others serve on."""
        self.stopping += 1
        self.retry_at = None
        self._again = ""
        if not self.begun and not any(g.state == State.OPENING for g in self.generations.values()):
            self._signal = self._signal or signal
        actions: list[Action] = []
        for generation in self.generations.values():
            if generation.killed:
                generation.unwanted = True
            elif generation.state == State.STARTING:
                actions.append(self._kill(generation, now))
            elif self.stopping > 1 and not patient:
                generation.deadline = now + _ENDING
                actions.append(Cut(generation.number))
            elif generation.stalled:
                actions.append(self._kill(generation, now))
            elif generation.state != State.DRAINING:
                actions.append(self._drain(generation, now, patient=patient))
            elif not patient:
                actions += self._hurry(generation)
        return actions + self._end_if_over()

    def tick(self, now: float) -> list[Action]:
        """Time has passed."""
        actions: list[Action] = []
        if self.retry_at is not None and now >= self.retry_at:
            self.retry_at = None
            actions += self._spawn("another try", now, needed=True)
        for generation in list(self.generations.values()):
            if generation.deadline is None or now < generation.deadline:
                continue
            if generation.state in (State.STARTING, State.OPENING):
                # Not `_kill`: that it did not start is to be noticed when it is gone.
                actions.append(self._give_up(generation, now))
                continue
            if not generation.unwanted:
                actions.append(
                    Say("error", f"Generation {generation.number} does not end: killing it")
                )
            actions.append(self._kill(generation, now))
        return actions

    @property
    def deadline(self) -> float | None:
        """When `tick` has something to do."""
        moments = [g.deadline for g in self.generations.values() if g.deadline is not None]
        if self.retry_at is not None:
            moments.append(self.retry_at)
        return min(moments, default=None)

    # ---- steps

    def _starting(self) -> bool:
        return any(
            g.state in (State.STARTING, State.OPENING) and not g.unwanted
            for g in self.generations.values()
        )

    def _spawn(
        self, reason: str, now: float, *, needed: bool = False, page: Failure | None = None
    ) -> list[Action]:
        self.last += 1
        timeout = self.rules.ready_timeout
        self.generations[self.last] = Generation(
            self.last, reason, now, now + timeout if timeout else None, page, needed=needed
        )
        said: list[Action] = []
        if self.last > 1 and page is None:
            said = [Say("info", f"Starting generation {self.last}: {reason}")]
        return [*said, Spawn(self.last, page)]

    def _kill(self, generation: Generation, now: float) -> Action:
        gently = generation.state == State.STARTING
        generation.state = State.DRAINING
        generation.since = now
        generation.deadline = now + _CLEANING if gently else None
        generation.unwanted = True
        generation.killed = not gently
        return Kill(generation.number, gently)

    def _give_up(self, generation: Generation, now: float) -> Action:
        """It takes too long to start: interrupt it, then kill it."""
        gently = generation.state == State.STARTING and not generation.interrupted
        if generation.failure is None:
            generation.failure = Failure(
                f"the application was not ready within {self.rules.ready_timeout:g} s "
                "(--ready-timeout)"
            )
        generation.interrupted = True
        generation.killed = not gently
        generation.deadline = now + _CLEANING if gently else None
        return Kill(generation.number, gently)

    def _drain(self, generation: Generation, now: float, *, patient: bool) -> Action:
        generation.state = State.DRAINING
        generation.since = now
        generation.deadline = now + self.rules.graceful_timeout + _ENDING
        generation.hurried = not patient
        return Drain(generation.number, patient)

    def _hurry(self, generation: Generation) -> list[Action]:
        if generation.hurried or generation.unwanted:
            return []
        generation.hurried = True
        return [Drain(generation.number, False)]

    def _retire(self, generation: Generation, now: float) -> list[Action]:
        """The one that served gives way."""
        if generation.stalled:
            return [self._kill(generation, now)]
        actions = [self._drain(generation, now, patient=not self.rules.developing)]
        draining = [
            g for g in self.generations.values() if g.state == State.DRAINING and not g.hurried
        ]
        for old in sorted(draining, key=lambda g: g.since)[:-_DRAINING_AT_ONCE]:
            actions += self._hurry(old)
        return actions

    def _crashed(self, generation: Generation, how: str, now: float) -> list[Action]:
        if now - generation.since >= _SOON:
            self._failures = 0
        said = f"Generation {generation.number} {how or 'has ended by itself'}"
        if self._starting():
            return [Say("error", f"{said}; the next one is starting already")]
        return [Say("error", said), *self._try_again(now)]

    def _try_again(self, now: float) -> list[Action]:
        self._failures += 1
        if self._failures == 1:
            return self._spawn("the one before is gone", now, needed=True)
        delay = min(_FIRST_DELAY * 2 ** (self._failures - 2), _LONGEST_DELAY)
        self.retry_at = now + delay
        return [Say("error", f"Trying again in {delay:g} s")]

    def _did_not_start(self, generation: Generation, how: str, now: float) -> list[Action]:
        failure = generation.failure or Failure(
            f"the process that imports the application {how or 'has ended by itself'}"
        )
        if self.rules.developing and generation.page is None and failure.kind == "app":
            return [
                Say("error", failure.message, failure.detail),
                *self._spawn("the failure is shown", now, page=failure),
            ]
        if not self.begun:
            self.stopping = 1
            self._failure = failure
            return []
        serving = self.generations.get(self.current)
        rest = "; the one before serves on" if serving is not None else ""
        said = Say(
            "error",
            f"Generation {generation.number} did not start{rest}: {failure.message}",
            failure.detail,
        )
        if self._again:
            reason, self._again = self._again, ""
            return [said, *self._spawn(reason, now)]
        if serving is not None and not generation.needed and not serving.stalled:
            return [said]
        self._failures = max(self._failures, 1)
        return [said, *self._try_again(now)]

    def _end_if_over(self) -> list[Action]:
        if not self.stopping or self.generations or self._ended:
            return []
        self._ended = True
        return [End(self._failure, self._signal)]
