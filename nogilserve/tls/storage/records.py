"""What is kept under which key, as data and as bytes. Knows no network and no clock.

    certificates/NAME    Certificate    the private key and the chain, PEM behind a line of JSON
    plans/NAME           Plan           when to renew it or to try again, and why
    accounts/ISSUER      Account        at a certificate authority
    answers/http/TOKEN   text           to HTTP-01 (RFC 8555 §8.3)
    answers/tls/NAME     PEM            certificate for TLS-ALPN-01 (RFC 8737), its key before it
    changes              text           something else whenever a certificate has changed

A value may have been written by a later version or damaged by hand: reading one that makes no
sense gives None.
"""

import hashlib
import json
import re
import ssl
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Self
from urllib.parse import urlsplit

__all__ = [
    "CHANGES",
    "IMPORTED",
    "Account",
    "Certificate",
    "Plan",
    "account_key",
    "certificate_key",
    "http_answer_key",
    "plan_key",
    "tls_answer_key",
]

IMPORTED: Final = "imported"
"""The issuer of certificates that a user has brought."""

CHANGES: Final = "changes/certificates"
_PEM: Final = re.compile(r"-----BEGIN ([A-Z ]+)-----\r?\n.+?-----END \1-----", re.DOTALL)


def _name_part(name: str) -> str:
    return f"_wildcard{name[1:]}" if name.startswith("*.") else name


def certificate_key(name: str) -> str:
    """Of a host name in lower case, in A-labels (RFC 5890), perhaps with "*." in front."""
    return f"certificates/{_name_part(name)}"


def plan_key(name: str) -> str:
    """As `certificate_key`."""
    return f"plans/{_name_part(name)}"


def account_key(directory: str, email: str) -> str:
    """Of an account: one for each directory URL and e-mail address."""
    digest = hashlib.sha256(f"{directory}\n{email}".encode()).hexdigest()[:12]
    host = re.sub(r"[^A-Za-z0-9.-]", "-", urlsplit(directory).hostname or "server")
    return f"accounts/a-{host}-{digest}"


def http_answer_key(token: str) -> str:
    """Tokens come from clients: what is no key raises ValueError when it is used."""
    return f"answers/http/t-{token}"


def tls_answer_key(name: str) -> str:
    """As `certificate_key`."""
    return f"answers/tls/{name}"


def _known[T](kind: type[T], data: Any) -> dict[str, Any] | None:
    """The entries that the dataclass has; None where one is of another type."""
    if not isinstance(data, dict):
        return None
    known: dict[str, Any] = {}
    for entry in fields(kind):  # type: ignore[arg-type]
        if entry.name in data:
            value = data[entry.name]
            if entry.type is float and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
            if isinstance(entry.type, type) and not isinstance(value, entry.type):
                return None
            known[entry.name] = value
    return known


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate chain with its private key. Immutable. Times are seconds since the epoch."""

    names: tuple[str, ...]
    not_before: float
    not_after: float
    issuer: str
    """The directory URL of the authority, or IMPORTED."""
    chain: str = field(repr=False)
    """PEM, the certificate of the names first."""
    key: str = field(repr=False)
    """PEM, not encrypted."""
    on_demand: bool = False
    """It was obtained because a client asked for the name."""

    def encode(self) -> bytes:
        """As bytes. OpenSSL can load a file that holds them, whatever lies before."""
        about = {k: v for k, v in asdict(self).items() if k not in ("chain", "key")}
        return f"{json.dumps(about)}\n{self.key.strip()}\n{self.chain.strip()}\n".encode()

    @classmethod
    def decode(cls, data: bytes | None) -> Self | None:
        """From bytes; None if they are none."""
        try:
            line, _, pem = (data or b"").decode().partition("\n")
            about = json.loads(line)
            names = tuple(str(name) for name in about.pop("names"))
            key, chain = split_pem(pem)
            known = _known(cls, about) or {}
            if not chain or not key:
                return None
            return cls(names=names, chain=chain, key=key, **known)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the first certificate, in hexadecimal digits."""
        match = _PEM.search(self.chain)
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(match[0])).hexdigest() if match else ""


def split_pem(text: str) -> tuple[str, str]:
    """The private key and the certificates of a text with PEM blocks; "" for what is missing."""
    blocks = list(_PEM.finditer(text))
    keys = [block[0] for block in blocks if block[1].endswith("PRIVATE KEY")]
    chain = [block[0] for block in blocks if block[1] == "CERTIFICATE"]
    return (f"{keys[0]}\n" if keys else ""), "".join(f"{block}\n" for block in chain)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to happen to the certificate of a name, and when. Immutable. Seconds since the epoch.

    All replicas share it: what one of them has found out, the others need not try.
    """

    fingerprint: str = ""
    """The certificate it is about; a plan for another one is void, except for its failures."""
    renew_at: float = 0.0
    """0: as the certificate's life says."""
    ask_at: float = 0.0
    """When to ask the authority again for the time of renewal (RFC 9773)."""
    failures: int = 0
    """In a row."""
    issuer: str = ""
    """Which authority failed."""
    retry_at: float = 0.0
    error: str = ""
    """Why the last attempt failed; "" if none did."""
    explanation: str = ""
    """Where the authority explains a time of renewal."""
    turn: int = 0
    """Validations that failed in a row: the kinds of challenges take turns."""

    def encode(self) -> bytes:
        """As bytes."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes | None) -> Self:
        """From bytes; an empty plan if they are none."""
        try:
            known = _known(cls, json.loads(data or b"{}"))
        except ValueError:
            known = None
        return cls(**(known or {}))


@dataclass(frozen=True, slots=True)
class Account:
    """An account at a certificate authority (RFC 8555 §7.1.2). Immutable."""

    url: str
    key: str = field(repr=False)
    """The private key, PEM."""

    def encode(self) -> bytes:
        """As bytes."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes | None) -> Self | None:
        """From bytes; None if they are none."""
        try:
            known = _known(cls, json.loads(data or b""))
            return cls(**known) if known and {"url", "key"} <= known.keys() else None
        except ValueError:
            return None
