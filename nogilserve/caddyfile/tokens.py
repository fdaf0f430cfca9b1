"""The words of a Caddyfile: quotes, heredocs, comments, continued lines, environment variables."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from nogilserve.errors import ConfigError

__all__ = ["Token", "tokenize"]

_VARIABLE: Final = re.compile(r"\{\$([^{}:\s]+)(?::([^{}\n]*))?\}")
_AT_RUN_TIME: Final = re.compile(r"\{env\.([A-Za-z_]\w*)\}")
_HEREDOC: Final = re.compile(r"<<([A-Za-z0-9_-]+)[ \t]*\n")


@dataclass(frozen=True, slots=True)
class Token:
    """A word. Immutable."""

    text: str
    line: int
    """The line it begins on, from 1."""
    last: int
    """The line it ends on."""
    quoted: bool = False
    """In quotes of some kind: a brace or an address it is not."""
    file: str = ""
    """Where it stands, where that is not the Caddyfile itself."""

    def __str__(self) -> str:
        return self.text

    @property
    def place(self) -> str:
        """For messages."""
        return _place(self.file, self.line)

    def with_text(self, text: str) -> "Token":
        """The same with another text."""
        return replace(self, text=text)


def _place(file: str, line: int) -> str:
    return f"{file} line {line}" if file else f"line {line}"


def tokenize(source: str, environ: Mapping[str, str], file: str = "") -> list[Token]:
    """The words of a text. Raises ConfigError for what is not closed."""
    text = _VARIABLE.sub(
        lambda match: environ.get(match[1]) or match[2] or "", source.replace("\r\n", "\n")
    )
    # Caddy looks these up when it serves. One that is not set stays, and is named where it is used.
    text = _AT_RUN_TIME.sub(lambda match: environ.get(match[1], match[0]), text)
    return _Lexer(text.removeprefix("\ufeff"), file).run()


class _Lexer:
    """Reads a text once. Owner: whoever made it."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.at = 0
        self.line = 1
        self.continued = 0
        """Line ends since the last one that counted."""

    def run(self) -> list[Token]:
        """All words in order."""
        found = []
        while (token := self._next()) is not None:
            found.append(token)
        return found

    def _next(self) -> Token | None:
        self._skip()
        if self.at >= len(self.text):
            return None
        char = self.text[self.at]
        if char == '"' or char == "`":
            return self._quoted(char)
        if match := _HEREDOC.match(self.text, self.at):
            return self._heredoc(match)
        return self._plain()

    def _skip(self) -> None:
        """Pass over white space, comments and escaped line ends."""
        text = self.text
        while self.at < len(text):
            char = text[self.at]
            if char == "\n":
                self.line += 1 + self.continued
                self.continued = 0
                self.at += 1
            elif char.isspace():
                self.at += 1
            elif char == "#":
                end = text.find("\n", self.at)
                self.at = len(text) if end < 0 else end
            elif text.startswith("\\\n", self.at):
                # The next line goes on with this one: its words count as of this line.
                self.at += 2
                self.continued += 1
            else:
                return

    def _quoted(self, quote: str) -> Token:
        begin = self.line
        self.at += 1
        taken: list[str] = []
        text = self.text
        while self.at < len(text):
            char = text[self.at]
            if char == quote:
                self.at += 1
                return Token("".join(taken), begin, self.line, quoted=True, file=self.file)
            if quote == '"' and text.startswith('\\"', self.at):
                taken.append('"')
                self.at += 2
                continue
            if char == "\n":
                self.line += 1
            taken.append(char)
            self.at += 1
        raise ConfigError(f"{_place(self.file, begin)}: the {quote} is not closed")

    def _heredoc(self, match: re.Match[str]) -> Token:
        begin, marker = self.line, match[1]
        lines = self.text[match.end() :].split("\n")
        count = 0
        for line in lines:
            if re.match(rf"[ \t]*{re.escape(marker)}(?=\s|$)", line):
                break
            count += 1
        else:
            raise ConfigError(f"{_place(self.file, begin)}: the heredoc <<{marker} is not closed")
        # What the closing marker is indented by is taken off every line.
        indent = line[: len(line) - len(line.lstrip())]
        body = []
        for offset, content in enumerate(lines[:count]):
            if content and not content.startswith(indent):
                place = _place(self.file, begin + 1 + offset)
                raise ConfigError(f"{place}: the heredoc's line is indented less than its end")
            body.append(content[len(indent) :])
        self.at = match.end() + sum(len(part) + 1 for part in lines[:count])
        self.at += len(indent) + len(marker)
        self.line += count + 1
        return Token("\n".join(body), begin, self.line, quoted=True, file=self.file)

    def _plain(self) -> Token:
        start = self.at
        text = self.text
        while self.at < len(text) and not text[self.at].isspace():
            if text.startswith("\\\n", self.at):
                break
            self.at += 1
        word = text[start : self.at].replace("\\#", "#")
        return Token(word, self.line, self.line, file=self.file)
