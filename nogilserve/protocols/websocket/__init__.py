"""The WebSocket protocol, server side, sans-IO (RFC 6455, RFC 7692).

Request → handshake → fields for the 101 and a connection, or a ProtocolError
connection → plain messages by itself, all other frames by wsproto's decoders, bounded by `inbound`
           → deflate: permessage-deflate, negotiated in the handshake
           → frames: what is sent

All but `wants_websocket` is imported when it is first asked for: with wsproto and websockets it
takes megabytes, and most servers never meet a WebSocket.
"""

from typing import TYPE_CHECKING, Any

from nogilserve.protocols.websocket.wanted import wants_websocket

if TYPE_CHECKING:
    from nogilserve.protocols.websocket.connection import (
        CLOSED,
        CLOSING,
        OPEN,
        WebSocketConnection,
    )
    from nogilserve.protocols.websocket.frames import Closed
    from nogilserve.protocols.websocket.handshake import Handshake

__all__ = [
    "CLOSED",
    "CLOSING",
    "OPEN",
    "Closed",
    "Handshake",
    "WebSocketConnection",
    "wants_websocket",
]


def __getattr__(name: str) -> Any:
    if name == "Handshake":
        from nogilserve.protocols.websocket.handshake import Handshake

        return Handshake
    if name == "Closed":
        from nogilserve.protocols.websocket.frames import Closed

        return Closed
    if name in __all__:
        from nogilserve.protocols.websocket import connection

        return getattr(connection, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
