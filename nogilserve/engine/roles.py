"""Listening sockets, and what each is for."""

import socket
from typing import Final, Protocol

__all__ = ["ENCRYPTED", "PLAIN", "REDIRECT", "ListeningSocket"]

ENCRYPTED: Final = "tls"
"""TLS where the server has certificates, else plain HTTP."""
PLAIN: Final = "plain"
"""Plain HTTP beside TLS (`--insecure-bind`)."""
REDIRECT: Final = "redirect"
"""Plain HTTP that only says where HTTPS is (`--redirect-http`)."""


class ListeningSocket(Protocol):
    """A bound socket that listens, non-blocking. Immutable; shared by all cores."""

    @property
    def socket(self) -> socket.socket:
        """The socket itself."""

    @property
    def server(self) -> tuple[str, str]:
        """Name or address, and port as text, for SERVER_NAME and SERVER_PORT."""

    @property
    def role(self) -> str:
        """What connections are to be: one of the above."""
