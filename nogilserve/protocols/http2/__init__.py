"""HTTP/2, server side, sans-IO (RFC 9113, RFC 7541).

connection → fieldcoding → request → Request     frames in, events out
           → sending                             frames out, as the windows allow
response                                         what an application may send, as a field section
"""

from nogilserve.protocols.http2.connection import (
    BODY,
    END,
    REFUSED,
    REQUEST,
    RESET,
    Event,
    Http2Connection,
)
from nogilserve.protocols.http2.response import Response, ResponseTables, refusal
from nogilserve.protocols.http2.stream import Piece, Stream

__all__ = [
    "BODY",
    "END",
    "REFUSED",
    "REQUEST",
    "RESET",
    "Event",
    "Http2Connection",
    "Piece",
    "Response",
    "ResponseTables",
    "Stream",
    "refusal",
]
