"""What applications are told of TLS: variables of WSGI, the extension of ASGI.

The classes of gateways that others use know nothing of it; those of a server that speaks TLS are
made from them here.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from nogilserve.gateways.wsgi import WsgiGateway
from nogilserve.messages import Exchange, TlsFacts

__all__ = ["distinguished_name", "secured", "tls_extension"]

# RFC 4514 §3; OpenSSL has names of its own for the others.
_SHORT: Final = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
_VERSIONS: Final = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


def distinguished_name(name: Any) -> str:
    """A name as `getpeercert` has it, in the form of RFC 4514: the last part first."""
    parts = []
    for relative in reversed(tuple(name)):
        pairs = (f"{_SHORT.get(kind, kind)}={_escaped(value)}" for kind, value in relative)
        parts.append("+".join(pairs))
    return ",".join(parts)


def _escaped(value: str) -> str:
    text = "".join(f"\\{char}" if char in ',+"\\<>;' else char for char in value)
    text = text.replace("\0", "\\00")
    if text.startswith(("#", " ")):
        text = f"\\{text}"
    if len(text) > 1 and text.endswith(" ") and not text.endswith("\\ "):
        text = f"{text[:-1]}\\ "
    return text


@cache
def secured[T: WsgiGateway](kind: type[T]) -> type[T]:
    """A class of gateways that also put what they know of TLS into the environ: HTTPS, and the
    variables of Apache's mod_ssl."""

    class Secured(kind):  # type: ignore[valid-type, misc]
        """Owner: as of its base."""

        def _environ(self, exchange: Exchange) -> dict[str, Any]:
            environ: dict[str, Any] = kind._environ(self, exchange)  # noqa: SLF001
            if exchange.scheme == "https":
                environ["HTTPS"] = "on"
            facts = exchange.tls
            if facts is not None:
                made = facts.made_of_it
                if made is None:
                    made = facts.made_of_it = _variables(facts)
                environ.update(made)
            return environ

    return Secured


def _variables(facts: TlsFacts) -> dict[str, str]:
    found = {"SSL_PROTOCOL": facts.version, "SSL_CIPHER": facts.suite}
    client = facts.client
    if client is None:
        return {**found, "SSL_CLIENT_VERIFY": "NONE"}
    return {**found, "SSL_CLIENT_VERIFY": "SUCCESS", **_client_variables(client, facts.chain)}


def _client_variables(client: Mapping[str, Any], chain: tuple[str, ...]) -> dict[str, str]:
    found = {
        "SSL_CLIENT_S_DN": distinguished_name(client.get("subject", ())),
        "SSL_CLIENT_I_DN": distinguished_name(client.get("issuer", ())),
        "SSL_CLIENT_M_SERIAL": client.get("serialNumber", ""),
        "SSL_CLIENT_M_VERSION": str(client.get("version", "")),
        "SSL_CLIENT_V_START": client.get("notBefore", ""),
        "SSL_CLIENT_V_END": client.get("notAfter", ""),
        "SSL_CLIENT_CERT": chain[0] if chain else "",
    }
    for relative in client.get("subject", ()):
        for kind, value in relative:
            found.setdefault(f"SSL_CLIENT_S_DN_{_SHORT.get(kind, kind)}", value)
    # A value of environ is a latin-1 string (PEP 3333).
    return {key: value.encode().decode("latin-1") for key, value in found.items()}


def tls_extension(facts: TlsFacts) -> dict[str, Any]:
    """The `tls` extension of an ASGI scope."""
    made = facts.made_of_it
    if made is None:
        client = facts.client
        made = facts.made_of_it = {
            "server_cert": facts.certificate or None,
            "client_cert_chain": facts.chain,
            "client_cert_name": distinguished_name(client.get("subject", ())) if client else None,
            "client_cert_error": None,
            "tls_version": _VERSIONS.get(facts.version),
            "cipher_suite": facts.number or None,
        }
    return {**made, "client_cert_chain": list(made["client_cert_chain"])}
