"""Whose connection it is, from its first bytes. Sans-IO: bytes in, a verdict out.

Heads are read by the parser that the tenant will use, so both see the same host.
"""

from dataclasses import dataclass
from typing import Final, Literal

from nogilserve.errors import ProtocolError
from nogilserve.messages import Limits
from nogilserve.protocols.http1 import Http1Connection
from nogilserve.sites.tenants.hello import Incomplete, begins_tls, server_name

__all__ = ["MORE", "Verdict", "refusal", "verdict"]


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


def verdict(data: bytes, limits: Limits) -> Verdict:
    """Judge the bytes that have come so far."""
    if not data:
        return MORE
    if begins_tls(data):
        try:
            return Verdict("tls", server_name(data))
        except Incomplete:
            return MORE
        except ValueError:
            return Verdict("bad")
    protocol = Http1Connection(limits)
    try:
        request = protocol.receive_request(data)
    except ProtocolError as exc:
        return Verdict("bad", answer=protocol.error(exc, b""))
    if request is None:
        return MORE
    return Verdict("plain", request.authority, request.path)


def refusal(exc: ProtocolError) -> bytes:
    """A complete answer that says this, and that the connection ends."""
    return Http1Connection(Limits()).error(exc, b"")
