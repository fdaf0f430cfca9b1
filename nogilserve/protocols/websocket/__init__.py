"""The WebSocket protocol, server side, sans-IO (RFC 6455, RFC 7692).

Request → handshake → fields for the 101 and a connection, or a ProtocolError
connection → plain messages by itself, all other frames by wsproto's decoders, bounded by `inbound`
           → deflate: permessage-deflate, negotiated in the handshake
           → frames: what is sent
"""

from nogilserve.protocols.websocket.connection import CLOSED, CLOSING, OPEN, WebSocketConnection
from nogilserve.protocols.websocket.frames import Closed
from nogilserve.protocols.websocket.handshake import Handshake, wants_websocket

__all__ = [
    "CLOSED",
    "CLOSING",
    "OPEN",
    "Closed",
    "Handshake",
    "WebSocketConnection",
    "wants_websocket",
]
