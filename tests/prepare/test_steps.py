"""What `--prepare` stands for."""

import pytest

from nogilserve.prepare import AVAILABLE, IMMORTAL
from nogilserve.runtimes.preparing import steps_of

defers = pytest.mark.skipif(not AVAILABLE, reason="free-threaded CPython 3.14 and later")


@defers
@pytest.mark.parametrize("text", ["immortal", "defer,immortal", "freeze,immortal"])
def test_what_is_immortal_is_not_looked_at(text: str) -> None:
    """Collections leave alone what they would never free."""
    steps, left = steps_of(text, free_threaded=True, gil=False)
    assert steps == {*text.split(","), "freeze"}
    assert left == ()


@pytest.mark.skipif(not IMMORTAL, reason="free-threaded CPython 3.14")
def test_everything_is_done_by_default() -> None:
    """What several threads use has no count, or at least none that they wait for."""
    everything = frozenset({"freeze", "defer", "immortal"})
    assert steps_of("auto", free_threaded=True, gil=False) == (everything, ())


_AUTOMATIC = ["defer", "immortal"] if IMMORTAL else ["defer"]


def test_what_this_python_lacks_is_told() -> None:
    """With the reason."""
    for text, lacking in (("auto", _AUTOMATIC), ("defer,immortal", ["defer", "immortal"])):
        steps, left = steps_of(text, free_threaded=True, gil=True)
        assert steps == {"freeze"}
        assert list(left) == [f"{step}: the GIL is on" for step in lacking]
