"""What a Caddyfile has become: settings, sites and notes, and their TOML."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from nogilserve.caddyfile.tree import Directive

__all__ = ["ANSWERS", "Note", "Table", "Translation"]

ANSWERS: Final = ("app", "redirect", "respond", "static-path")
"""Beginnings of keys that say what is served."""

type Table = dict[str, Any]
"""A [[site]] or [[site.route]]; its routes are the list "route"."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something that is not simply the same here. Immutable."""

    line: int
    place: str
    what: str
    """The directive as it is written."""
    text: str
    lost: bool
    """It does something in Caddy that the result does not do."""

    def __str__(self) -> str:
        return f"{self.place}: {self.what}: {self.text}"


@dataclass(slots=True)
class Translation:
    """Filled by the translators. Owner: whoever translates."""

    settings: Table = field(default_factory=dict)
    sites: list[Table] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def lost(self, directive: Directive, nearest: str) -> None:
        """It cannot be translated; what comes nearest."""
        self._note(directive, f"not translated; {nearest}", lost=True)

    def hint(self, directive: Directive, text: str) -> None:
        """It needs no translation, or is a little different."""
        self._note(directive, text, lost=False)

    def _note(self, directive: Directive, text: str, *, lost: bool) -> None:
        note = Note(directive.line, directive.place, _short(str(directive)), text, lost)
        if note not in self.notes:
            self.notes.append(note)

    def set(self, directive: Directive, name: str, value: Any) -> None:
        """A setting of the whole server; a second one that differs is a note."""
        old = self.settings.setdefault(name, value)
        if old != value:
            self.lost(directive, f"{name} is one for the whole server, and is {old!r} already")

    def add(self, name: str, *values: str) -> None:
        """Members of a list."""
        found = self.settings.setdefault(name, [])
        found += [value for value in values if value not in found]

    def drop(self, table: Table) -> None:
        """Take the answer of a site or route away, and with it what then answers nothing."""
        for name in [name for name in table if name.startswith(ANSWERS)]:
            del table[name]
        self.sites = [site for site in self.sites if _kept(site)]

    def document(self, source: str) -> str:
        """The nogilserve.toml."""
        lines = [f"# Made from {source} by nogilserve import-caddyfile."]
        for note in sorted(self.notes, key=lambda item: item.line):
            lines.append("# " + str(note).replace("\n", " "))
        lines.append("")
        lines += _pairs(self.settings)
        for site in self.sites:
            lines += _table(site, "site")
        return "\n".join(lines).rstrip("\n") + "\n"


def _kept(table: Table) -> bool:
    """Whether a table or a route below it answers; routes that do not are taken out."""
    if "route" in table:
        table["route"] = [route for route in table["route"] if _kept(route)]
        if not table["route"]:
            del table["route"]
    return any(name.startswith(ANSWERS) or name == "route" for name in table)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:57] + "..."


def _table(table: Table, name: str) -> Iterator[str]:
    yield from ("", f"[[{name}]]")
    yield from _pairs(table)
    for route in table.get("route", ()):
        yield from _table(route, f"{name}.route")


def _pairs(table: Table) -> Iterator[str]:
    for key, value in table.items():
        if key != "route" and not key.startswith("_"):
            yield f"{key} = {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, dict):
        pairs = ", ".join(f"{_value(str(key))} = {_value(item)}" for key, item in value.items())
        return "{ " + pairs + " }" if pairs else "{}"
    if isinstance(value, str):
        # JSON's strings are TOML's, but for the escaped slash it does not write and DEL.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)
