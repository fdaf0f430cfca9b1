"""What the engines are told of TLS: where certificates come from, and what is promised.

The certificates themselves are the business of `nogilserve.tls`, which the engine does not know.
"""

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

__all__ = ["ENCRYPTED", "PLAIN", "REDIRECT", "CertificateSource", "Encryption"]

# What a listening socket is for (`ListeningSocket.role`).
ENCRYPTED: Final = "tls"
"""TLS, where the server is told to speak it; else plain."""
PLAIN: Final = "plain"
"""Plain HTTP beside TLS (`--insecure-bind`)."""
REDIRECT: Final = "redirect"
"""Plain HTTP that only says where HTTPS is (`--redirect-http`)."""


class CertificateSource(Protocol):
    """Chooses what clients are shown. Any thread; no method blocks: the engine waits for it."""

    def find(self, name: str, protocols: Sequence[str]) -> ssl.SSLContext | None:
        """The context for a server name (lower case, "" for none) and the protocols that the
        client offers (ALPN). None: there is none, or not yet."""

    def request(self, name: str, protocols: Sequence[str], ready: Callable[[], None]) -> bool:
        """Asked when `find` gave None. True: a certificate may come; `ready` is called once, from
        any thread, when `find` is to be asked again. False: there will be none."""


@dataclass(frozen=True, slots=True)
class Encryption:
    """Immutable. Times are in seconds."""

    source: CertificateSource
    timeout: float = 10.0
    """For a handshake, from accepting."""
    waiting: float = 60.0
    """For a certificate that has been requested, besides that."""
    strict_transport: str = ""
    """Value of Strict-Transport-Security in responses over TLS (RFC 6797), "" for none."""
