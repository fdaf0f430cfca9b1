"""ClientHello (RFC 8446 §4.1.2, RFC 5246 §7.4.1.2): the server name and the protocols in it.

Only what is needed to choose a certificate is looked at. Whether the message is right is left to
OpenSSL, which reads it afterwards and sends the alert: what cannot be read here is an empty Hello.
"""

from dataclasses import dataclass
from typing import Final

__all__ = ["HANDSHAKE", "HELLO_MOST", "Hello", "read_hello"]

HANDSHAKE: Final = 0x16
"""The first byte of a TLS connection: the record type of handshake messages."""
HELLO_MOST: Final = 65536
"""Bytes of a ClientHello, records included; more is not waited for."""

_MOST_RECORDS: Final = 128
"""Records it may be cut into: all of them are looked at whenever something has come."""

_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_ALPN: Final = 16


@dataclass(frozen=True, slots=True)
class Hello:
    """What a client asks for. Immutable."""

    name: str = ""
    """The server name (RFC 6066 §3) in lower case without a final dot, "" where none is given."""
    protocols: tuple[str, ...] = ()
    """ALPN (RFC 7301): what the client speaks, in its order; empty where it does not say."""


class _Short(Exception):
    """A length points behind the end."""


class _Reader:
    """Takes pieces off the beginning of bytes. Owner: the function that made it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes. Raises _Short."""
        piece = self._data[self._at : self._at + count]
        if len(piece) != count:
            raise _Short
        self._at += count
        return piece

    def number(self, size: int) -> int:
        """A number of `size` bytes."""
        return int.from_bytes(self.take(size))

    def vector(self, size: int) -> bytes:
        """Bytes behind their length of `size` bytes (RFC 8446 §3.4)."""
        return self.take(self.number(size))

    @property
    def left(self) -> bool:
        """Whether anything is left."""
        return self._at < len(self._data)


def read_hello(data: bytes) -> Hello | None:
    """Read the ClientHello at the beginning of a connection; None while it is not complete.

    The message may be cut into several records (RFC 8446 §5.1).
    """
    try:
        message = _message(data)
    except _Short:
        return None if len(data) < HELLO_MOST else Hello()
    if message is None:
        return Hello()
    try:
        return _read(_Reader(message))
    except (_Short, ValueError):
        return Hello()


def _message(data: bytes) -> bytes | None:
    """The body of the first handshake message; None where it is no ClientHello. Raises _Short."""
    records = _Reader(data)
    message = b""
    for _ in range(_MOST_RECORDS):
        if records.number(1) != HANDSHAKE:
            return None
        records.take(2)
        piece = records.vector(2)
        if not piece:
            return None  # not allowed (RFC 8446 §5.1)
        message += piece
        if message[0] != _CLIENT_HELLO:
            return None
        if len(message) >= 4 and len(message) - 4 >= int.from_bytes(message[1:4]):
            return message[4 : 4 + int.from_bytes(message[1:4])]
    return None


def _read(hello: _Reader) -> Hello:
    hello.take(2 + 32)  # version, random
    hello.vector(1)  # session id
    hello.vector(2)  # cipher suites
    hello.vector(1)  # compression
    name = ""
    protocols: list[str] = []
    if not hello.left:
        return Hello()
    extensions = _Reader(hello.vector(2))
    while extensions.left:
        kind = extensions.number(2)
        body = _Reader(extensions.vector(2))
        if kind == _SERVER_NAME and not name and body.left:
            names = _Reader(body.vector(2))
            if names.number(1) == 0:  # host_name
                name = names.vector(2).decode("ascii").lower().removesuffix(".")
        elif kind == _ALPN and not protocols:
            offered = _Reader(body.vector(2))
            while offered.left:
                protocols.append(offered.vector(1).decode("latin-1"))
    return Hello(name, tuple(protocols))
