"""The PROXY protocol, versions 1 and 2: what a load balancer says before the first request.

The rules are those of HAProxy's "The PROXY protocol" (proxy-protocol.txt), sections 2.1 and 2.2.
A header is read strictly or refused: guessing would let clients choose their address.
"""

import re
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from nogilserve.errors import ProtocolError

__all__ = ["Announced", "Preamble"]

_SIGNATURE_1: Final = b"PROXY"
_SIGNATURE_2: Final = b"\r\n\r\n\0\r\nQUIT\n"
_LONGEST_1: Final = 107
"""Bytes of a line of version 1 with its CRLF (§2.1)."""
_LONGEST_2: Final = 4096
"""Bytes behind the fixed part of version 2; the field has room for 65535, senders use 536."""
_FIXED_2: Final = struct.Struct("!12sBBH")

_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_UNSPECIFIED: Final = 0x00
_TCP4: Final = 0x11
_TCP6: Final = 0x21
_UNIX: Final = 0x31
_ADDRESSES: Final = {_TCP4: 12, _TCP6: 36, _UNIX: 216}
"""Bytes of the address block by family and transport."""

_TLV_CRC32C: Final = 0x03
_TLV_SSL: Final = 0x20
_CLIENT_SSL: Final = 0x01

_PORT: Final = re.compile(r"0|[1-9][0-9]{0,4}")
_V6: Final = re.compile(r"[0-9A-Fa-f:.]+")


class Announced(NamedTuple):
    """What the header says; for a header that says nothing, see `Preamble.announced`."""

    client: tuple[str, str] | None
    """Address, and port as text, of the client; None: of a unix socket."""
    server: tuple[str, str]
    """Where the client connected to; ("", "") on a unix socket."""
    tls: bool
    """Whether the client spoke TLS to the sender."""


class Preamble:
    """The bytes before the first request. Owner: the connection it begins."""

    __slots__ = ("_data", "_required", "announced", "rest")

    def __init__(self, *, required: bool) -> None:
        self._data = b""
        self._required = required
        self.announced: Announced | None = None
        """None: the addresses are those of the connection, because there is no header (unless one
        is required) or it says so (LOCAL, UNKNOWN, UNSPEC): health checks of the sender."""
        self.rest = b""
        """What came behind the header."""

    def receive(self, data: bytes) -> bool:
        """Take bytes of the connection, b"" at its end. True: the header is complete, or is none.

        Raises ProtocolError.
        """
        if not data:
            raise ProtocolError(400, "the connection ended within the PROXY header")
        self._data += data
        if self._begins(_SIGNATURE_2):
            return len(self._data) >= len(_SIGNATURE_2) and self._version_2()
        if self._begins(_SIGNATURE_1):
            return len(self._data) > len(_SIGNATURE_1) and self._version_1()
        if self._required:
            raise ProtocolError(400, "the connection does not begin with a PROXY header")
        return self._done(0)

    def _begins(self, signature: bytes) -> bool:
        """Whether the bytes so far are, or may become, that beginning."""
        return self._data[: len(signature)] == signature[: len(self._data)]

    def _done(self, size: int) -> bool:
        self.rest = self._data[size:]
        self._data = b""
        return True

    @property
    def started(self) -> bool:
        """Whether something has come of which more must follow."""
        return bool(self._data)

    # ---- version 1 (§2.1)

    def _version_1(self) -> bool:
        if self._data[5:6] != b" ":
            # A method that only begins like this is no header; where none is required it is HTTP's.
            if self._required:
                raise _wrong("there is no space behind PROXY")
            return self._done(0)
        end = self._data.find(b"\r\n", 0, _LONGEST_1)
        if end < 0:
            if len(self._data) >= _LONGEST_1:
                raise _wrong(f"longer than {_LONGEST_1} bytes")
            return False
        line = self._data[:end].decode("latin-1")
        words = line.split(" ")
        if words[1] != "UNKNOWN":
            if len(words) != 6:
                raise _wrong("it has not six words")
            self.announced = _addresses_1(*words[1:])
        return self._done(end + 2)

    # ---- version 2 (§2.2)

    def _version_2(self) -> bool:
        data = self._data
        if len(data) < _FIXED_2.size:
            return False
        _, command, family, length = _FIXED_2.unpack_from(data)
        if command not in (_LOCAL, _PROXY):
            raise _wrong(f"version and command {command:#04x}")
        if length > _LONGEST_2:
            raise _wrong(f"{length} bytes of addresses and extensions")
        size = _FIXED_2.size + length
        if len(data) < size:
            return False
        if command == _PROXY and family != _UNSPECIFIED:
            block = _ADDRESSES.get(family)
            if block is None:
                raise _wrong(f"family and transport {family:#04x}")
            if length < block:
                raise _wrong(f"{length} bytes have no room for the addresses")
            start = _FIXED_2.size + block
            tls = _extensions(data[:size], start)
            self.announced = _addresses_2(family, data[_FIXED_2.size : start], tls)
        return self._done(size)


def _addresses_1(family: str, source: str, target: str, sport: str, dport: str) -> Announced:
    try:
        if family == "TCP4":
            client, server = str(IPv4Address(source)), str(IPv4Address(target))
        elif family == "TCP6" and _V6.fullmatch(source) and _V6.fullmatch(target):
            client, server = _shown(IPv6Address(source)), _shown(IPv6Address(target))
        else:
            raise ValueError
    except ValueError:
        raise _wrong("family and addresses do not fit") from None
    for port in (sport, dport):
        if not _PORT.fullmatch(port) or int(port) > 65535:
            raise _wrong("a port is none")
    return Announced((client, sport), (server, dport), tls=False)


def _addresses_2(family: int, block: bytes, tls: bool) -> Announced:
    if family == _UNIX:
        return Announced(None, ("", ""), tls)
    kind, size = (IPv4Address, 4) if family == _TCP4 else (IPv6Address, 16)
    client, server = kind(block[:size]), kind(block[size : 2 * size])
    sport, dport = struct.unpack_from("!HH", block, 2 * size)
    return Announced((_shown(client), str(sport)), (_shown(server), str(dport)), tls)


def _shown(address: IPv4Address | IPv6Address) -> str:
    """As text; an IPv4 address that had to be written as an IPv6 address is one again."""
    return str(getattr(address, "ipv4_mapped", None) or address)


def _extensions(header: bytes, start: int) -> bool:
    """Check the extensions (§2.2.7); whether they say that the client spoke TLS."""
    tls = False
    at = start
    while at < len(header):
        value = at + 3
        if value > len(header):
            raise _wrong("an extension is cut off")
        kind, length = struct.unpack_from("!BH", header, at)
        at = value + length
        if at > len(header):
            raise _wrong("an extension is cut off")
        if kind == _TLV_CRC32C:
            if length != 4:
                raise _wrong("a checksum has four bytes")
            zeroed = header[:value] + b"\0\0\0\0" + header[at:]
            if struct.unpack_from("!I", header, value)[0] != _crc32c(zeroed):
                raise _wrong("the checksum is not right")
        elif kind == _TLV_SSL:
            if length < 5:
                raise _wrong("an extension about TLS has five bytes")
            tls = bool(header[value] & _CLIENT_SSL)
    return tls


def _make_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE: Final = _make_table()


def _crc32c(data: bytes) -> int:
    """The checksum of RFC 3720 §B.4 (Castagnoli), which the standard library does not have."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def _wrong(what: str) -> ProtocolError:
    return ProtocolError(400, f"malformed PROXY header: {what}")
