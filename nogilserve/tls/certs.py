"""A certificate authority of one's own, and the certificates it gives: `--tls-internal`.

Runs in a process of its own (`python -c …`), which alone imports cryptography.
"""

import contextlib
import getpass
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from nogilserve.tls.storage.filelock import try_lock_file

__all__ = ["main", "make_leaf", "make_root"]

_ROOT_DAYS: Final = 3650
_LEAF_DAYS: Final = 90
_RENEW_DAYS: Final = 30
"""Days before its end at which a certificate is made anew."""
_EARLIER: Final = timedelta(hours=1)
"""Clocks of clients may be late."""
_LOCKED: Final = 10.0
"""Seconds to wait for another process that is making one."""


def main() -> int:
    """`… FOLDER LEAF NAME…`: make what is missing or nearly over; the exit status."""
    folder, leaf, names = Path(sys.argv[-3]), sys.argv[-2], sys.argv[-1].split(",")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(folder):
            root = _root(folder)
            if leaf:
                _leaf(folder / leaf, root, names)
    except (OSError, ValueError) as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. Raises TimeoutError."""
    until = monotonic() + _LOCKED
    with open(folder / "lock", "a+b") as file:
        while not try_lock_file(file.fileno()):
            if monotonic() > until:
                raise TimeoutError(f"another process holds {folder / 'lock'}")
            sleep(0.05)
        yield


Authority = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def _root(folder: Path) -> Authority:
    """The authority, made if it is not there yet, or has less than a leaf's life left."""
    path, key_path = folder / "root.pem", folder / "root.key"
    with contextlib.suppress(FileNotFoundError):
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        key = serialization.load_pem_private_key(key_path.read_bytes(), None)
        ends = certificate.not_valid_after_utc
        if isinstance(key, ec.EllipticCurvePrivateKey) and ends - _now() > timedelta(_LEAF_DAYS):
            return certificate, key
    certificate, key = make_root()
    _write(key_path, _key_pem(key), 0o600)
    _write(path, _pem(certificate), 0o644)
    return certificate, key


def _leaf(path: Path, root: Authority, names: Sequence[str]) -> None:
    """The certificate at `path`, made if it is missing, nearly over, or of another authority."""
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
        found.verify_directly_issued_by(root[0])
        if found.not_valid_after_utc - _now() > timedelta(_RENEW_DAYS):
            return
    except Exception:  # whatever is wrong with it: there will be another one
        pass
    certificate, key = make_leaf(root, names)
    _write(path, _pem(certificate) + _key_pem(key), 0o600)


def make_root() -> Authority:
    """A new authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    try:
        whose = f"{getpass.getuser()}@{platform.node()}"
    except (KeyError, OSError):
        whose = platform.node()
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "nogilserve local authority"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"nogilserve {whose}"[:64]),
        ]
    )
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _begin(name, name, key.public_key(), _ROOT_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def make_leaf(root: Authority, names: Sequence[str]) -> Authority:
    """A certificate of the authority for host names and addresses, with its key."""
    authority, authority_key = root
    key = ec.generate_private_key(ec.SECP256R1())
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    alternatives = x509.SubjectAlternativeName([_general(name) for name in names])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    certificate = (
        _begin(own, authority.subject, key.public_key(), _LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(alternatives, critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(issuer, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return certificate, key


def _begin(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = _now()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + timedelta(days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _now() -> datetime:
    return datetime.now(UTC)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, data: bytes, mode: int) -> None:
    """Replace a file as a whole. Raises OSError."""
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            os.chmod(name, mode)
            file.write(data)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
