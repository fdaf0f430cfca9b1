"""`python -m stress [--minutes N] [--seed S] [--scenario NAME]`: looks for races. See README.md."""

import argparse
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from time import monotonic
from typing import Final

from stress import mixed, rounds
from stress.clients import Mistake
from stress.explore import Found, Replay, Roll, attempt, parse, shrink
from stress.scenes import SCENES, Scene
from tests.support.interruption import uninterrupted

SLICE: Final = 1.0
"""Seconds for one scene until it is the next one's turn."""
TOGETHER: Final = 30.0
"""Seconds from which on mixed traffic runs beside everything else."""
ALL: Final = (*SCENES, "rounds", "mixed")

Counts = dict[str, int]


def say(text: str) -> None:
    """A line of progress."""
    print(text, flush=True)


class Explorer:
    """Executions of one scene, one after the other. Owner: the main thread."""

    def __init__(self, scene: Scene, seed: str) -> None:
        self._scene = scene
        self._seed = f"{seed} {scene.name}"
        self._number = 0
        self._length = 0
        self.points: set[str] = set()

    def run(self, seconds: float) -> int:
        """Executions in about that time. Raises Mistake with the shortest schedule."""
        until, done = monotonic() + seconds, 0
        while not done or monotonic() < until:
            chooser = (
                Roll(f"{self._seed} {self._number}", self._scene.focus, self._length)
                if self._length
                else Replay()
            )
            world, found = attempt(self._scene.play, chooser)
            self.points |= world.points
            if found is not None:
                raise Mistake(self._report(found))
            self._length = self._length or world.steps
            self._number += 1
            done += 1
        return done

    def _report(self, found: Found) -> str:
        say(f"{self._scene.name}: execution {self._number} fails, looking for its shortest form")
        return describe(self._scene, shrink(self._scene.play, found))


def describe(scene: Scene, found: Found) -> str:
    """A failure, and how to see it again."""
    return (
        f"{scene.name}: {found.failure}\n"
        f"{len(found.switches)} interruptions:\n{found.story()}\n"
        f"again: python -m stress --scenario {scene.name} --schedule {found.schedule}"
    )


def again(scene: Scene, schedule: str) -> int:
    """Repeat one execution; its exit status."""
    world, found = attempt(scene.play, Replay(parse(schedule)))
    say(describe(scene, found) if found else f"{scene.name}: fine, {world.steps} points")
    return 1 if found else 0


def scenes(names: list[str], seed: str) -> Iterator[Callable[[float], Counts]]:
    """The scenes of these names in turn, for ever."""
    explorers = [(name, Explorer(SCENES[name], seed)) for name in names]
    while True:
        for name, explorer in explorers:

            def step(left: float, name: str = name, explorer: Explorer = explorer) -> Counts:
                return {f"times {name}": explorer.run(min(SLICE, left))}

            yield step


def chaos(seed: str, first: int) -> Iterator[Callable[[float], Counts]]:
    """One round after the other, for ever."""
    for number in count(first):

        def step(left: float, number: int = number) -> Counts:
            return rounds.play(number, seed, min(rounds.ROUND, left))

        yield step


def take_turns(
    names: list[str], seed: str, seconds: float, first: int, beside: subprocess.Popen[bytes] | None
) -> Counts:
    """Scenes and rounds, half of the time each, until it is over. Raises Mistake."""
    turns: list[tuple[Iterator[Callable[[float], Counts]], float]] = []
    if scenic := [name for name in names if name in SCENES]:
        turns.append((scenes(scenic, seed), rounds.ROUND))
    if "rounds" in names:
        turns.append((chaos(seed, first), 0.0))
    total: Counts = {}
    began = monotonic()
    until, next_word = began + seconds, began + 10.0
    while monotonic() < until:
        for steps, at_least in turns:
            turn = monotonic()
            while (left := until - monotonic()) > 0:
                for name, number in next(steps)(left).items():
                    total[name] = total.get(name, 0) + number
                if monotonic() - turn >= at_least:
                    break
        if beside is not None and beside.poll():
            raise Mistake("the mixed traffic beside has failed (above)")
        if monotonic() >= next_word:
            next_word = monotonic() + 10.0
            times = sum(number for name, number in total.items() if name.startswith("times "))
            say(
                f"{monotonic() - began:5.0f} s  {times} executions of scenes, "
                f"{total.get('answered', 0)} answers in rounds"
            )
    return total


def run(options: argparse.Namespace, names: list[str], seconds: float) -> Counts:
    """Everything that was asked for. Raises Mistake."""
    if names == ["mixed"]:
        with mixed.Mixed(options.seed, options.rate, say) as traffic:
            return traffic.run(seconds)
    beside = None
    try:
        if "mixed" in names and seconds >= TOGETHER:
            more = [f"--seconds={seconds}", f"--seed={options.seed}", f"--rate={options.rate}"]
            command = [sys.executable, "-m", "stress", "--scenario=mixed", *more]
            with uninterrupted():
                beside = subprocess.Popen(command)
        total = take_turns(names, options.seed, seconds, options.round, beside)
        if beside is not None and beside.wait(600):
            raise Mistake("the mixed traffic beside has failed (above)")
    finally:
        if beside is not None and beside.poll() is None:
            beside.terminate()  # it ends its servers
            beside.wait(600)
    return total


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m stress", description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.5, help="about so long in all")
    parser.add_argument("--seconds", type=float, default=0.0, help="instead of --minutes")
    parser.add_argument("--seed", default=f"{random.randrange(10**6)}", help="repeats the dice")
    parser.add_argument("--scenario", action="append", choices=ALL, help="only this; repeatable")
    parser.add_argument("--schedule", help="repeat this execution of the one --scenario")
    parser.add_argument("--round", type=int, default=0, help="begin with this round")
    parser.add_argument("--rate", type=float, default=mixed.RATE, help="mixed: visits per second")
    parser.add_argument("--list", action="store_true", help="say what the scenarios are about")
    return parser


def main() -> int:
    """Look until the time is over; exit status 1 with the first mistake."""
    parser = arguments()
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # nothing that was started is left behind
    if options.list:
        for scene in SCENES.values():
            say(f"{scene.name:14} {scene.about}")
        say(f"{'rounds':14} {rounds.__doc__}\n{'mixed':14} {(mixed.__doc__ or '').split('\n')[0]}")
        return 0
    names = options.scenario or list(ALL)
    if options.schedule is not None:
        if len(names) != 1 or names[0] not in SCENES:
            parser.error("--schedule belongs to one --scenario that is a scene (see --list)")
        return again(SCENES[names[0]], options.schedule)
    seconds = options.seconds or options.minutes * 60
    gil = "" if getattr(sys, "_is_gil_enabled", lambda: True)() else "out"
    say(f"seed {options.seed}, {seconds:g} s, Python {sys.version.split()[0]} with{gil} the GIL")
    try:
        total = run(options, names, seconds)
    except Mistake as exc:
        say(f"MISTAKE, --seed {options.seed}: {exc}")
        return 1
    say("fine: " + ", ".join(f"{number} {name}" for name, number in sorted(total.items())))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
