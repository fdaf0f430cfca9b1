"""Values: what a frozen dataclass does, they do too."""

import copy
import pickle
from typing import Any

import pytest

from nogilserve.values import Value


class Place(Value):
    """For these tests."""

    name: str
    port: int = 80
    tags: tuple[str, ...] = ()


class Other(Value):
    """Of the same names."""

    name: str
    port: int = 80
    tags: tuple[str, ...] = ()


def test_values_by_place_and_by_name_with_defaults() -> None:
    """All ways of making one come to the same."""
    made = Place("a", 80)
    assert made == Place("a") == Place(name="a") == Place("a", tags=())
    assert (made.name, made.port, made.tags) == ("a", 80, ())
    assert hash(made) == hash(Place("a"))
    assert repr(made) == "Place(name='a', port=80, tags=())"


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), (("a", 1, (), 2), {}), (("a",), {"name": "b"}), (("a",), {"prot": 1})],
)
def test_what_does_not_fit_is_refused(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Missing, too many, twice, unknown."""
    with pytest.raises(TypeError, match="Place"):
        Place(*values, **named)


def test_other_values_and_other_classes_are_different() -> None:
    """The class counts, not only what is in it."""
    assert Place("a") != Place("b")
    assert Place("a") != Other("a")


def test_one_is_not_changed_but_replaced() -> None:
    """As long as there is one, it is the same."""
    made = Place("a")
    with pytest.raises(AttributeError, match="not changed: port"):
        made.port = 1  # type: ignore[misc]
    with pytest.raises(AttributeError, match="not changed: name"):
        del made.name
    assert copy.replace(made, port=1) == Place("a", 1)
    assert made == Place("a")


def test_copies_and_patterns() -> None:
    """It crosses borders, and `match` takes it apart."""
    made = Place("a", 1, ("b",))
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == made
    match made:
        case Place(name, port):
            assert (name, port) == ("a", 1)
        case _:
            pytest.fail("it has a pattern")
