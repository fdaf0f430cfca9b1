"""Reads the lines of a head or of a trailer section, however the bytes arrive.

The limits and the characters are checked from left to right as the bytes come, so a buffer never
grows past the limits, a mistake is answered as soon as it is seen, and the answer does not
depend on how the bytes were cut. Every byte is looked at a bounded number of times.
"""

import re
from typing import Final

from nogilserve.errors import ProtocolError
from nogilserve.messages import Headers, Limits
from nogilserve.protocols.http1 import rules

__all__ = ["HeadReader"]

# The CR that ends a line is dealt with apart.
_BAD_IN_REQUEST_LINE: Final = re.compile(rb"[^\x20-\x7e]")
_BAD_IN_FIELD: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_TLS_HANDSHAKE: Final = 22


class HeadReader:
    """The lines up to the empty one.

    Owner: whoever owns the connection. Lives only while a head is incomplete or unusual.
    """

    __slots__ = (
        "_checked",
        "_limits",
        "_line",
        "_trailer",
        "fields",
        "method",
        "minor",
        "target",
    )

    def __init__(self, limits: Limits, trailer: bool = False) -> None:
        self._limits = limits
        self._trailer = trailer
        self._line = 0
        """Where the current line starts; like `_checked` relative to the section."""
        self._checked = 0
        """Up to where the characters of the current line are known to be good."""
        self.method = ""
        self.target: rules.Target | None = None
        """None until the request line was read."""
        self.minor = 0
        self.fields: Headers = []

    def advance(self, buffer: bytes | bytearray, start: int) -> int:
        """Read on; `start` is the offset of the first line, also when called again.

        Returns the size of the section with its empty line, or -1 when bytes are missing.
        Raises ProtocolError: 414, 431 (400 in trailers) for the limits; 400, 501 and 505 for
        what the request line or a field line has wrong by itself.
        """
        while True:
            end = buffer.find(b"\n", start + self._checked)
            self._check_line(buffer, start, end)
            if end < 0:
                return -1
            begin = start + self._line
            self._line = self._checked = end + 1 - start
            line = buffer[begin : end - 1].decode("latin-1")
            if self._in_request_line():
                self.method, target, self.minor = rules.request_line(line)
                self.target = rules.request_target(self.method, target)
            elif line:
                self._add_field(line)
            else:
                return self._line

    def _in_request_line(self) -> bool:
        return self.target is None and not self._trailer

    def _add_field(self, line: str) -> None:
        name, value = rules.field_line(line)
        if self._trailer and name in rules.FORBIDDEN_TRAILERS:
            raise ProtocolError(400, f"{name} is not allowed in trailers", "RFC 9110 §6.5.1")
        self.fields.append((name, value))

    def _check_line(self, buffer: bytes | bytearray, start: int, end: int) -> None:
        """Check the current line; `end` is the offset of its LF, or -1 if that is not there yet.

        Of several mistakes the one counts that a byte-by-byte reader notices first.
        """
        begin = start + self._line
        stop = len(buffer) if end < 0 else end
        # A CR at the end of what is there is no mistake yet.
        text_stop = stop - 1 if stop > begin and buffer[stop - 1] == 13 else stop
        pattern = _BAD_IN_REQUEST_LINE if self._in_request_line() else _BAD_IN_FIELD
        bad = pattern.search(buffer, start + self._checked, text_stop)
        self._checked = text_stop - start
        mistakes: list[tuple[int, ProtocolError]] = []
        if bad is not None:
            where = bad.start()
            mistakes.append(
                (_noticed(buffer, where), _bad_character(buffer[where], where == start))
            )
        elif end >= 0 and text_stop == end:
            mistakes.append((end, _bad_character(10, False)))
        self._limit_mistakes(mistakes, buffer, start, text_stop, stop if end < 0 else end + 1)
        if mistakes:
            raise min(mistakes, key=_first)[1]

    def _limit_mistakes(
        self,
        mistakes: list[tuple[int, ProtocolError]],
        buffer: bytes | bytearray,
        start: int,
        text_stop: int,
        stop: int,
    ) -> None:
        """Add the limits that the current line passes, each with where that is noticed."""
        limits = self._limits
        begin = start + self._line
        size = text_stop - begin
        if self._in_request_line():
            if size > limits.request_line:
                error = ProtocolError(414, "request line too long", "RFC 9112 §3")
                mistakes.append((_noticed(buffer, begin + limits.request_line), error))
        elif size:
            if len(self.fields) >= limits.fields:
                mistakes.append((_noticed(buffer, begin), self._too_large("too many {} fields")))
            if size > limits.field_size:
                where = _noticed(buffer, begin + limits.field_size)
                mistakes.append((where, self._too_large("{} field too large")))
        if stop - start > limits.head:
            mistakes.append((start + limits.head, self._too_large("{} section too large")))

    def _too_large(self, message: str) -> ProtocolError:
        if self._trailer:
            return ProtocolError(400, message.format("trailer"), "RFC 9112 §7.1.2")
        return ProtocolError(431, message.format("header"), "RFC 6585 §5")


def _noticed(buffer: bytes | bytearray, where: int) -> int:
    """The offset of the byte that shows that the one at `where` is too much: a CR might still be
    the end of the line until its successor is seen."""
    return where + 1 if buffer[where] == 13 else where


def _first(mistake: tuple[int, ProtocolError]) -> int:
    return mistake[0]


def _bad_character(byte: int, first: bool) -> ProtocolError:
    if byte == 10:
        return ProtocolError(400, "line ends in LF without CR", "RFC 9112 §2.2")
    if byte == 13:
        return ProtocolError(400, "CR without LF", "RFC 9112 §2.2")
    if first and byte == _TLS_HANDSHAKE:
        return ProtocolError(400, "TLS was spoken to a plain HTTP port", "RFC 9112 §9.8")
    return ProtocolError(400, f"illegal byte 0x{byte:02x}", "RFC 9112 §3, RFC 9110 §5.5")
