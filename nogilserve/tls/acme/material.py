"""Keys, requests and certificates, by `cryptography`."""

import hashlib
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID

from nogilserve.tls.storage.records import IMPORTED, Certificate, split_pem

__all__ = [
    "Unusable",
    "certificate_from",
    "certificate_id",
    "challenge_certificate",
    "imported",
    "new_account_key",
    "new_key",
    "signing_request",
]

_ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
"""id-pe-acmeIdentifier, RFC 8737 §3."""


class Unusable(ValueError):
    """A certificate or a key that cannot be used; says why."""


def new_key(kind: str) -> str:
    """A new private key as PEM. `kind`: "p256", "p384", "rsa2048" or "rsa4096"."""
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if kind.startswith("rsa"):
        key = rsa.generate_private_key(65537, int(kind[3:]))
    else:
        key = ec.generate_private_key(ec.SECP384R1() if kind == "p384" else ec.SECP256R1())
    return _pem(key)


def new_account_key() -> str:
    """A new private key for an account as PEM: P-256, which every authority takes."""
    return new_key("p256")


def _pem(key: PrivateKeyTypes) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _load_key(pem: str) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(pem.encode(), None)
    except TypeError:
        raise Unusable("the private key is encrypted; decrypt it first") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Unusable(f"the private key cannot be read: {error}") from None


def signing_request(name: str, key: str) -> bytes:
    """A request for a certificate of one name (RFC 2986), DER inside PEM."""
    private = _load_key(key)
    assert isinstance(private, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey))
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(private, hashes.SHA256())
    )
    return request.public_bytes(serialization.Encoding.PEM)


def _load_chain(chain: str) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(chain.encode())
    except ValueError as error:
        raise Unusable(f"the certificate cannot be read: {error}") from None
    if not found:
        raise Unusable("there is no certificate in it")
    return found


def certificate_from(chain: str, key: str, issuer: str, *, on_demand: bool = False) -> Certificate:
    """A certificate and its key, checked to belong together. Raises Unusable."""
    leaf, *rest = _load_chain(chain)
    if leaf.public_key() != _load_key(key).public_key():
        raise Unusable("the private key belongs to another certificate")
    above = leaf
    for other in rest:
        try:
            above.verify_directly_issued_by(other)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            raise Unusable(
                "the chain is not in order: each certificate has to be signed by the next one"
            ) from None
        above = other
    names = _names(leaf)
    if not names:
        raise Unusable("the certificate names no host (subjectAltName)")
    return Certificate(
        names=names,
        not_before=leaf.not_valid_before_utc.timestamp(),
        not_after=leaf.not_valid_after_utc.timestamp(),
        issuer=issuer,
        chain=chain,
        key=key,
        on_demand=on_demand,
    )


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(name.lower() for name in found.get_values_for_type(x509.DNSName))


def imported(certificate_file: str, key_file: str) -> Certificate:
    """What the text of two files (or twice that of one) holds. Raises Unusable."""
    _, chain = split_pem(certificate_file)
    key, _ = split_pem(key_file)
    if not chain:
        raise Unusable("there is no certificate in it (expected is PEM)")
    if not key:
        raise Unusable("there is no private key in it (expected is PEM, not encrypted)")
    return certificate_from(chain, key, IMPORTED)


def challenge_certificate(name: str, key_authorization: str) -> str:
    """The certificate that answers TLS-ALPN-01 (RFC 8737 §3), PEM, with its key before it."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    digest = hashlib.sha256(key_authorization.encode()).digest()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ACME challenge")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        # An OCTET STRING of 32 bytes in DER.
        .add_extension(
            x509.UnrecognizedExtension(_ACME_IDENTIFIER, b"\x04\x20" + digest), critical=True
        )
        .sign(key, hashes.SHA256())
    )
    return _pem(key) + certificate.public_bytes(serialization.Encoding.PEM).decode()


def certificate_id(chain: str) -> tuple[bytes, bytes] | None:
    """Authority key identifier and serial number, both as the certificate has them, which name it
    towards its authority (RFC 9773 §4.1). None where it has no such identifier."""
    leaf = _load_chain(chain)[0]
    try:
        authority = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        return None
    if authority.key_identifier is None:
        return None
    serial = leaf.serial_number
    return authority.key_identifier, serial.to_bytes(serial.bit_length() // 8 + 1, "big")
