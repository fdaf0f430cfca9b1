"""What a listening socket is for (`ListeningSocket.role`)."""

from typing import Final

__all__ = ["ENCRYPTED", "PLAIN", "REDIRECT"]

ENCRYPTED: Final = "tls"
"""TLS where the server has certificates, else plain HTTP."""
PLAIN: Final = "plain"
"""Plain HTTP beside TLS (`--insecure-bind`)."""
REDIRECT: Final = "redirect"
"""Plain HTTP that only says where HTTPS is (`--redirect-http`)."""
