"""Decoder of the chunked transfer coding (RFC 9112 §7.1), strict and in linear time.

Stricter than the recipients that were attacked: a size is 1 to 16 hexadecimal digits and nothing
else; no white space; extensions by their grammar and bounded; every CRLF exact.
"""

import re
from typing import Final

from nogilserve.errors import ProtocolError
from nogilserve.messages import Headers, Limits
from nogilserve.protocols.http1 import full
from nogilserve.protocols.http1.reader import HeadReader

__all__ = ["ChunkedDecoder"]

_HEX: Final = b"0123456789abcdefABCDEF"
_MOST_DIGITS: Final = 16
_LONGEST_LINE: Final = 4096
"""Bytes of a chunk's size and extensions together, without the CRLF."""
# *( ";" token [ "=" ( token / quoted-string ) ] ), RFC 9112 §7.1.1. Possessive: no backtracking.
_EXTENSIONS: Final = re.compile(
    rb"(?:;[-!#$%&'*+.^_`|~0-9A-Za-z]++"
    rb"(?:=(?:[-!#$%&'*+.^_`|~0-9A-Za-z]++"
    rb'|"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"))?+)*+'
)

_SIZE: Final = 0
_DATA: Final = 1
_DATA_END: Final = 2
_TRAILERS: Final = 3
_DONE: Final = 4


class ChunkedDecoder:
    """One chunked body. Owner: whoever owns the connection."""

    __slots__ = ("_extensions", "_left", "_limits", "_reader", "_state", "_total", "trailers")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._state = _SIZE
        self._left = 0
        """Bytes of the current chunk still to come."""
        self._total = 0
        """Bytes of all chunks announced so far."""
        self._extensions = 0
        """Bytes of all chunk extensions so far."""
        self._reader: HeadReader | None = None
        self.trailers: Headers = []

    @property
    def complete(self) -> bool:
        """Whether the body and its trailers have ended."""
        return self._state == _DONE

    @property
    def begun(self) -> bool:
        """Whether any chunk has arrived."""
        return self._total > 0 or self._state != _SIZE

    def decode(self, buffer: bytes | bytearray, start: int) -> tuple[bytes, int]:
        """Decode what is in `buffer` from `start`: the content, and the offset up to where the
        buffer is used up. Raises ProtocolError: 400 for syntax and bounds, 413 for the size."""
        pieces: list[bytes | bytearray] = []
        at = start
        while True:
            if self._state == _SIZE:
                after = self._read_size(buffer, at)
                if after < 0:
                    break
                at = after
            if self._state == _DATA:
                piece = buffer[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                pieces.append(piece)
                if self._left:
                    break
                self._state = _DATA_END
            if self._state == _DATA_END:
                ending = bytes(buffer[at : at + 2])
                if ending != b"\r\n":
                    # CVE-2025-43859: any two bytes were taken for the CRLF.
                    if ending not in {b"", b"\r"}:
                        raise ProtocolError(400, "chunk is longer than its size", "RFC 9112 §7.1")
                    break
                at += 2
                self._state = _SIZE
            elif self._state == _TRAILERS:
                at = self._read_trailers(buffer, at)
                break
            else:
                break
        return b"".join(pieces), at

    def _read_size(self, buffer: bytes | bytearray, at: int) -> int:
        """Read a chunk's first line; the offset behind it, or -1 when bytes are missing."""
        end = buffer.find(b"\n", at, at + _LONGEST_LINE + 2)
        if end < 0:
            _check_start(bytes(buffer[at : at + _LONGEST_LINE + 2]))
            return -1
        if buffer[end - 1 : end] != b"\r" or end - 1 < at:
            raise ProtocolError(400, "chunk line ends in LF without CR", "RFC 9112 §7.1")
        digits = bytes(buffer[at : end - 1])
        if b";" in digits:
            digits = self._check_extensions(digits)
        # int() alone would take "+5", "0x5", "5_0" and spaces (CVE-2022-24761).
        if not digits or len(digits) > _MOST_DIGITS or digits.strip(_HEX):
            raise ProtocolError(400, "malformed chunk size", "RFC 9112 §7.1")
        size = int(digits, 16)
        self._total += size
        if self._total > self._limits.body > 0:
            raise ProtocolError(413, "request body too large", "RFC 9110 §15.5.14")
        self._left = size
        self._state = _DATA if size else _TRAILERS
        return end + 1

    def _check_extensions(self, line: bytes) -> bytes:
        """Check and count the extensions of a chunk line; returns what stands before them."""
        where = line.index(b";")
        if not _EXTENSIONS.fullmatch(line, where):
            raise ProtocolError(400, "malformed chunk extension", "RFC 9112 §7.1.1")
        self._extensions += len(line) - where
        if self._extensions > self._limits.head:
            raise ProtocolError(400, "too many chunk extensions", "RFC 9112 §7.1.1")
        return line[:where]

    def _read_trailers(self, buffer: bytes | bytearray, at: int) -> int:
        """Read the trailer section; the offset behind it, or `at` when bytes are missing."""
        if self._reader is None:
            if buffer[at : at + 2] == b"\r\n":
                self._state = _DONE
                return at + 2
            self._reader = HeadReader(self._limits, trailer=True)
        size = self._reader.advance(buffer, at)
        if size < 0:
            return at
        self.trailers = full.parse_trailers(bytes(buffer[at : at + size]))
        self._state = _DONE
        return at + size


def _check_start(line: bytes) -> None:
    """Refuse an incomplete chunk line as soon as it is certain that it cannot become a good one."""
    if len(line) > _LONGEST_LINE + 1:
        raise ProtocolError(400, "chunk line too long", "RFC 9112 §7.1.1")
    digits, extension, _ = line.partition(b";")
    if not extension:
        digits = digits.removesuffix(b"\r")
    if len(digits) > _MOST_DIGITS or digits.strip(_HEX):
        raise ProtocolError(400, "malformed chunk size", "RFC 9112 §7.1")
