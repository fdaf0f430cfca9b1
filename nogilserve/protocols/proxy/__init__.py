"""What proxies tell about the client: header fields, and the PROXY protocol. Sans-IO.

A connection whose peer is trusted has its requests judged by `OriginReader.judge`: client, scheme
and authority as the proxy saw them. A listener that speaks the PROXY protocol hands the first
bytes of a connection to `Preamble`.
"""

from nogilserve.protocols.proxy.forwarded import FIELDS, Judged, Origin, OriginReader, read_origin
from nogilserve.protocols.proxy.proxyprotocol import Announced, Preamble
from nogilserve.protocols.proxy.trust import Trust

__all__ = [
    "FIELDS",
    "Announced",
    "Judged",
    "Origin",
    "OriginReader",
    "Preamble",
    "Trust",
    "read_origin",
]
