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
    "ABSOLUTE_PATH",
    "ACCOUNT",
    "FLAG",
    "GLOB",
    "LOG_FILE",
    "OCTAL",
    "PID_FILE",
    "PREFIX_PATH",
    "TEXT",
    "TYPE",
    "UMASK",
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
_TYPE: Final = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_PATH: Final = re.compile(r"/[!-~]*")
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*\$?")

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


def integer(low: int, high: int, zero: str = "") -> Kind[int]:
    """A whole number, decimal digits only; `zero` is the word for 0 where `low` is more."""

    def parse(value: str) -> int:
        if zero and value.lower() in (zero, "0"):
            return 0
        if not _WHOLE.fullmatch(value) or not low <= int(value) <= high:
            raise ValueError
        return int(value)

    def show(value: int) -> str:
        return str(value) if value or not zero else zero

    allowed = f"a whole number from {low} to {high}"
    return Kind(f"{zero} or {allowed}" if zero else allowed, parse, show, (int,))


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


def _parse_prefix(value: str) -> str:
    if not value or value == "/":  # others write "/" for none
        return ""
    if not value.startswith("/"):
        raise ValueError(f"write /{value}")
    if value.endswith("/"):
        raise ValueError(f"write {value.rstrip('/') or '/'}")
    if "//" in value or {".", ".."} & set(value.split("/")):
        raise ValueError("it has an empty segment, . or ..")
    if any(char < " " or char in "\x7f?#%" for char in value):
        raise ValueError("it is written without percent signs, ? and #")
    return value


def _parse_path(value: str) -> str:
    if value and not value.startswith("/"):
        raise ValueError(f"write /{value}")
    if value.startswith("//") or "#" in value or not (value == "" or _PATH.fullmatch(value)):
        raise ValueError
    return value


def _parse_type(value: str) -> str:
    if not _TYPE.fullmatch(value):
        raise ValueError
    return value


def _parse_account(value: str) -> str:
    if value and not _ACCOUNT.fullmatch(value):
        raise ValueError
    return value


def _parse_pid_file(value: str) -> str:
    if value.isdecimal():
        raise ValueError("that is a number; for the port write --port")
    if "\0" in value:
        raise ValueError("it contains a NUL character")
    return value


def _parse_glob(value: str) -> str:
    if not value or "\0" in value:
        raise ValueError
    return value


def _show_octal(value: int) -> str:
    return f"{value:03o}"


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
    _show_octal,
)
UMASK: Final = Kind('three octal digits as text, such as "022"', _parse_octal, _show_octal)
VARIABLE: Final = Kind("NAME=VALUE", _parse_variable, _show_variable)
TYPE: Final = Kind("module:Class", _parse_type, str)
PREFIX_PATH: Final = Kind(
    "a path that starts with / and does not end with one, such as /shop", _parse_prefix, str
)
ABSOLUTE_PATH: Final = Kind(
    "a path that starts with /, as a client sends it, such as /health?full=1", _parse_path, str
)
ACCOUNT: Final = Kind("a name or a number", _parse_account, str)
PID_FILE: Final = Kind("the path of a file", _parse_pid_file, str)
GLOB: Final = Kind("a pattern such as *.html or templates/*", _parse_glob, str)
