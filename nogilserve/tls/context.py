"""OpenSSL's contexts as this server wants them: versions, ciphers, protocols, clients."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nogilserve.config import Config
from nogilserve.engine.encryption import Context
from nogilserve.errors import ConfigError

__all__ = ["TlsTerms", "make_context"]

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_REQS: Final = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
_ENCRYPTED: Final = ("ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED")


@dataclass(frozen=True, slots=True)
class TlsTerms:
    """What is agreed to, whatever the certificate. Immutable."""

    protocols: tuple[str, ...] = ("http/1.1",)
    """Offered by ALPN, the best first."""
    minimum: str = "1.2"
    ciphers: str = "ECDHE+AESGCM:ECDHE+CHACHA20"
    tickets: int = 2
    ca_certs: str = ""
    cert_reqs: str = "none"
    password: str = ""

    @staticmethod
    def of(config: Config) -> "TlsTerms":
        """Those of the configuration."""
        protocols = {"1": ("http/1.1",), "2": ("h2",)}.get(config.http, ("h2", "http/1.1"))
        return TlsTerms(
            protocols,
            config.ssl_min_version,
            config.ssl_ciphers,
            config.ssl_session_tickets,
            config.ca_certs,
            config.cert_reqs,
            config.ssl_keyfile_password,
        )


def make_context(
    certfile: str, keyfile: str = "", terms: TlsTerms | None = None, *, also: tuple[str, ...] = ()
) -> Context:
    """A context that shows the certificates in `certfile`, whose key is in `keyfile`, by default in
    the same file. `also`: more certificate and key files in turn, for the same names with another
    kind of key. Raises ConfigError, which names the file and what is wrong with it.
    """
    terms = terms or TlsTerms()
    context = Context(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[terms.minimum]
    # RFC 9325: no compression, no renegotiation, and the server's order of ciphers.
    context.options |= (
        ssl.OP_NO_COMPRESSION
        | ssl.OP_NO_RENEGOTIATION
        | ssl.OP_CIPHER_SERVER_PREFERENCE
        | ssl.OP_SINGLE_ECDH_USE
    )
    # A client that closes without close_notify is known by the length of its request.
    context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    try:
        context.set_ciphers(terms.ciphers)
    except ssl.SSLError:
        raise ConfigError(
            f"option --ssl-ciphers: {terms.ciphers!r} names no cipher that OpenSSL knows here"
        ) from None
    context.num_tickets = terms.tickets
    if not terms.tickets:
        context.options |= ssl.OP_NO_TICKET
    context.protocols = terms.protocols
    context.set_alpn_protocols(list(terms.protocols))
    pairs = [certfile, keyfile, *also]
    for certificate, key in zip(pairs[::2], pairs[1::2], strict=True):
        _load_pair(context, certificate, key or certificate, terms.password)
    if terms.cert_reqs != "none":
        _believe(context, terms)
    context.suites = {suite["name"]: suite["id"] & 0xFFFF for suite in context.get_ciphers()}
    return context


def _read(path: str, option: str) -> str:
    try:
        return Path(path).read_text("ascii", "replace")
    except OSError as exc:
        raise ConfigError(
            f"option {option}: {path!r} cannot be read: {exc.strerror or exc}"
        ) from None


def _load_pair(context: Context, certfile: str, keyfile: str, password: str) -> None:
    text = _read(certfile, "--certfile")
    key = _read(keyfile, "--keyfile") if keyfile != certfile else text
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise ConfigError(f"option --certfile: {certfile!r} holds no certificate in PEM form")
    if "PRIVATE KEY-----" not in key:
        where = "; write --keyfile" if keyfile == certfile else ""
        raise ConfigError(f"option --keyfile: {keyfile!r} holds no private key in PEM form{where}")
    encrypted = any(mark in key for mark in _ENCRYPTED)
    if encrypted and not password:
        raise ConfigError(
            f"option --keyfile: the key in {keyfile!r} is encrypted; set "
            f"NOGILSERVE_SSL_KEYFILE_PASSWORD"
        )
    try:
        # Never None: OpenSSL would ask at the terminal.
        context.load_cert_chain(certfile, keyfile, lambda: password)
    except ssl.SSLError as exc:
        raise ConfigError(_reason(exc, certfile, keyfile, encrypted=encrypted)) from None
    except OSError as exc:
        raise ConfigError(f"option --certfile: {certfile!r}: {exc.strerror or exc}") from None
    if not context.certificate:
        begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
        context.certificate = begin + text.split(begin, 1)[1].split(end, 1)[0] + end + "\n"


_FOREIGN_KEY: Final = frozenset(
    {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}
)
"""The last two: where one is of RSA and the other of an elliptic curve."""


def _reason(exc: ssl.SSLError, certfile: str, keyfile: str, *, encrypted: bool) -> str:
    if exc.reason in _FOREIGN_KEY:
        return (
            f"option --keyfile: the key in {keyfile!r} does not belong to the certificate in "
            f"{certfile!r}"
        )
    if exc.reason in ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"):
        what = exc.reason.lower().replace("_", " ")
        return f"option --certfile: {certfile!r} is too weak to be used: {what}"
    if encrypted:
        return f"option --ssl-keyfile-password: it does not open the key in {keyfile!r}"
    return f"option --certfile: {certfile!r} with key {keyfile!r} cannot be used: {exc}"


def _believe(context: Context, terms: TlsTerms) -> None:
    """Ask clients for certificates of the authorities given."""
    if "CERTIFICATE-----" not in _read(terms.ca_certs, "--ca-certs"):
        raise ConfigError(f"option --ca-certs: {terms.ca_certs!r} holds no certificate in PEM form")
    try:
        context.load_verify_locations(terms.ca_certs)
    except OSError as exc:
        raise ConfigError(f"option --ca-certs: {terms.ca_certs!r} cannot be used: {exc}") from None
    context.verify_mode = _REQS[terms.cert_reqs]
