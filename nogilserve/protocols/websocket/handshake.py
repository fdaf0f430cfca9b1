"""The opening handshake, from a request that was parsed already (RFC 6455 §4.2, RFC 8441 §5)."""

import binascii
import re
from typing import Final

from wsproto.utilities import generate_accept_token

from nogilserve.errors import ProtocolError, ResponseError
from nogilserve.messages import Headers, Request
from nogilserve.protocols.http1.response import compose_fields
from nogilserve.protocols.websocket import deflate as compression
from nogilserve.protocols.websocket.connection import WebSocketConnection
from nogilserve.protocols.websocket.wanted import wants_websocket

__all__ = ["Handshake"]

_TOKEN: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{22}==")
_VERSION: Final = ("Sec-WebSocket-Version", "13")


class Handshake:
    """What the client asked for. Not changed after it was built.

    Owner: whoever owns the connection.
    """

    __slots__ = ("_key", "_offers", "subprotocols")

    def __init__(self, request: Request) -> None:
        """Check the request (RFC 6455 §4.2.1). Origin is the application's to judge.

        Raises ProtocolError: 426 for another version, 400 for everything else.
        """
        _check_request(request)
        self._key = _key(request)
        self.subprotocols = _subprotocols(request)
        """What the client can speak, in its order of preference."""
        self._offers = compression.parse_offers(_values(request, "sec-websocket-extensions"))

    def accept(
        self, subprotocol: str | None, headers: Headers, *, deflate: bool, max_size: int
    ) -> tuple[Headers, WebSocketConnection]:
        """The fields for the 101 without Connection and Upgrade, `headers` of the application
        among them, and the connection, which still has to be given the trailing bytes if any.

        `deflate`: compress if the client can; `max_size`: bytes of the longest message.
        Raises ResponseError for fields that are illegal or the server's, and for a subprotocol
        that was not offered: it must be one of the client's (RFC 6455 §4.2.2), who would fail
        the connection; the ASGI specification leaves this open.
        """
        fields: Headers = []
        if self._key:
            token = generate_accept_token(self._key).decode("ascii")
            fields.append(("Sec-WebSocket-Accept", token))
        if subprotocol is not None:
            if subprotocol not in self.subprotocols:
                raise ResponseError(f"subprotocol {subprotocol!r} was not offered by the client")
            fields.append(("Sec-WebSocket-Protocol", subprotocol))
        _check_fields(headers)
        agreed = compression.negotiate(self._offers) if deflate else None
        if agreed is None:
            return [*fields, *headers], WebSocketConnection(max_size, None)
        answer, codec = agreed
        fields.append(("Sec-WebSocket-Extensions", answer))
        return [*fields, *headers], WebSocketConnection(max_size, codec)


def _values(request: Request, wanted: str) -> list[str]:
    return [value for name, value in request.headers if name == wanted]


def _check_request(request: Request) -> None:
    if request.method != ("CONNECT" if request.minor == 2 else "GET"):
        raise ProtocolError(400, "WebSocket handshake is not a GET", "RFC 6455 §4.1")
    if not request.minor:
        raise ProtocolError(400, "WebSocket handshake in HTTP/1.0", "RFC 6455 §4.1")
    if not wants_websocket(request):
        raise ProtocolError(400, "no upgrade to websocket", "RFC 6455 §4.2.1")
    if request.body:
        # Its bytes would stand where the first frame is expected.
        raise ProtocolError(400, "WebSocket handshake with a body", "RFC 6455 §4.1")
    versions = _values(request, "sec-websocket-version")
    if len(versions) != 1:
        message = "Sec-WebSocket-Version must be given once"
        raise ProtocolError(400, message, "RFC 6455 §4.2.1", (_VERSION,))
    if versions[0] != "13":
        # RFC 9110 §15.5.22 wants Upgrade, whose name Connection then has to say.
        upgrade = (("Connection", "upgrade"), ("Upgrade", "websocket"))
        message = "unknown version of WebSocket"
        raise ProtocolError(426, message, "RFC 6455 §4.4", (_VERSION, *upgrade))


def _key(request: Request) -> bytes:
    """The nonce as it was sent: 16 bytes in base64."""
    if request.minor == 2:
        return b""  # HTTP/2 has no need of it (RFC 8441 §5)
    keys = _values(request, "sec-websocket-key")
    if len(keys) != 1:
        raise ProtocolError(400, "Sec-WebSocket-Key must be given once", "RFC 6455 §4.2.1")
    if not _KEY.fullmatch(keys[0]) or len(binascii.a2b_base64(keys[0])) != 16:
        raise ProtocolError(400, "malformed Sec-WebSocket-Key", "RFC 6455 §4.2.1")
    return keys[0].encode("ascii")


def _subprotocols(request: Request) -> tuple[str, ...]:
    values = ",".join(_values(request, "sec-websocket-protocol"))
    names = [name for item in values.split(",") if (name := item.strip(" \t"))]
    for name in names:
        # Before it reaches anything that assumes ASCII (CVE-2026-42544).
        if not _TOKEN.fullmatch(name):
            raise ProtocolError(400, "malformed Sec-WebSocket-Protocol", "RFC 6455 §4.1")
    return tuple(names)


def _check_fields(headers: Headers) -> None:
    """Refuse what an application may not put into a 101. Raises ResponseError."""
    fields = compose_fields(headers, {})
    if fields.length is not None:
        raise ResponseError("Content-Length in an interim response (RFC 9110 §8.6)")
    for name, _ in headers:
        if name.lower().startswith("sec-websocket-"):
            raise ResponseError(f"field {name!r} is the handshake's (RFC 6455 §4.2.2)")
