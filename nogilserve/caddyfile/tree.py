"""The structure of a Caddyfile: global options, snippets, sites, and directives in blocks."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nogilserve.caddyfile.tokens import Token, tokenize
from nogilserve.errors import ConfigError

__all__ = ["Caddyfile", "Directive", "SiteBlock", "read"]

_ARGUMENT: Final = re.compile(r"\{args(?:\.(\d+)|\[(-?\d*)(:?)(-?\d*)\])\}")
_DEEPEST: Final = 50
"""Imports inside imports: more is a circle."""
_IMPORTS: Final = 2000
"""Imports in all, those of a snippet counted whenever it is used."""
_NESTED: Final = 100
"""Blocks inside blocks."""


@dataclass(frozen=True, slots=True)
class Directive:
    """A name, what stands behind it, and its block. Immutable."""

    name: str
    args: tuple[str, ...]
    line: int
    place: str
    """For messages: "line 3", or the file and the line."""
    block: "tuple[Directive, ...] | None" = None
    """None: there is none."""

    @property
    def children(self) -> "tuple[Directive, ...]":
        """What stands in its block."""
        return self.block or ()

    def __str__(self) -> str:
        return " ".join([self.name, *self.args])


@dataclass(frozen=True, slots=True)
class SiteBlock:
    """A site: its addresses and directives. Immutable."""

    addresses: tuple[str, ...]
    directives: tuple[Directive, ...]
    line: int


@dataclass(slots=True)
class Caddyfile:
    """A whole file. Owner: whoever has read it."""

    options: list[Directive] = field(default_factory=list)
    sites: list[SiteBlock] = field(default_factory=list)
    named_routes: dict[str, tuple[Directive, ...]] = field(default_factory=dict)


def read(path: Path, environ: Mapping[str, str]) -> Caddyfile:
    """Read a file and what it imports. Raises ConfigError, which names the line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"cannot read {path}: {reason}") from None
    return _Parser(path, environ).run(tokenize(text, environ))


class _Parser:
    """Owner: whoever made it."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self.folder = path.parent
        self.environ = environ
        self.snippets: dict[str, list[Token]] = {}
        self.result = Caddyfile()
        self.imports = 0
        self.nested = 0
        """Blocks that are being read."""

    def run(self, tokens: list[Token]) -> Caddyfile:
        """The whole file."""
        lines = _lines(tokens)
        first = True
        while lines:
            head, body = _take(lines)
            opened = body is not None
            if first and opened and not head:
                self.result.options += self._directives(body or [], 0)
            elif head and _is_snippet(head[0]) and opened:
                self.snippets[head[0].text[1:-1]] = body or []
            elif head and head[0].text.startswith("&(") and opened:
                inside = tuple(self._directives(body or [], 0))
                self.result.named_routes[head[0].text[2:-1]] = inside
            elif head and head[0].text == "import" and not opened:
                lines[:0] = _lines(self._imported(head, body, 0))
                continue  # what is imported may begin with the global options
            else:
                self._site(head, body, lines)
            first = False
        return self.result

    def _site(self, head: list[Token], body: list[Token] | None, lines: list[list[Token]]) -> None:
        # Addresses may go on behind a comma on the next line.
        while body is None and head and head[-1].text.endswith(",") and lines:
            more, body = _take(lines)
            head += more
        if not head:
            where = f"{body[0].place}: " if body else ""
            raise ConfigError(
                f"{where}a block stands where the addresses of a site are expected; global options "
                "are one block, at the top"
            )
        if body is None:
            # A file of a single site may do without braces.
            rest = [token for line in lines for token in line]
            if self.result.sites:
                raise ConfigError(f"{head[0].place}: {head[0].text!r} has no block")
            body, lines[:] = rest, []
        addresses = [part for token in head for part in token.text.split(",") if part]
        if any(token.text == "}" for token in head):
            raise ConfigError(f"{head[0].place}: there is no block that }} could close")
        directives = tuple(self._directives(body, 0))
        self.result.sites.append(SiteBlock(tuple(addresses), directives, head[0].line))

    def _directives(self, tokens: list[Token], depth: int) -> list[Directive]:
        """The directives of a block."""
        found: list[Directive] = []
        lines = _lines(tokens)
        while lines:
            head, body = _take(lines)
            if not head:
                where = f"{body[0].place}: " if body else ""
                raise ConfigError(f"{where}a block has no directive in front of it")
            if head[0].text == "import" and not head[0].quoted:
                found += self._directives(self._imported(head, body, depth), depth + 1)
                continue
            inside = None if body is None else self._inside(head[0], body, depth)
            args = tuple(token.text for token in head[1:])
            found.append(Directive(head[0].text, args, head[0].line, head[0].place, inside))
        return found

    def _inside(self, head: Token, body: list[Token], depth: int) -> tuple[Directive, ...]:
        self.nested += 1
        if self.nested > _NESTED:
            raise ConfigError(f"{head.place}: blocks are nested more than {_NESTED} deep")
        found = tuple(self._directives(body, depth))
        self.nested -= 1
        return found

    def _imported(self, head: list[Token], body: list[Token] | None, depth: int) -> list[Token]:
        """The words of a snippet or of files, with the arguments in place."""
        place = head[0].place
        if len(head) < 2:
            raise ConfigError(f"{place}: import needs a snippet or a file")
        if depth > _DEEPEST:
            raise ConfigError(f"{place}: imports go round in a circle")
        self.imports += 1
        if self.imports > _IMPORTS:
            raise ConfigError(f"{place}: more than {_IMPORTS} imports, perhaps in a circle")
        name, args = head[1].text, [token.text for token in head[2:]]
        if name in self.snippets:
            tokens = self.snippets[name]
        else:
            tokens = self._from_files(name, place)
        result: list[Token] = []
        for token in tokens:
            if token.text == "{block}" and not token.quoted:
                result += body or []
            elif token.text == "{args[:]}":
                result += [token.with_text(text) for text in args]
            else:
                result.append(
                    token.with_text(_ARGUMENT.sub(lambda match: _argument(match, args), token.text))
                )
        return result

    def _from_files(self, name: str, place: str) -> list[Token]:
        pattern = Path(name)
        base = Path(pattern.anchor) if pattern.is_absolute() else self.folder
        relative = pattern.relative_to(pattern.anchor) if pattern.is_absolute() else pattern
        files = [path for path in sorted(base.glob(str(relative))) if path.is_file()]
        if not files and not any(char in name for char in "*?["):
            raise ConfigError(f"{place}: there is neither a snippet nor a file {name!r}")
        tokens: list[Token] = []
        for path in files:
            tokens += tokenize(path.read_text(encoding="utf-8"), self.environ, path.name)
        return tokens


def _is_snippet(token: Token) -> bool:
    text = token.text
    return text.startswith("(") and text.endswith(")") and not token.quoted


def _argument(match: re.Match[str], args: Sequence[str]) -> str:
    if match[1] is not None or not match[3]:
        text = match[1] if match[1] is not None else match[2]
        index = int(text or 0)
        return args[index] if -len(args) <= index < len(args) else ""
    start = int(match[2]) if match[2] else None
    stop = int(match[4]) if match[4] else None
    return " ".join(args[start:stop])


def _lines(tokens: Sequence[Token]) -> list[list[Token]]:
    """The words, line by line."""
    lines: list[list[Token]] = []
    last: Token | None = None
    for token in tokens:
        if last is None or token.line != last.last or token.file != last.file:
            lines.append([])
        lines[-1].append(token)
        last = token
    return lines


def _take(lines: list[list[Token]]) -> tuple[list[Token], list[Token] | None]:
    """The next line, and the words of the block it opens; None: it opens none."""
    line = lines.pop(0)
    if _closes(line[0]):
        raise ConfigError(f"{line[0].place}: there is no block that }} could close")
    if not _opens(line[-1]):
        return line, None
    place, body, depth = line[-1].place, list[Token](), 1
    while lines:
        words = lines.pop(0)
        for index, token in enumerate(words):
            depth += _opens(token) - _closes(token)
            if not depth:
                if words[index + 1 :]:
                    lines.insert(0, words[index + 1 :])
                return line[:-1], body
            body.append(token)
    raise ConfigError(f"{place}: the block is not closed")


def _opens(token: Token) -> bool:
    return token.text == "{" and not token.quoted


def _closes(token: Token) -> bool:
    return token.text == "}" and not token.quoted
