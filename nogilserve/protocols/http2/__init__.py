"""HTTP/2, server side, sans-IO (RFC 9113, RFC 7541).

connection → fieldcoding → request → Request     frames in, events out
           → sending                             frames out, as the windows allow
response                                         what an application may send, as a field section
"""

from nogilserve.protocols.http2.codes import (
    CANCEL,
    INTERNAL_ERROR,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
)
from nogilserve.protocols.http2.connection import (
    BODY,
    END,
    REFUSED,
    REQUEST,
    RESET,
    Event,
    Http2Connection,
)
from nogilserve.protocols.http2.response import Response, ResponseTables, promised, refusal
from nogilserve.protocols.http2.sending import Output
from nogilserve.protocols.http2.stream import Piece, Stream

__all__ = [
    "BODY",
    "CANCEL",
    "END",
    "INTERNAL_ERROR",
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "REFUSED",
    "REFUSED_STREAM",
    "REQUEST",
    "RESET",
    "Event",
    "Http2Connection",
    "Output",
    "Piece",
    "Response",
    "ResponseTables",
    "Stream",
    "promised",
    "refusal",
]
