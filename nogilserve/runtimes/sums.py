"""Adding up the counters of several members."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, Final

from nogilserve.engine.counters import Counters

__all__ = ["are_totals", "is_number", "merged", "settled", "tagged"]

_PRESENT: Final = ("active", "connections", "idle", "stuck", "abandoned")
"""What is counted now, and gone with the member that had it."""
_OF_ITSELF: Final = "prepared"
"""What a member has told of itself, and nobody wants to know once it is gone."""
_GENERATIONS: Final = ("0", "1", "2")
"""Of objects, as the garbage collector has them."""
_MOST: Final = 2**63
_COUNTERS: Final = frozenset((*_PRESENT, *(field.name for field in fields(Counters))))
_TOTALS: Final = frozenset(("counters", "requests", "waits", "collections"))
_MOST_ROWS: Final = 5000
"""Kinds of requests, and reasons for refusing them."""
_LONGEST: Final = 300
"""Characters of one."""


def merged(snapshots: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of snapshots: numbers are added (the greatest of "longest_…"), so are those in
    dictionaries; lists are joined."""
    result: dict[str, Any] = {}
    for snapshot in snapshots:
        for name, value in snapshot.items():
            if name not in result:
                result[name] = dict(value) if isinstance(value, Mapping) else value
            elif isinstance(value, Mapping):
                result[name] = merged([result[name], value])
            elif name.startswith("longest"):
                result[name] = max(result[name], value)
            else:
                result[name] = result[name] + value
    return result


def settled(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """The snapshot of a member that is gone."""
    kept = {name: value for name, value in snapshot.items() if name != _OF_ITSELF}
    return {**kept, **{name: 0 for name in _PRESENT if name in kept}}


def tagged(answer: Mapping[str, Any], **marks: Any) -> dict[str, Any]:
    """The answer with `marks` added to each dictionary in its lists: whose they are, once
    the lists of several are joined."""
    return {
        name: tagged(value, **marks)
        if isinstance(value, Mapping)
        else [{**item, **marks} if isinstance(item, Mapping) else item for item in value]
        if isinstance(value, list)
        else value
        for name, value in answer.items()
    }


def are_totals(data: Any) -> bool:
    """Whether this is what `looking.totals_of` makes, and can be added up with what others have
    counted: a process that belongs to one of many applications may say anything."""
    if not isinstance(data, dict) or not data.keys() <= _TOTALS:
        return False
    counters, requests = data.get("counters", {}), data.get("requests", {})
    if not isinstance(counters, dict) or not isinstance(requests, dict):
        return False
    refused = counters.get("refused", {})
    numbers = {name: value for name, value in counters.items() if name != "refused"}
    return (
        counters.keys() <= _COUNTERS
        and _are_numbers(numbers)
        and _are_numbers(refused)
        and len(refused) <= _MOST_ROWS
        and all(map(_is_label, refused))
        and len(requests) <= _MOST_ROWS
        and all(_is_kind(key) and _is_row(row) for key, row in requests.items())
        and _is_row(data.get("waits", {}))
        and _are_collections(data.get("collections", {}))
    )


def _are_collections(data: Any) -> bool:
    return isinstance(data, dict) and all(
        age in _GENERATIONS and _are_numbers(row) and row.keys() <= {"number", "seconds"}
        for age, row in data.items()
    )


def _is_kind(key: str) -> bool:
    """Method, status and route."""
    parts = key.split(" ", 2)
    return (
        len(parts) == 3
        and parts[0].isascii()
        and parts[0].isalpha()
        and parts[1].isascii()
        and parts[1].isdecimal()
        and len(parts[1]) <= 3
        and _is_label(key)
    )


def _is_label(text: str) -> bool:
    """What can stand in an exposition, without filling it."""
    return len(text) <= _LONGEST and text.isprintable()


def is_number(value: Any) -> bool:
    """Neither NaN nor so great that nothing could be added."""
    return isinstance(value, int | float) and 0 <= value < _MOST


def _is_row(row: Any) -> bool:
    """Buckets by number, and their sum."""
    return _are_numbers(row) and all(
        key == "sum" or (key.isascii() and key.isdecimal() and len(key) < 4) for key in row
    )


def _are_numbers(data: Any) -> bool:
    return isinstance(data, dict) and all(map(is_number, data.values()))
