"""Environment files: lines of NAME=VALUE. Reads text, touches no environment."""

import re
from collections.abc import Iterator
from typing import Final

__all__ = ["parse_env_file"]

_LINE: Final = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*=\s*(.*)", re.DOTALL)
_SINGLE: Final = re.compile(r"'([^']*)'\s*(?:#.*)?")
_DOUBLE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_ESCAPE: Final = re.compile(r"\\(.)")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t"}


def parse_env_file(text: str) -> Iterator[tuple[str, str]]:
    """The variables of a file, in order; ValueError names the line that cannot be read.

    Empty lines and lines starting with # are skipped, a leading `export` is allowed. A value in
    single quotes is taken as it is; in double quotes a backslash escapes; without quotes it ends
    before " #" and is stripped. Nothing is interpolated.
    """
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        match = _LINE.fullmatch(content)
        if match is None or "\0" in content:
            raise ValueError(f"line {number} is not NAME=VALUE")
        yield match[1], _value(match[2], number)


def _value(text: str, number: int) -> str:
    if text.startswith("'"):
        match = _SINGLE.fullmatch(text)
        if match is None:
            raise ValueError(f"line {number} has a quote that is not closed")
        return match[1]
    if text.startswith('"'):
        match = _DOUBLE.fullmatch(text)
        if match is None:
            raise ValueError(f"line {number} has a quote that is not closed")
        return _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[1]), match[1])
    if text.startswith("#"):
        return ""
    return re.split(r"\s#", text, maxsplit=1)[0].rstrip()
