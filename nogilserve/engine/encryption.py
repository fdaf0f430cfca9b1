"""What the engines are told of TLS: where certificates come from, and what is promised.

The certificates themselves are the business of `nogilserve.tls`, which the engine does not know.
"""

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from nogilserve.messages import Headers, TlsFacts
from nogilserve.protocols.tls import Hello

__all__ = [
    "NO_PROTOCOL",
    "UNRECOGNIZED_NAME",
    "CertificateSource",
    "Context",
    "Encryption",
    "Ready",
    "facts_of",
    "promised",
    "refuses",
]

# A record with a fatal alert in it (RFC 8446 §6); the version is the one every client reads.
_ALERT: Final = b"\x15\x03\x03\x00\x02\x02"
NO_PROTOCOL: Final = _ALERT + bytes([120])
"""no_application_protocol (RFC 7301 §3.2)."""
UNRECOGNIZED_NAME: Final = _ALERT + bytes([112])
"""unrecognized_name (RFC 6066 §3)."""


class Context(ssl.SSLContext):
    """A context that remembers what Python's does not tell. Any thread, once it is made."""

    certificate: str = ""
    """The server's certificate, PEM."""
    protocols: tuple[str, ...] = ()
    """What is offered by ALPN."""
    suites: dict[str, int] = {}  # noqa: RUF012 - replaced, never changed
    """Numbers of the cipher suites by their names (RFC 8446 §B.4)."""


Ready = Callable[[Context | None], None]
"""Told what was found for a handshake that has waited; None: there is nothing. It is handed over,
because what `find` gives may be another thing by the time that the handshake has its turn."""


class CertificateSource(Protocol):
    """Chooses what clients are shown. Any thread; no method blocks: the engine waits for it."""

    def find(self, name: str, protocols: Sequence[str]) -> Context | None:
        """The context for a server name (lower case, "" for none) and the protocols that the
        client offers (ALPN). None: there is none, or not yet."""

    def request(self, name: str, protocols: Sequence[str], ready: Ready) -> bool:
        """Asked when `find` gave None. True: a certificate may come; `ready` is called once, from
        any thread. False: there will be none."""


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


def promised(headers: Headers, value: str) -> Headers:
    """`headers` with Strict-Transport-Security, unless the application has said something about
    it (RFC 6797 §6.1)."""
    try:
        for name, _ in headers:
            if name.lower() == "strict-transport-security":
                return headers
    except (AttributeError, TypeError, ValueError):
        return headers  # they are no pairs of text: whoever checks them says so
    return [*headers, ("Strict-Transport-Security", value)]


def refuses(context: Context, hello: Hello) -> bool:
    """Whether the client speaks nothing that is offered (RFC 7301 §3.2)."""
    return bool(hello.protocols) and not set(hello.protocols) & set(context.protocols)


def facts_of(tls: ssl.SSLObject) -> TlsFacts:
    """What a handshake has agreed on."""
    context = tls.context
    suite, _, _ = tls.cipher() or ("", "", 0)
    client = chain = None
    if context.verify_mode != ssl.CERT_NONE:
        client = tls.getpeercert()
        chain = client and tls.get_verified_chain()
    return TlsFacts(
        version=tls.version() or "",
        suite=suite,
        number=getattr(context, "suites", {}).get(suite, 0),
        certificate=getattr(context, "certificate", ""),
        client=client or None,
        chain=tuple(map(ssl.DER_cert_to_PEM_cert, chain or ())),
    )
