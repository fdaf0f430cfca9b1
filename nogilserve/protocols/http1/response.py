"""What an application may put into a response head.

The hot path in `connection` takes the ordinary response; everything else comes here and is either
written or refused with a ResponseError that says what is wrong. Nothing that an application
passes can split a response or change its framing (RFC 9112 §11.1).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from nogilserve.errors import ResponseError
from nogilserve.messages import Headers
from nogilserve.protocols.http1 import rules
from nogilserve.protocols.http1.tables import (
    DATE,
    FRAMING,
    HOP_BY_HOP,
    LENGTH,
    PHRASES,
    PLAIN,
    SERVER,
)

__all__ = [
    "Fields",
    "check_fields",
    "check_trailers",
    "compose_fields",
    "error_body",
    "final_status",
    "interim_line",
    "status_line",
    "trailer_fields",
]

_TOKEN: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
# RFC 9110 §5.5: visible characters, space, tab and obs-text, one byte each.
_TEXT: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_STATUS: Final = re.compile(r"([2-5][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)")
_DIGITS: Final = re.compile(r"[0-9]{1,18}")
_INTERIM: Final = {100: "Continue", 102: "Processing", 103: "Early Hints"}


class Fields:
    """The header section of a response, checked. Owner: the thread that runs the request."""

    __slots__ = ("date", "length", "lines", "server", "text")

    def __init__(self) -> None:
        self.lines: Headers = []
        """The fields without Content-Length, as they were given."""
        self.text = ""
        """They as field lines with their CRLFs, where HTTP/1 is spoken."""
        self.length: int | None = None
        """Content-Length as the application gave it."""
        self.date = False
        """Whether the application sends its own; so for `server`."""
        self.server = False

    def common(self, lines: bytes) -> bytes:
        """Of our own Date and Server `lines` those that the application did not send itself."""
        if not (self.date or self.server):
            return lines
        return b"".join(
            line
            for line in lines.splitlines(keepends=True)
            if not (self.date and line[:5].lower() == b"date:")
            and not (self.server and line[:7].lower() == b"server:")
        )


def status_line(status: object) -> tuple[str, int]:
    """Status line and code for a final status as PEP 3333 has it, "200 OK" (RFC 9110 §15)."""
    code, reason = final_status(status)
    return f"HTTP/1.1 {code} {reason}\r\n", int(code)


def final_status(status: object) -> tuple[str, str]:
    """Code and reason of a final status as PEP 3333 has it."""
    match = _STATUS.fullmatch(status) if isinstance(status, str) else None
    if match is None:
        raise ResponseError(f"illegal status {status!r}: it must be like '200 OK', from 200 to 599")
    return match[1], match[2]


def compose_fields(headers: Headers, kinds: Mapping[str, int]) -> Fields:
    """Check the fields of a response head and write them out."""
    fields = check_fields(headers, kinds)
    # Joined, not formatted: a subclass of str may format as something that was not checked.
    parts: list[str] = []
    for name, value in fields.lines:
        parts += (name, ": ", value, "\r\n")
    fields.text = "".join(parts)
    return fields


def check_fields(headers: Headers, kinds: Mapping[str, int]) -> Fields:
    """Check the fields of a response head, whichever version of HTTP they are for."""
    fields = Fields()
    lines = fields.lines
    for name, value in _pairs(headers):
        kind = kinds.get(name)
        if kind is None:
            kind = _kind(name)
        _check_value(name, value)
        if kind == LENGTH:
            _declare(fields, value)
            continue
        if kind == HOP_BY_HOP:
            raise ResponseError(
                f"hop-by-hop field {name!r} is the server's to send (RFC 9110 §7.6.1)"
            )
        if kind == DATE:
            fields.date = True
        elif kind == SERVER:
            fields.server = True
        lines.append((name, value))
    return fields


def trailer_fields(trailers: Sequence[tuple[str, str]]) -> str:
    """Check the trailer fields of a response and write them out."""
    lines: list[str] = []
    for name, value in check_trailers(trailers):
        lines += (name, ": ", value, "\r\n")
    return "".join(lines)


def check_trailers(trailers: Sequence[tuple[str, str]]) -> Headers:
    """Check the trailer fields of a response (RFC 9110 §6.5.1)."""
    fields: Headers = []
    for name, value in _pairs(trailers):
        _kind(name)
        _check_value(name, value)
        if name.lower() in rules.FORBIDDEN_TRAILERS:
            raise ResponseError(f"field {name!r} is not allowed in trailers (RFC 9110 §6.5.1)")
        fields.append((name, value))
    return fields


def _pairs(headers: object) -> Iterable[tuple[str, str]]:
    """The fields one by one, each certain to be two strings."""
    if not isinstance(headers, (list, tuple)):  # a union would be made anew each time
        raise ResponseError(f"headers must be a list of pairs, not {headers!r}")
    for field in headers:
        if not (isinstance(field, (tuple, list)) and len(field) == 2):
            raise ResponseError(f"a header must be a pair of name and value, not {field!r}")
        name, value = field
        if not isinstance(name, str) or not isinstance(value, str):
            raise ResponseError(f"header name and value must be str: {name!r}: {value!r}")
        yield name, value


def _kind(name: str) -> int:
    if not _TOKEN.fullmatch(name):
        raise ResponseError(f"illegal header name {name!r} (RFC 9110 §5.1)")
    return FRAMING.get(name.lower(), PLAIN)


def _check_value(name: str, value: str) -> None:
    # White space at the ends is passed on; recipients take it off (RFC 9110 §5.5).
    if not (value.isascii() and value.isprintable()) and not _TEXT.fullmatch(value):
        raise ResponseError(f"illegal character in the value of {name!r}: {value!r}")


def _declare(fields: Fields, value: str) -> None:
    value = value.strip(" ")
    if not _DIGITS.fullmatch(value):
        raise ResponseError(f"illegal Content-Length {value!r} (RFC 9110 §8.6)")
    length = int(value)
    if fields.length is not None and fields.length != length:
        raise ResponseError(f"Content-Length given twice: {fields.length} and {length}")
    fields.length = length


def interim_line(status: object) -> str:
    """The status line of an interim response, 101 apart (RFC 9110 §15.2)."""
    if not isinstance(status, int) or not 100 <= status <= 199 or status == 101:
        raise ResponseError(f"illegal interim status {status!r}")
    return f"HTTP/1.1 {status} {_INTERIM.get(status, '')}\r\n"


def error_body(status: int, message: str) -> tuple[str, bytes]:
    """The status line and the plain-text body that answer a ProtocolError."""
    reason = PHRASES.get(status, "Error")
    text = f"{status} {reason}: {message}\n"
    return f"HTTP/1.1 {status} {reason}\r\n", text.encode("ascii", "backslashreplace")
