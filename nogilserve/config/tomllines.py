"""Where in a TOML document each value stands: tomllib tells what, not where.

The document has been read by tomllib before, so only as much of the grammar (TOML 1.0) is looked at
as it takes to know where keys and values begin and end.
"""

import re
from collections.abc import Iterator
from typing import Final

__all__ = ["Place", "lines_of"]

type Place = tuple[str | int, ...]
"""Keys and, inside arrays, indexes: ("site", 1, "hosts", 0)."""

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR: Final = re.compile(r"[^,\]}#\r\n]*")
# The longer quotes first; three quotes may have one or two more of their kind inside at the end.
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' + r"'''.*?'{3,5}|" + r'"(?:[^"\\\n]|\\.)*"|' + r"'[^'\n]*'",
    re.DOTALL,
)
_ESCAPE: Final = re.compile(r'\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[btnfr"\\])')
_ESCAPED: Final = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}


def lines_of(text: str) -> dict[Place, int]:
    """The line, from 1, of every key, every element of an array, and every table's header."""
    return _Scanner(text).run()


class _Scanner:
    """Reads a document once. Owner: whoever made it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[Place, int] = {}
        self._tables: dict[Place, int] = {}
        """Arrays of tables, and how many there are so far."""
        self._line = 1
        self._counted = 0

    def run(self) -> dict[Place, int]:
        """Read it all."""
        here: Place = ()
        while self._skip(_BLANK) and self.at < len(self.text):
            if self.text[self.at] == "[":
                here = self._header()
            else:
                self._pair(here)
        return self.found

    def _header(self) -> Place:
        several = self.text.startswith("[[", self.at)
        line = self._now()
        self.at += 1 + several
        place = self._place((), list(self._keys()), several=several)
        self.at += 1 + several
        self.found.setdefault(place, line)
        return place

    def _place(self, place: Place, keys: list[str], *, several: bool = False) -> Place:
        for number, key in enumerate(keys, 1):
            place = (*place, key)
            if several and number == len(keys):
                self._tables[place] = self._tables.get(place, 0) + 1
            if place in self._tables:
                place = (*place, self._tables[place] - 1)
        return place

    def _keys(self) -> Iterator[str]:
        """The parts of a dotted key."""
        while True:
            self._skip(_SPACE)
            if self.text[self.at] in "\"'":
                yield self._string()
            else:
                match = _BARE.match(self.text, self.at)
                assert match is not None
                self.at = match.end()
                yield match[0]
            self._skip(_SPACE)
            if self.text[self.at] != ".":
                return
            self.at += 1

    def _string(self) -> str:
        match = _STRING.match(self.text, self.at)
        assert match is not None
        self.at = match.end()
        if match[0][0] == "'":
            return match[0][1:-1]
        return _ESCAPE.sub(_unescape, match[0][1:-1])

    def _pair(self, here: Place) -> None:
        line = self._now()
        place = here
        for key in self._keys():
            place = (*place, key)
            self.found.setdefault(place, line)
        self.at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(place)

    def _value(self, place: Place) -> None:
        first = self.text[self.at]
        if first in "\"'":
            self._string()
        elif first == "[":
            self._list(place)
        elif first == "{":
            self._inline(place)
        else:
            self._skip(_SCALAR)

    def _list(self, place: Place) -> None:
        self.at += 1
        index = 0
        while self._skip(_BLANK) and self.text[self.at] != "]":
            if self.text[self.at] == ",":
                self.at += 1
                continue
            self.found[*place, index] = self._now()
            self._value((*place, index))
            index += 1
        self.at += 1

    def _inline(self, place: Place) -> None:
        self.at += 1
        while self._skip(_BLANK) and self.text[self.at] != "}":
            if self.text[self.at] == ",":
                self.at += 1
                continue
            self._pair(place)
        self.at += 1

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        match = pattern.match(self.text, self.at)
        assert match is not None
        self.at = match.end()
        return True

    def _now(self) -> int:
        """The line at the present position."""
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    return _ESCAPED.get(code) or chr(int(code[1:], 16))
