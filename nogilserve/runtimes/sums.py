"""Adding up the counters of several members."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["are_totals", "merged", "settled", "tagged"]

_PRESENT: Final = ("active", "connections", "idle")
"""What is counted now, and gone with the member that had it."""
_MOST: Final = 2**63


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
    return {**snapshot, **{name: 0 for name in _PRESENT if name in snapshot}}


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
    if not isinstance(data, dict) or not data.keys() <= {"counters", "requests", "waits"}:
        return False
    counters, requests = data.get("counters", {}), data.get("requests", {})
    if not isinstance(counters, dict) or not isinstance(requests, dict):
        return False
    numbers = {name: value for name, value in counters.items() if name != "refused"}
    return (
        _are_numbers(numbers)
        and _are_numbers(counters.get("refused", {}))
        and all(key.count(" ") >= 2 and _is_row(row) for key, row in requests.items())
        and _is_row(data.get("waits", {}))
    )


def _is_row(row: Any) -> bool:
    """Buckets by number, and their sum."""
    return _are_numbers(row) and all(
        key == "sum" or (key.isascii() and key.isdecimal() and len(key) < 4) for key in row
    )


def _are_numbers(data: Any) -> bool:
    return isinstance(data, dict) and all(
        isinstance(value, int | float) and -_MOST < value < _MOST for value in data.values()
    )
