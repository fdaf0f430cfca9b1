"""Looking for a schedule that breaks something, and for the shortest one that still does."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stress.world import Failure, Switch, World

__all__ = ["Found", "Replay", "Roll", "parse", "shrink"]

Play = Callable[[World], None]
"""Builds a world's actors and runs it; raises Failure."""


class Replay:
    """The order that a schedule says; by default nobody is interrupted. Immutable."""

    def __init__(self, switches: Sequence[Switch] = ()) -> None:
        self._to = {switch.step: switch.to for switch in switches}

    def choose(self, step: int, point: str) -> str | None:
        """As the schedule says."""
        return self._to.get(step)

    def pick(self, names: list[str]) -> str:
        """Not asked: schedules name their actors."""
        return names[0]


class Roll:
    """An order by chance. Owner: the world that it is made for.

    Most errors need few interruptions at the right places, so most rolls interrupt seldom; `focus`
    are the points that a scene is about, where it is interrupted more often.
    """

    def __init__(self, seed: str, focus: Sequence[str], length: int) -> None:
        """`length`: about so many points has an execution."""
        self._dice = dice = random.Random(seed)
        self._focus = tuple(focus)
        kind = dice.randrange(4)
        self._steps: set[int] = set()
        self._rate = 0.0
        self._focus_rate = 0.0
        if kind == 0:
            count = dice.randint(1, 6)
            self._steps = {dice.randint(1, max(length, 2)) for _ in range(count)}
        elif kind == 1:
            self._focus_rate = dice.choice([0.02, 0.1, 0.3])
        elif kind == 2:
            self._rate = dice.choice([0.003, 0.02, 0.1])
        else:
            self._rate = dice.choice([0.002, 0.01])
            self._focus_rate = dice.choice([0.05, 0.3, 0.6])

    def choose(self, step: int, point: str) -> str | None:
        """By chance."""
        if step in self._steps:
            return ""
        rate = self._rate
        if self._focus_rate and point.startswith(self._focus):
            rate = max(rate, self._focus_rate)
        return "" if rate and self._dice.random() < rate else None

    def pick(self, names: list[str]) -> str:
        """Anybody."""
        return self._dice.choice(names)


@dataclass(frozen=True)
class Found:
    """A schedule that breaks something, and what it breaks."""

    failure: str
    switches: tuple[Switch, ...]
    history: tuple[tuple[int, str, str, str], ...]

    @property
    def kind(self) -> str:
        """What it broke, without names and numbers: a shorter schedule must break the same."""
        return re.sub(r"\w*[\d.]+\w*", "", self.failure.split("\n")[0].split(":")[0])

    @property
    def schedule(self) -> str:
        """What `--schedule` takes."""
        return ",".join(map(str, self.switches)) or "none"

    def story(self) -> str:
        """The interruptions in words."""
        return "\n".join(
            f"  step {step}: {who} is interrupted at {point}, {to} goes on"
            for step, who, point, to in self.history
        )


def parse(text: str) -> tuple[Switch, ...]:
    """What `Found.schedule` says. Raises ValueError."""
    if text == "none":
        return ()
    pairs = (piece.split(":", 1) for piece in text.split(","))
    return tuple(Switch(int(step), to) for step, to in pairs)


def attempt(play: Play, chooser: Replay | Roll) -> tuple[World, Found | None]:
    """One execution; what it broke."""
    world = World(chooser)
    try:
        play(world)
    except Failure as exc:
        return world, Found(f"{exc}", tuple(world.switches), tuple(world.history))
    return world, None


def shrink(play: Play, found: Found, tries: int = 300) -> Found:
    """Leave out interruptions as long as something still breaks."""
    best, size = found, max(len(found.switches) // 2, 1)
    while tries > 0 and best.switches:
        smaller = None
        for start in range(0, len(best.switches), size):
            left = best.switches[:start] + best.switches[start + size :]
            tries -= 1
            _, broken = attempt(play, Replay(left))
            if (
                broken is not None
                and broken.kind == found.kind
                and len(broken.switches) < len(best.switches)
            ):
                smaller = broken
                break
            if tries <= 0:
                break
        if smaller is not None:
            best = smaller
            size = min(size, max(len(best.switches) // 2, 1))
        elif size == 1:
            break
        else:
            size //= 2
    return best
