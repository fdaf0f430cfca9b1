"""What proxies tell about the client: header fields, and the PROXY protocol. Sans-IO.

An engine is told the `ProxyRules`. Of each new connection it asks `ProxyRules.preamble`, and where
that is not None gives it the first bytes until they are a PROXY header, or none: then client,
server and scheme of the connection are known. Each core has an `OriginReader`, from
`ProxyRules.reader`. Where `OriginReader.trusts` the connection's client, every request is given
to `OriginReader.judge`, and what comes back replaces request, client, scheme and server.
"""

from nogilserve.protocols.proxy.believing import ProxyRules
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
    "ProxyRules",
    "Trust",
    "read_origin",
]
