"""Which content coding a client prefers (RFC 9110 §12.5.3)."""

import re
from typing import Final

__all__ = ["field", "preferred"]

_WEIGHT: Final = re.compile(r"[ \t]*[qQ]=([01](?:\.[0-9]{0,3})?)[ \t]*")
_ALIASES: Final = {"x-gzip": "gzip", "x-compress": "compress"}
"""Old names that mean the same (§8.4.1)."""


def field(headers: list[tuple[str, str]], name: str) -> str | None:
    """A field of a request, all its lines joined as §5.3 has it; None where it is missing."""
    found = [value for key, value in headers if key == name]
    return ", ".join(found) if found else None


def preferred(accepted: str | None, offered: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `offered` that `Accept-Encoding` takes rather than no coding, the best first.

    Among equals our order decides. Without the field nothing is taken: such clients are old or
    simple. A weight that cannot be read counts as 0.
    """
    if not accepted:
        return ()
    weights: dict[str, float] = {}
    for item in accepted.split(","):
        name, semicolon, parameters = item.partition(";")
        name = name.strip(" \t").lower()
        weight = 1.0
        if semicolon:
            match = _WEIGHT.fullmatch(parameters)
            weight = min(float(match[1]), 1.0) if match else 0.0
        weights.setdefault(_ALIASES.get(name, name), weight)
    rest = weights.get("*", 0.0)
    # Without a word about it, no coding at all is what every coding is better than.
    floor = weights.get("identity", 0.0)
    wanted = [(weights.get(name, rest), name) for name in offered]
    kept = [pair for pair in wanted if pair[0] > 0 and pair[0] >= floor]
    kept.sort(key=lambda pair: -pair[0])
    return tuple(name for _, name in kept)
