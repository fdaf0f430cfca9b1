"""Header compression (HPACK, RFC 7541): field sections read, and written.

Reading keeps the dynamic table of the peer. Writing uses none: what is said about a response is
then the same bytes on every connection, can be kept, and is made by any thread without an order
between them. The static table and the Huffman code are those of the package hpack.
"""

from collections.abc import Iterable
from typing import Final

from hpack.exceptions import HPACKError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from nogilserve.messages import Headers

__all__ = ["BrokenFields", "FieldReader", "TooManyFields", "encode_fields", "encode_length"]

TABLE_SIZE: Final = 4096
"""Bytes of the peer's dynamic table (RFC 9113 §6.5.2); what every peer begins with."""
_ENTRY: Final = 32
"""What an entry counts for besides its bytes (RFC 7541 §4.1)."""
_LONGEST_KEPT: Final = 256
_MOST_KEPT: Final = 64

_STATIC: Final = tuple(
    (name.decode("ascii"), value.decode("ascii")) for name, value in HeaderTable.STATIC_TABLE
)
_STATIC_COUNT: Final = len(_STATIC)


class BrokenFields(Exception):
    """The field section cannot be decoded: COMPRESSION_ERROR (RFC 9113 §4.3)."""


class TooManyFields(Exception):
    """A few bytes stand for too much: the connection has to end, since what was not decoded may
    have changed the table."""


class FieldReader:
    """Reads the field sections of one peer, in order. Owner: the connection."""

    __slots__ = ("_entries", "_kept", "_limit", "_most", "_size", "changed")

    def __init__(self, most: int) -> None:
        """`most`: bytes of a decoded field section, entries counted as RFC 7541 §4.1 does."""
        self._most = most
        self._entries: list[tuple[str, str]] = []
        """The dynamic table, the newest last."""
        self._size = 0
        self._limit = TABLE_SIZE
        self._kept: dict[bytes, str] = {}
        """Strings in Huffman code that were decoded before: this is the dear part."""
        self.changed = False
        """The last section has changed the table; else the same bytes mean the same again."""

    def read(self, data: bytes) -> Headers:
        """The fields of a section, as latin-1. Raises BrokenFields, TooManyFields."""
        try:
            return self._read(data)
        except IndexError:
            raise BrokenFields("field section cut off, or index out of range") from None
        except HPACKError as exc:
            raise BrokenFields(f"{exc}") from None

    def _read(self, data: bytes) -> Headers:
        fields: Headers = []
        at, end, left = 0, len(data), self._most
        self.changed = False
        while at < end:
            first = data[at]
            if first & 0x80:  # indexed (§6.1)
                index = first & 0x7F
                at += 1
                if index == 0x7F:
                    index, at = _number(data, at, 0x7F)
                field = self._look_up(index)
            elif first & 0x60 == 0x20:  # a new size of the table (§6.3)
                if fields:
                    raise BrokenFields("table size update behind a field (RFC 7541 §4.2)")
                size = first & 0x1F
                at += 1
                if size == 0x1F:
                    size, at = _number(data, at, 0x1F)
                self._resize(size)
                continue
            else:  # a literal, to be kept (§6.2.1) or not
                mask = 0x3F if first & 0x40 else 0x0F
                index = first & mask
                at += 1
                if index == mask:
                    index, at = _number(data, at, mask)
                if index:
                    name = self._look_up(index)[0]
                else:
                    name, at = self._string(data, at)
                value, at = self._string(data, at)
                field = (name, value)
                if first & 0x40:
                    self._add(field)
            left -= len(field[0]) + len(field[1]) + _ENTRY
            if left < 0:
                raise TooManyFields
            fields.append(field)
        return fields

    def _look_up(self, index: int) -> tuple[str, str]:
        if index <= _STATIC_COUNT:
            if not index:
                raise BrokenFields("index 0 (RFC 7541 §6.1)")
            return _STATIC[index - 1]
        index -= _STATIC_COUNT
        if index > len(self._entries):
            raise BrokenFields("index beyond the tables (RFC 7541 §2.3.3)")
        return self._entries[-index]

    def _string(self, data: bytes, at: int) -> tuple[str, int]:
        """A string literal (§5.2), and where it ends."""
        first = data[at]
        size = first & 0x7F
        at += 1
        if size == 0x7F:
            size, at = _number(data, at, 0x7F)
        end = at + size
        if end > len(data):
            raise BrokenFields("string longer than the field section")
        raw = data[at:end]
        if not first & 0x80:
            return raw.decode("latin-1"), end
        kept = self._kept
        text = kept.get(raw)
        if text is None:
            text = decode_huffman(raw).decode("latin-1")
            if size <= _LONGEST_KEPT:
                if len(kept) >= _MOST_KEPT:
                    kept.clear()
                kept[raw] = text
        return text, end

    def _add(self, field: tuple[str, str]) -> None:
        """A new entry of the table, for which old ones go (§4.4)."""
        self.changed = True
        size = len(field[0]) + len(field[1]) + _ENTRY
        self._size += size
        self._entries.append(field)
        if self._size > self._limit:
            self._evict()

    def _resize(self, size: int) -> None:
        if size > TABLE_SIZE:
            raise BrokenFields("table size above SETTINGS_HEADER_TABLE_SIZE (RFC 7541 §6.3)")
        self.changed = True
        self._limit = size
        self._evict()

    def _evict(self) -> None:
        entries, gone = self._entries, 0
        while self._size > self._limit:
            name, value = entries[gone]
            self._size -= len(name) + len(value) + _ENTRY
            gone += 1
        del entries[:gone]


def _number(data: bytes, at: int, number: int) -> tuple[int, int]:
    """The rest of an integer whose prefix is full (§5.1), and where it ends."""
    for shift in (0, 7, 14, 21):
        byte = data[at]
        at += 1
        number += (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise BrokenFields("integer too long (RFC 7541 §5.1)")


# ---- writing

_NAMES: Final = {name: index for index, (name, _) in reversed(list(enumerate(_STATIC, 1)))}
_PAIRS: Final = {pair: index for index, pair in enumerate(_STATIC, 1) if pair[1]}
_SECRET: Final = frozenset({"set-cookie"})
"""Never to be put into anybody's table (RFC 7541 §7.1.3)."""
_huffman: Final = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


def encode_length(size: int) -> bytes:
    """A Content-Length field."""
    digits = b"%d" % size
    return b"\x0f\x0d%c%b" % (len(digits), digits)


def encode_fields(fields: Iterable[tuple[str, str]], *, small: bool = False) -> bytes:
    """A field section without references to a dynamic table. Names are lower case; `small`: with
    Huffman code where that is shorter, for what is kept."""
    parts = []
    for name, value in fields:
        index = _PAIRS.get((name, value))
        if index is not None:
            parts.append(bytes((0x80 | index,)))
            continue
        mark = 0x10 if name in _SECRET else 0
        index = _NAMES.get(name)
        if index is not None:
            parts.append(_integer(index, 0x0F, mark))
        else:
            parts.append(bytes((mark,)))
            parts.append(_literal(name.encode("latin-1"), small=small))
        parts.append(_literal(value.encode("latin-1"), small=small))
    return b"".join(parts)


def _integer(number: int, most: int, mark: int) -> bytes:
    if number < most:
        return bytes((mark | number,))
    out = bytearray((mark | most,))
    number -= most
    while number > 0x7F:
        out.append(0x80 | number & 0x7F)
        number >>= 7
    out.append(number)
    return bytes(out)


def _literal(data: bytes, *, small: bool) -> bytes:
    if small:
        coded = _huffman.encode(data)
        if len(coded) < len(data):
            return _integer(len(coded), 0x7F, 0x80) + coded
    return _integer(len(data), 0x7F, 0) + data
