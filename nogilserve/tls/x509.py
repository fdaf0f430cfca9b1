"""What a certificate says of itself, as far as choosing it needs: whose it is, and until when.

Python's ssl does not tell that of a certificate of one's own, and cryptography is not there on
every interpreter. Only DER as authorities write it is understood (RFC 5280 §4.1).
"""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Final

__all__ = ["Facts", "certificates_in", "read_certificate"]

_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"
_ALTERNATIVE_NAMES: Final = b"\x55\x1d\x11"
"""2.5.29.17 (RFC 5280 §4.2.1.6)."""
_UTC_TIME: Final = 0x17
_DNS: Final = 0x82
_ADDRESS: Final = 0x87
_EXTENSIONS: Final = 0xA3
_VERSION: Final = 0xA0
_OCTETS: Final = 0x04


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one certificate. Immutable."""

    names: tuple[str, ...]
    """Host names, with * in front where they stand for several, and addresses; lower case."""
    begins: datetime
    ends: datetime


def certificates_in(pem: str) -> list[str]:
    """The certificates in a text, PEM each."""
    found = []
    for piece in pem.split(_BEGIN)[1:]:
        body, end, _ = piece.partition(_END)
        if end:
            found.append(f"{_BEGIN}{body}{_END}\n")
    return found


def read_certificate(pem: str) -> Facts:
    """Read a certificate. Raises ValueError."""
    try:
        der = ssl.PEM_cert_to_DER_cert(pem)
        certificate = _parts(der)[0][1]
        fields = _parts(_parts(certificate)[0][1])
        if fields[0][0] == _VERSION:
            del fields[0]
        # serial, algorithm, issuer, validity, subject, key, …
        begins, ends = (_moment(*part) for part in _parts(fields[3][1]))
        names: tuple[str, ...] = ()
        for tag, body in fields[6:]:
            if tag == _EXTENSIONS:
                names = _names(body)
    except (IndexError, ValueError) as exc:
        raise ValueError(f"it is no certificate that can be read ({exc})") from None
    return Facts(names, begins, ends)


def _parts(data: bytes) -> list[tuple[int, bytes]]:
    """Tags and contents of what stands in `data` one behind the other. Raises IndexError,
    ValueError."""
    found = []
    at = 0
    while at < len(data):
        tag, size = data[at], data[at + 1]
        at += 2
        if size >= 0x80:
            count = size & 0x7F
            size = int.from_bytes(data[at : at + count])
            at += count
        if at + size > len(data):
            raise ValueError("it is cut off")
        found.append((tag, data[at : at + size]))
        at += size
    return found


def _moment(tag: int, text: bytes) -> datetime:
    """A time (RFC 5280 §4.1.2.5)."""
    form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
    found = datetime.strptime(text.decode("ascii"), form).replace(tzinfo=UTC)
    # Two digits are years from 1950 to 2049; Python's are from 1969 on.
    return found.replace(year=found.year - 100) if tag == _UTC_TIME and found.year > 2049 else found


def _names(extensions: bytes) -> tuple[str, ...]:
    for _, extension in _parts(_parts(extensions)[0][1]):
        fields = _parts(extension)
        if fields[0][1] != _ALTERNATIVE_NAMES:
            continue
        value = next(body for tag, body in fields if tag == _OCTETS)
        found = []
        for tag, body in _parts(_parts(value)[0][1]):
            if tag == _DNS:
                found.append(body.decode("ascii").lower().removesuffix("."))
            elif tag == _ADDRESS:
                found.append(str(ip_address(body)))
        return tuple(found)
    return ()
