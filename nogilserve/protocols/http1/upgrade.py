"""The Upgrade from HTTP/1.1 to HTTP/2 (RFC 7540 §3.2; RFC 9113 has given it up)."""

import binascii
import re
from typing import Final

from nogilserve.errors import ProtocolError
from nogilserve.messages import Request
from nogilserve.protocols.http1.rules import list_items

__all__ = ["departure", "leads_to_http2", "settings_told"]

_BASE64URL: Final = re.compile(r"[-_A-Za-z0-9]*")
_DEPARTURE: Final = (426, "HTTP/2 from here on", "RFC 7540 §3.2")


def departure() -> ProtocolError:
    """What ends the reading of HTTP/1 where HTTP/2 follows. Clients do not get to see it."""
    return ProtocolError(*_DEPARTURE)


def leads_to_http2(request: Request) -> bool:
    """Whether a request asks for HTTP/2 as it must. One with a body is served by HTTP/1: it would
    have to be read in the old version while the new one has begun."""
    if request.body or "h2c" not in list_items([request.upgrade]):
        return False
    connection = [value for name, value in request.headers if name == "connection"]
    return "http2-settings" in list_items(connection) and settings_told(request) is not None


def settings_told(request: Request) -> bytes | None:
    """The payload of SETTINGS that HTTP2-Settings carries; None unless it is there once, and
    well-formed."""
    values = [value for name, value in request.headers if name == "http2-settings"]
    if len(values) != 1 or not _BASE64URL.fullmatch(values[0]) or len(values[0]) % 4 == 1:
        return None
    text = values[0].replace("-", "+").replace("_", "/")
    payload = binascii.a2b_base64(text + "=" * (-len(text) % 4))
    return payload if len(payload) % 6 == 0 else None
