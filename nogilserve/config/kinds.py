"""What a value may be: text in, value out, and back. Knows no option, no source, no file.

A kind is used for every source alike: the command line, environment variables and TOML all hand
over text (TOML numbers and booleans are turned into text first), so a value means the same
wherever it was written.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = [
    "FLAG",
    "LOG_FILE",
    "OCTAL",
    "TEXT",
    "VARIABLE",
    "Kind",
    "choice",
    "integer",
    "seconds",
    "size",
    "text",
]


@dataclass(frozen=True, slots=True)
class Kind[T]:
    """How the text of a value is read and written."""

    allowed: str
    """What is allowed, as a phrase for messages and documentation."""
    parse: Callable[[str], T]
    """Raises ValueError, whose text (possibly empty) says more than `allowed` does."""
    show: Callable[[T], str]
    """Text that `parse` turns into the same value again."""
    native: tuple[type, ...] = ()
    """TOML types taken besides strings."""


# int() and float() would also take digits of other scripts, "1_000" and " 1 ".
_WHOLE: Final = re.compile(r"[0-9]{1,18}")
_SECONDS: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})\s*(ms|s|m|min|h|)")
_SIZE: Final = re.compile(r"([0-9]{1,15})\s*([a-zA-Z]*)")
_OCTAL: Final = re.compile(r"(?:0o?)?([0-7]{3})")

_SECONDS_PER: Final = {"ms": 0.001, "s": 1, "": 1, "m": 60, "min": 60, "h": 3600}
_BYTES_PER: Final = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    # A bare letter is binary, as in nginx and uWSGI.
    "k": 1024,
    "m": 1024**2,
    "g": 1024**3,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
}
_BOOLEANS: Final = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def text(allowed: str = "text that is not empty", *, empty: bool = False) -> Kind[str]:
    """Any text without NUL; empty text only if `empty`."""

    def parse(value: str) -> str:
        if "\0" in value:
            raise ValueError("it contains a NUL character")
        if not value and not empty:
            raise ValueError("it is empty")
        return value

    return Kind(allowed, parse, str)


def choice(*names: str) -> Kind[str]:
    """One of a few names, in any case."""

    def parse(value: str) -> str:
        name = value.lower()
        if name not in names:
            raise ValueError
        return name

    return Kind("one of " + ", ".join(names), parse, str)


def integer(low: int, high: int) -> Kind[int]:
    """A whole number, decimal digits only."""

    def parse(value: str) -> int:
        if not _WHOLE.fullmatch(value) or not low <= int(value) <= high:
            raise ValueError
        return int(value)

    return Kind(f"a whole number from {low} to {high}", parse, str, (int,))


def seconds(low: float, high: float) -> Kind[float]:
    """A duration in seconds, exact to a millisecond; takes the units ms, s, m, h."""

    def parse(value: str) -> float:
        match = _SECONDS.fullmatch(value)
        if match is None:
            raise ValueError
        duration = round(float(match[1]) * _SECONDS_PER[match[2]], 3)
        if not low <= duration <= high:
            raise ValueError
        return duration

    allowed = f"seconds from {low:g} to {high:g}, or with a unit such as 500ms, 30s, 2m"
    return Kind(allowed, parse, _show_seconds, (int, float))


def _show_seconds(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def size(low: int, high: int, zero: str = "") -> Kind[int]:
    """A number of bytes; `zero` says what 0 means where 0 is taken besides the range."""

    def parse(value: str) -> int:
        match = _SIZE.fullmatch(value)
        if match is None:
            raise ValueError
        factor = _BYTES_PER.get(match[2].lower())
        if factor is None:
            raise ValueError(f"{match[2]!r} is no unit of size")
        count = int(match[1]) * factor
        if not (low <= count <= high or (zero and count == 0)):
            raise ValueError
        return count

    allowed = f"bytes from {low} to {high}, or with a unit such as 64KiB, 10MB"
    return Kind(f"{allowed}; 0 means {zero}" if zero else allowed, parse, str, (int,))


def _parse_flag(value: str) -> bool:
    try:
        return _BOOLEANS[value.lower()]
    except KeyError:
        raise ValueError from None


def _show_flag(value: bool) -> str:
    return "true" if value else "false"


def _parse_log_file(value: str) -> str:
    if "\0" in value:
        raise ValueError("it contains a NUL character")
    switch = _BOOLEANS.get(value.lower())
    if switch is None:
        return value
    return "-" if switch else ""


def _parse_octal(value: str) -> int:
    match = _OCTAL.fullmatch(value)
    if match is None:
        raise ValueError
    return int(match[1], 8)


def _parse_variable(value: str) -> tuple[str, str]:
    name, equals, content = value.partition("=")
    if not equals:
        # What `docker run -e NAME` is for happens here by itself.
        raise ValueError("variables that exist already are passed on anyway")
    if not name or "\0" in value:
        raise ValueError
    return name, content


def _show_variable(value: tuple[str, str]) -> str:
    return f"{value[0]}={value[1]}"


TEXT: Final = text()
FLAG: Final = Kind("true or false (also yes/no, on/off, 1/0)", _parse_flag, _show_flag, (bool,))
LOG_FILE: Final = Kind(
    'a file, "-" or true for standard output, "" or false for none', _parse_log_file, str, (bool,)
)
OCTAL: Final = Kind(
    # Not a TOML integer: 660 without quotes would be decimal there and mean something else.
    'three octal digits as text, such as "660"',
    _parse_octal,
    lambda value: f"{value:03o}",
)
VARIABLE: Final = Kind("NAME=VALUE", _parse_variable, _show_variable)
