"""What processes say of themselves, checked: an application may have got hold of the way on which
they do, and may say anything. What makes no sense is left out; others are told of as before.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from nogilserve.runtimes.sums import are_totals, is_number

__all__ = ["proper_answer"]

_MOST_ITEMS: Final = 1000
"""In a list."""
_MOST_NAMES: Final = 100
"""In a table of numbers, or in one item of a list."""
_LONGEST: Final = 10_000
"""Characters of a text."""
_MOST_THREADS: Final = 5000
_DEEPEST: Final = 300
"""Calls in a stack."""
_MOST_ROWS: Final = 20_000
"""Types, and different stacks of a profile."""
_ROOM: Final = 1 << 23
"""Characters in all stacks, or names of types, of one answer. The client reads those of all."""

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


_Answer = dict[str, Any]


def proper_answer(question: str, answer: Any) -> _Answer:
    """The answer to a question, as whoever reads it expects it; else {"error": …}."""
    if not isinstance(answer, dict):
        return dict(_NONE)
    if "error" in answer:
        return {"error": _text(answer["error"])}
    if question in _ONLY_NUMBERS:
        return _numbers(answer, _ONLY_NUMBERS[question])
    return _PROPER[question](answer)


_NONE: Final = {"error": "the generation has given no answer"}
_ONLY_NUMBERS: Final = {
    "gc": ("collected", "longest_seconds"),
    "log-level": ("processes",),
    "readiness": ("processes",),
    "threads": ("now",),
}


def _numbers(answer: Mapping[str, Any], names: tuple[str, ...]) -> _Answer:
    """These, and nothing else."""
    known = {name: answer.get(name) for name in names}
    return known if all(map(is_number, known.values())) else dict(_NONE)


def _stacks(answer: Mapping[str, Any]) -> _Answer:
    known: _Answer = {}
    room = _ROOM
    for name, proper, most in (("threads", _thread, _MOST_THREADS), ("tasks", _task, _MOST_ITEMS)):
        if not isinstance(answer.get(name), list):
            continue
        known[name] = []
        for item in answer[name][:most]:
            found, size = proper(item) if isinstance(item, dict) else (None, 0)
            room -= size
            if room < 0:
                break
            if found is not None:
                known[name].append(found)
    return known | _problems(answer)


def _thread(item: Mapping[str, Any]) -> tuple[_Answer | None, int]:
    """A thread and the length of its stack; None if it makes no sense."""
    stack, key = item.get("stack"), item.get("key")
    if not isinstance(stack, list) or not is_number(key):
        return None, 0
    innermost = filter(_is_place, stack[-_DEEPEST:])
    places = [[_text(place[0]), place[1], _text(place[2])] for place in innermost]
    known = {"name": _text(item.get("name", "")), "key": key, "stack": places}
    known |= {name: item[name] for name in ("native", "member") if is_number(item.get(name))}
    return known, sum(len(place[0]) + len(place[2]) for place in places)


def _is_place(place: Any) -> bool:
    """A file, a line and a function."""
    return isinstance(place, list) and len(place) == 3 and is_number(place[1])


def _task(item: Mapping[str, Any]) -> tuple[_Answer | None, int]:
    if not is_number(item.get("key")):
        return None, 0
    text = _text(item.get("text", ""), lines=True)
    known = {"key": item["key"], "text": text}
    return known | {"member": item["member"]} if is_number(item.get("member")) else known, len(text)


def _profile(answer: Mapping[str, Any]) -> _Answer:
    numbers = _numbers(answer, ("samples", "seconds"))
    if "error" in numbers or not isinstance(answer.get("folded"), dict):
        return dict(_NONE)
    folded: dict[str, float] = {}
    room = _ROOM
    for line, count in list(answer["folded"].items())[:_MOST_ROWS]:
        room -= len(line)
        if room < 0:
            break
        if is_number(count) and count > 0:
            folded[_text(line, len(line))] = count
    return {"folded": folded, **numbers, "problems": [], **_problems(answer)}


def _memory(answer: Mapping[str, Any]) -> _Answer:
    numbers = _numbers(answer, ("objects",))
    if "error" in numbers or not isinstance(answer.get("types"), dict):
        return dict(_NONE)
    types = {}
    room = _ROOM
    for name, item in list(answer["types"].items())[:_MOST_ROWS]:
        room -= len(name)
        if room < 0:
            break
        row = _numbers(item, ("count", "bytes")) if isinstance(item, dict) else _NONE
        if "error" not in row:
            types[_text(name, len(name))] = row
    return {"types": types, **numbers}


def _problems(answer: Mapping[str, Any]) -> _Answer:
    problems = answer.get("problems")
    if not isinstance(problems, list):
        return {}
    return {"problems": [_text(text) for text in problems[:_MOST_NAMES]]}


def _look(answer: Mapping[str, Any]) -> _Answer:
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
            known[name] = [
                {_text(key): _plain(part, lines=key == "text") for key, part in item.items()}
                for item in items
            ]
    return known


def _fitting(required: tuple[str, ...]) -> Callable[[Any], bool]:
    return lambda item: (
        isinstance(item, dict)
        and len(item) <= _MOST_NAMES
        and all(name in item for name in required)
        and all(is_number(item[name]) for name in _ARE_NUMBERS & item.keys())
    )


def _plain(part: Any, *, lines: bool) -> Any:
    """A number, a text (of several lines), or a list of numbers; nothing deeper is told."""
    if part is None or isinstance(part, bool) or is_number(part):
        return part
    if isinstance(part, list):
        return [item for item in part[:_MOST_NAMES] if is_number(item)]
    return _text(part, lines=lines)


def _text(value: Any, longest: int = _LONGEST, *, lines: bool = False) -> str:
    """Something that can be shown: neither endless, nor half of a character, nor what a terminal
    obeys. `lines`: there may be several."""
    text = str(value)[:longest]
    if text.isprintable():
        return text
    allowed = "\n\t" if lines else ""
    return "".join(
        c if c.isprintable() or c in allowed else "\N{REPLACEMENT CHARACTER}" for c in text
    )


_PROPER: Final[dict[str, Callable[[Mapping[str, Any]], _Answer]]] = {
    "look": _look,
    "stacks": _stacks,
    "profile": _profile,
    "memory": _memory,
}
