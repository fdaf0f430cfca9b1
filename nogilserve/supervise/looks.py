"""What processes say of themselves, checked: an application may have got hold of the way on which
they do, and may say anything. What makes no sense is left out; others are told of as before.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from nogilserve.runtimes.sums import are_totals, is_number

__all__ = ["proper_look"]

_MOST_ITEMS: Final = 1000
"""In a list."""
_MOST_NAMES: Final = 100
"""In a table of numbers, or in one item of a list."""
_LONGEST: Final = 10_000
"""Characters of a text."""

_NUMBERS: Final = ("threads", "busy", "open", "in_flight")
_TABLES: Final = ("connections",)
_REQUIRED: Final[dict[str, tuple[str, ...]]] = {
    "inside": ("key", "method", "path", "seconds"),
    "lanes": ("name", "key", "state"),
    "cores": ("core",),
    "loops": ("lag", "blocked"),
    "interpreters": ("gil",),
    "pauses": ("at", "seconds", "generation"),
    "failures": ("at", "text"),
}
"""What is told in lists, and what every item of them has."""
_ARE_NUMBERS: Final = frozenset(("seconds", "lag", "blocked", "at", "core"))


def proper_look(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to "look", as whoever reads it expects it."""
    if "error" in answer:
        return {"error": _text(answer["error"])}
    totals, now = answer.get("totals"), answer.get("now")
    return {
        "totals": totals if are_totals(totals) else {},
        "now": _now(now) if isinstance(now, dict) else {},
    }


def _now(now: Mapping[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for name in _NUMBERS:
        if is_number(now.get(name)):
            known[name] = now[name]
    for name in _TABLES:
        table = now.get(name)
        if isinstance(table, dict) and len(table) <= _MOST_NAMES:
            known[name] = {_text(key): n for key, n in table.items() if is_number(n)}
    for name, required in _REQUIRED.items():
        if isinstance(now.get(name), list):
            fits = _fitting(required)
            items = filter(fits, now[name][:_MOST_ITEMS])
            known[name] = [{_text(key): _plain(part) for key, part in i.items()} for i in items]
    return known


def _fitting(required: tuple[str, ...]) -> Callable[[Any], bool]:
    return lambda item: (
        isinstance(item, dict)
        and len(item) <= _MOST_NAMES
        and all(name in item for name in required)
        and all(is_number(item[name]) for name in _ARE_NUMBERS & item.keys())
    )


def _plain(part: Any) -> Any:
    """A number, a text, or a list of such; nothing deeper is told."""
    if part is None or isinstance(part, bool) or is_number(part):
        return part
    if isinstance(part, list):
        return [item for item in part[:_MOST_NAMES] if is_number(item)]
    return _text(part)


def _text(value: Any) -> str:
    """Something that can be shown: neither endless nor half of a character."""
    return str(value)[:_LONGEST].encode("utf-8", "replace").decode()
