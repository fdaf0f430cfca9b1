"""HTTP/1.0 and HTTP/1.1, server side, sans-IO (RFC 9110, RFC 9112).

connection → fast → Request              the ordinary head, in plain Python
           → reader → full (h11) → …     any other head, by `rules`
           → chunked                     request bodies whose length is not known
           → response                    what an application may send
"""

from nogilserve.protocols.http1.connection import Http1Connection
from nogilserve.protocols.http1.tables import Tables

__all__ = ["Http1Connection", "Tables"]
