"""What `--prepare` stands for."""

import pytest

from nogilserve.prepare.deferring import AVAILABLE
from nogilserve.runtimes.preparing import steps_of

SEVERAL = 4

defers = pytest.mark.skipif(not AVAILABLE, reason="free-threaded CPython 3.14 and later")


@defers
@pytest.mark.parametrize("text", ["immortal", "defer,immortal", "freeze,immortal"])
def test_what_is_immortal_is_not_looked_at(text: str) -> None:
    """Collections leave alone what they would never free."""
    steps, left = steps_of(text, SEVERAL, free_threaded=True, gil=False)
    assert steps == {*text.split(","), "freeze"}
    assert left == ()


@defers
def test_one_thread_is_told_of_nothing_that_nobody_asked_for() -> None:
    """By default it defers nothing; who asks for it gets it."""
    assert steps_of("auto", 1, free_threaded=True, gil=False) == (frozenset({"freeze"}), ())
    assert steps_of("defer", 1, free_threaded=True, gil=False) == (frozenset({"defer"}), ())


def test_what_this_python_lacks_is_told() -> None:
    """With the reason."""
    for text, lacking in (("auto", ["defer"]), ("defer,immortal", ["defer", "immortal"])):
        steps, left = steps_of(text, SEVERAL, free_threaded=True, gil=True)
        assert steps == {"freeze"}
        assert list(left) == [f"{step}: the GIL is on" for step in lacking]
