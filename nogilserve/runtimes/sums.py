"""Adding up the counters of several members."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["merged", "settled", "tagged"]

_PRESENT: Final = ("active", "connections", "idle")
"""What is counted now, and gone with the member that had it."""


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
