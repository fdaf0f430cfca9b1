"""The scenes and a round of chaos for a moment: `./dev stress` is the same for minutes or hours."""

import subprocess
import sys
from pathlib import Path

import pytest

from stress import rounds
from stress.explore import Found, Replay, Roll, attempt, parse
from stress.scenes import SCENES
from stress.world import Switch
from tests.support.waiting import Deadline

ROOT = Path(__file__).resolve().parents[2]
EXECUTIONS = 12
SECONDS = 1.0
"""Per scene, whatever comes first."""


@pytest.mark.parametrize("name", SCENES)
def test_scene(name: str) -> None:
    """Nobody interrupted, then interrupted by chance: every invariant holds."""
    scene = SCENES[name]
    world, found = attempt(scene.play, Replay())
    assert found is None, found
    assert world.steps > 50
    assert any(point.startswith(scene.focus) for point in world.points), "a focus on nothing"
    deadline = Deadline(SECONDS)
    for number in range(EXECUTIONS):
        if not deadline.left:
            break
        roll = Roll(f"ci {number}", scene.focus, world.steps)
        _, found = attempt(scene.play, roll)
        assert found is None, f"{found.failure}\n{found.story()}\n--schedule {found.schedule}"


def test_an_execution_is_repeated_by_its_schedule() -> None:
    """The same interruptions at the same points, and the same end."""
    scene = SCENES["hand-off"]
    rolled, _ = attempt(scene.play, Roll("17", scene.focus, 300))
    again, _ = attempt(scene.play, Replay(rolled.switches))
    assert rolled.switches
    assert again.switches == rolled.switches
    assert again.steps == rolled.steps
    assert again.history == rolled.history


def test_schedules_are_read_as_they_are_written() -> None:
    """What a failure prints is what --schedule takes."""
    switches = (Switch(12, "core-0"), Switch(340, "guest-1"))
    assert parse(Found("", switches, ()).schedule) == switches
    assert parse(Found("", (), ()).schedule) == ()


def test_a_round_of_chaos() -> None:
    """A whole server in a process of its own, and clients of all tempers."""
    counts = rounds.play(0, "ci", 2.0, 6)
    assert counts["answered"] > 50


def test_command_repeats_a_schedule() -> None:
    """`python -m stress --scenario … --schedule …` says how that execution ends."""
    command = [sys.executable, "-m", "stress", "--scenario", "steal", "--schedule", "20:core-1"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("steal: fine")
