"""Whose connection it is, from its first bytes. Sans-IO: bytes in, a verdict out.

Heads are read by the parser that the tenant will use, so both see the same host.
"""

from dataclasses import dataclass
from typing import Final, Literal

from nogilserve.errors import ProtocolError
from nogilserve.messages import Limits
from nogilserve.protocols.http1 import Http1Connection, Tables
from nogilserve.protocols.proxy import Preamble
from nogilserve.protocols.tls.hello import HANDSHAKE, HELLO_MOST, read_hello

__all__ = [
    "ALIVE",
    "INTERNAL_ERROR",
    "MORE",
    "NOT_READY",
    "READY",
    "UNRECOGNIZED_NAME",
    "Preamble",
    "Tables",
    "Verdict",
    "alert",
    "refusal",
    "verdict",
]

UNRECOGNIZED_NAME: Final = 112


def _probed(status: str, text: str) -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(text)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{text}"
    ).encode()


ALIVE: Final = _probed("200 OK", "alive\n")
READY: Final = _probed("200 OK", "ready\n")
NOT_READY: Final = _probed("503 Service Unavailable", "not ready for new clients\n")
"""What probes of the server are answered with, as by a process that serves."""
INTERNAL_ERROR: Final = 80
"""Descriptions of TLS alerts (RFC 8446 §6)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the first bytes say. Immutable."""

    kind: Literal["more", "plain", "tls", "bad"]
    authority: str = ""
    """host[:port], or the name in the ClientHello."""
    path: str = ""
    """Of a plain head."""
    answer: bytes = b""
    """What to send to somebody whose bytes are bad; b"": nothing."""


MORE: Final = Verdict("more")


def verdict(
    data: bytes,
    limits: Limits,
    preamble: Preamble | None = None,
    tables: Tables | None = None,
) -> Verdict:
    """Judge the bytes that have come so far. `preamble`: what reads a PROXY header in front;
    `tables`: those of the thread that asks, which take longer to make than a verdict."""
    if not data:
        return MORE
    if preamble is not None:
        try:
            if not preamble.receive(data) or not preamble.rest:
                return MORE
        except ProtocolError as exc:
            return Verdict("bad", answer=refusal(exc))
        data = preamble.rest
    if data[0] == HANDSHAKE:
        hello = read_hello(data)
        if hello is None:
            return MORE if len(data) < HELLO_MOST else Verdict("bad")
        return Verdict("tls", hello.name)
    protocol = Http1Connection(limits, tables)
    try:
        request = protocol.receive_request(data)
    except ProtocolError as exc:
        return Verdict("bad", answer=protocol.error(exc, b""))
    if request is None:
        return MORE
    return Verdict("plain", request.authority, request.path)


def alert(description: int) -> bytes:
    """A fatal alert, which ends the handshake (RFC 8446 §6)."""
    return bytes((0x15, 3, 3, 0, 2, 2, description))


def refusal(exc: ProtocolError) -> bytes:
    """A complete answer that says this, and that the connection ends."""
    return Http1Connection(Limits()).error(exc, b"")
