"""Fuzzing for a moment, and everything that longer runs have found."""

import pytest

from tests.fuzz.guided import Fuzzer
from tests.fuzz.kept import kept
from tests.fuzz.targets import TARGETS, seeds

SECONDS = 1.5


@pytest.mark.parametrize("name", TARGETS)
def test_kept_inputs(name: str) -> None:
    """What was found, or reached far, breaks no rule."""
    for data in kept(name):
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_for_a_moment(name: str) -> None:
    """Nor does what is made of it in a second; `python -m tests.fuzz` takes as long as you like."""
    fuzzer = Fuzzer(TARGETS[name], [*seeds(name), *kept(name)], "ci")
    found = fuzzer.run(SECONDS)
    if found is not None:
        TARGETS[name](found)
    assert found is None
    assert fuzzer.runs > 100


def test_a_planted_error_is_found() -> None:
    """Coverage leads to what chance alone would hardly find: four bytes, one after the other."""

    def careless(data: bytes) -> None:
        TARGETS["forwarded"](data)
        if data[:1] == b"\0" and b"=_" in data and b"for" in data.lower() and b";" in data:
            raise ValueError("found")

    fuzzer = Fuzzer(careless, [b"\0"], "ci")
    fuzzer.pool += [b"\0for=_a", b"\0by=b;proto=http"]
    assert fuzzer.run(20.0) is not None
