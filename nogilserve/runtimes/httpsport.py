"""Which port HTTPS is on, for those that are led there."""

from collections.abc import Sequence
from typing import Final

from nogilserve.engine.roles import ENCRYPTED, ListeningSocket
from nogilserve.gateways.redirect import Https

__all__ = ["HTTPS", "learn"]

HTTPS: Final = Https(0)
"""That of this interpreter, which serves one configuration. Written before the first connection."""


def learn(listeners: Sequence[ListeningSocket]) -> None:
    """Take the port of the first that speaks TLS, unless the port is known."""
    for listener in listeners:
        name_and_port = listener.server
        if not HTTPS.port and listener.role == ENCRYPTED and name_and_port[1].isdigit():
            HTTPS.port = int(name_and_port[1])
