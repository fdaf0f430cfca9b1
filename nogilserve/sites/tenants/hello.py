"""The server name in the first message of TLS, without a step of the handshake.

Reads bytes, keeps nothing. RFC 8446 §4.1.2 (ClientHello), §5.1 (records); RFC 6066 §3.
"""

import struct
from typing import Final

__all__ = ["UNRECOGNIZED_NAME", "Incomplete", "alert", "begins_tls", "server_name"]

_HANDSHAKE: Final = 0x16
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_LONGEST: Final = 65536
"""Bytes of a ClientHello; ordinary ones have some 500 to 2000."""
_RECORD: Final = struct.Struct("!BHH")
_RANDOM: Final = 34
"""Version and random, in front of the session id."""

UNRECOGNIZED_NAME: Final = 112
INTERNAL_ERROR: Final = 80


class Incomplete(Exception):
    """More bytes are needed."""


def begins_tls(data: bytes) -> bool:
    """Whether a connection that begins with these bytes speaks TLS."""
    return data[:1] == b"\x16"


def alert(description: int) -> bytes:
    """A fatal alert, which ends the handshake (RFC 8446 §6)."""
    return bytes((0x15, 3, 3, 0, 2, 2, description))


def server_name(data: bytes) -> str:
    """The name that the client asks for, "" for none. Raises Incomplete, and ValueError for what
    is no ClientHello."""
    hello = _message(data)
    try:
        return _name_in(hello)
    except (struct.error, IndexError, UnicodeDecodeError):
        raise ValueError("a malformed ClientHello") from None


def _message(data: bytes) -> memoryview:
    """The body of the ClientHello, put together from its records."""
    body = bytearray()
    start = 0
    while True:
        if len(body) >= 4:
            size = int.from_bytes(body[1:4])
            if body[0] != _CLIENT_HELLO or size > _LONGEST:
                raise ValueError("no ClientHello")
            if len(body) >= 4 + size:
                return memoryview(body)[4 : 4 + size]
        if len(data) < start + _RECORD.size:
            raise Incomplete
        kind, version, length = _RECORD.unpack_from(data, start)
        if kind != _HANDSHAKE or version >> 8 != 3 or not 0 < length <= 16384:
            raise ValueError("no handshake record")
        record = data[start + _RECORD.size : start + _RECORD.size + length]
        body += record
        start += _RECORD.size + length


def _name_in(hello: memoryview) -> str:
    at = _RANDOM
    at += 1 + hello[at]  # session id
    at += 2 + _number(hello, at)  # cipher suites
    at += 1 + hello[at]  # compression methods
    if at >= len(hello):
        return ""  # no extensions
    end = at + 2 + _number(hello, at)
    at += 2
    while at + 4 <= end:
        kind, size = _number(hello, at), _number(hello, at + 2)
        at += 4
        if kind == _SERVER_NAME:
            return _host_name(hello[at : at + size])
        at += size
    return ""


def _host_name(extension: memoryview) -> str:
    at = 2  # the length of the list
    while at < len(extension):
        kind, size = extension[at], _number(extension, at + 1)
        name = bytes(extension[at + 3 : at + 3 + size])
        if len(name) != size:
            raise IndexError
        if kind == 0:
            return name.decode("ascii")
        at += 3 + size
    return ""


def _number(data: memoryview, at: int) -> int:
    number: int = struct.unpack_from("!H", data, at)[0]
    return number
