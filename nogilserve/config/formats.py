"""What an access log format may say. Checks only; observe.accesslog writes the lines."""

import re
from typing import Final

from nogilserve.config.kinds import Kind

__all__ = ["ACCESS_FORMAT", "NAMED_FORMATS"]

NAMED_FORMATS: Final = ("combined", "common", "json")

_REQUEST_ID: Final = "%{UNIQUE_ID}e"
"""The one variable there is, called as Apache's mod_unique_id calls it."""

_ATOM: Final = re.compile(r"%(?:(%)|\{([^{}]+)\}([a-zA-Z])|([<>]?[a-zA-Z]))?")
_PLAIN: Final = frozenset("hlutrsmUqHbBfaTDMLpvX")


def _check(value: str) -> str:
    if value in NAMED_FORMATS:
        return value
    if "%" not in value:
        raise ValueError
    if any(char < " " or char == "\x7f" for char in value):
        raise ValueError("it contains a control character")
    if "%(" in value:
        raise ValueError("atoms are written %h and %{Referer}i, not %(h)s and %({Referer}i)s")
    for match in _ATOM.finditer(value):
        percent, _, braced, plain = match.groups()
        named = braced in ("i", "o") or match[0] == _REQUEST_ID
        known = percent or named or (plain and plain.lstrip("<>") in _PLAIN)
        if not known:
            raise ValueError(f"{value[match.start() : match.start() + 12]!r} is no known atom")
    return value


ACCESS_FORMAT: Final = Kind(
    "combined, common, json, or text with Apache atoms such as %h %t %r %s %b %D %{name}i",
    _check,
    str,
)
