"""From what the subject has noted of a burst to what its requests share: who touched it when."""

import linecache
from collections.abc import Sequence
from typing import Any, Final

from nogilserve.stress.findings import Moment, Shared

__all__ = ["moments_of", "shared_by"]

_MOST: Final = 24


def shared_by(turns: Sequence[dict[str, Any]]) -> list[Shared]:
    """What two requests or more have touched and one, at least, has changed or used."""
    by_name: dict[tuple[str, str], dict[int, set[tuple[str, int, str]]]] = {}
    for turn in turns:
        for _, name, kind, file, line, *_ in turn.get("touches", ()):
            module = "" if name.startswith((".", "[")) else file
            by_name.setdefault((module, name), {}).setdefault(turn["index"], set()).add(
                (file, line, kind)
            )
    found = []
    for (_, name), by_request in by_name.items():
        places = set.union(*by_request.values())
        kinds = {kind for _, _, kind in places}
        if len(by_request) > 1 and kinds != {"reads"}:
            found.append((kinds, name, places))
    # What is written stands before what is used only.
    found.sort(key=lambda each: ("writes" not in each[0], each[1].startswith(("[", ".")), each[1]))
    return [
        Shared(
            name,
            [
                (file, line, kind, linecache.getline(file, line).strip())
                for file, line, kind in sorted(places)
            ],
        )
        for _, name, places in found
    ]


def moments_of(turns: Sequence[dict[str, Any]], shared: Sequence[Shared]) -> list[Moment]:
    """Who touched what is shared when, in order; the first of many, and the last."""
    names = {each.name for each in shared}
    found = sorted(
        (when, turn["index"], name, kind, file, line, function, thread, tuple(stack))
        for turn in turns
        for when, name, kind, file, line, function, thread, stack in turn.get("touches", ())
        if name in names
    )
    if len(found) > _MOST:
        found = found[: _MOST // 2] + found[-_MOST // 2 :]
    return [
        Moment((when - found[0][0]) / 1e6, index, kind, name, file, line, function, thread, stack)
        for when, index, name, kind, file, line, function, thread, stack in found
    ]
