"""What is read of certificates."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nogilserve.tls.x509 import certificates_in, read_certificate
from tests.support.certificates import NEEDS_OPENSSL, Authority, openssl

pytestmark = NEEDS_OPENSSL


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One for all tests here."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.mark.parametrize("key", ["ec", "rsa"])
def test_names_and_times(authority: Authority, key: str) -> None:
    """Host names, wildcards and addresses, and the days of a certificate."""
    names = ("Example.com", "*.example.com", "127.0.0.1", "::1")
    certificate, _ = authority.issue(*names, key=key, label=key, days=7)
    facts = read_certificate(certificate.read_text())
    assert facts.names == ("example.com", "*.example.com", "127.0.0.1", "::1")
    now = datetime.now(UTC)
    assert facts.begins <= now + timedelta(seconds=2)
    assert abs(facts.ends - now - timedelta(days=7)) < timedelta(minutes=5)


def test_far_future(authority: Authority) -> None:
    """From 2050 on years have four digits (RFC 5280 §4.1.2.5)."""
    certificate, _ = authority.issue("example.com", label="far", days=365 * 40)
    assert read_certificate(certificate.read_text()).ends.year > 2050


def test_no_names(tmp_path: Path) -> None:
    """A certificate may name nobody."""
    file = tmp_path / "old.pem"
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-subj", "/CN=example.com", "-keyout", str(tmp_path / "key"), "-out", str(file)),
    )
    assert read_certificate(file.read_text()).names == ()


def test_bundle(authority: Authority) -> None:
    """Several certificates stand one behind the other, with anything between them."""
    one = authority.file.read_text()
    assert certificates_in(f"comment\n{one}\nmore\n{one}") == [one.strip() + "\n"] * 2
    assert certificates_in("-----BEGIN CERTIFICATE-----\ncut off") == []


@pytest.mark.parametrize("cut", [0, 1, 10, 50, 200])
def test_broken(authority: Authority, cut: int) -> None:
    """What is no certificate is refused, and nothing else happens."""
    import ssl

    der = ssl.PEM_cert_to_DER_cert(certificates_in(authority.file.read_text())[0])
    with pytest.raises(ValueError, match="no certificate that can be read"):
        read_certificate(ssl.DER_cert_to_PEM_cert(der[:cut]))
