"""Certificates from files: what is found for a name, and what looking again does."""

import os
import shutil
import threading
from pathlib import Path

import pytest

from nogilserve.errors import ConfigError
from nogilserve.tls import files
from nogilserve.tls.context import TlsTerms, make_context
from nogilserve.tls.files import FileSource
from tests.support.certificates import NEEDS_OPENSSL, Authority

pytestmark = NEEDS_OPENSSL


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One for all tests here."""
    return Authority(tmp_path_factory.mktemp("ca"))


def texts(made: tuple[Path, Path]) -> tuple[str, str]:
    """Paths as options have them."""
    return str(made[0]), str(made[1])


def put(target: Path, source: Path) -> None:
    """Replace a file."""
    draft = target.with_suffix(".draft")
    shutil.copy(source, draft)
    os.replace(draft, target)


def look_twice(source: FileSource) -> None:
    """What two connections do, some time apart."""
    source.look()
    source.look()


def test_names(authority: Authority) -> None:
    """Exactly, by *, and by default."""
    pairs = [texts(authority.issue("a.test")), texts(authority.issue("*.b.test", "b.test"))]
    source = FileSource(pairs, TlsTerms())
    default, wild = source.find("", ()), source.find("x.b.test", ())
    assert source.find("a.test", ()) is default is source.find("unknown.test", ())
    assert source.find("b.test", ()) is wild is not default
    assert source.match("x.y.b.test") is source.match("unknown.test") is source.match("") is None
    assert source.request("c.test", (), lambda _: None) is False


def test_change(authority: Authority, tmp_path: Path) -> None:
    """Files are read when they have changed and come to rest; what cannot be read changes
    nothing."""
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    one, two = authority.issue("one.test"), authority.issue("two.test")
    put(certificate, one[0])
    put(key, one[1])
    source = FileSource([(str(certificate), str(key))], TlsTerms())
    first = source.find("", ())
    look_twice(source)
    assert source.find("", ()) is first
    put(certificate, two[0])
    source.look()
    assert source.find("", ()) is first
    put(key, two[1])
    source.look()
    assert source.match("two.test") is None
    source.look()
    assert source.match("two.test") is not None
    second = source.find("", ())
    key.unlink()
    look_twice(source)
    assert source.find("", ()) is second


def test_one_looks_the_others_go_on(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one thread reads the files again, others find what there was, without waiting."""
    certificate, key = authority.issue("slow.test")
    source = FileSource([(str(certificate), str(key))], TlsTerms())
    before = source.find("", ())
    reading, go_on = threading.Event(), threading.Event()
    real = files.read_pairs

    def slow(pairs: list[tuple[str, str]], terms: TlsTerms) -> files.Snapshot:
        reading.set()
        assert go_on.wait(10)
        return real(pairs, terms)

    monkeypatch.setattr(files, "read_pairs", slow)
    os.utime(certificate, ns=(1, 1))
    source.look()
    reader = threading.Thread(target=source.look)
    reader.start()
    assert reading.wait(10)
    source.look()  # returns at once
    assert source.find("slow.test", ()) is before
    go_on.set()
    reader.join(10)
    assert source.find("slow.test", ()) is not before


def test_renewal_is_asked_for(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes certificates is asked in a thread of its own, once an hour."""
    asked = threading.Semaphore(0)
    monkeypatch.setattr(files, "_RENEWAL", -1.0)
    source = FileSource([texts(authority.issue("renewed.test"))], TlsTerms(), asked.release)
    source.look()
    assert asked.acquire(timeout=5)


def test_terms(authority: Authority) -> None:
    """What is asked for is in the context."""
    certificate, key = texts(authority.issue("terms.test"))
    ca = str(authority.file)
    terms = TlsTerms(("h2",), "1.3", tickets=0, ca_certs=ca, cert_reqs="optional")
    context = make_context(certificate, key, terms)
    assert context.minimum_version.name == "TLSv1_3"
    assert context.verify_mode.name == "CERT_OPTIONAL"
    assert context.num_tickets == 0
    assert context.protocols == ("h2",)
    assert context.suites["TLS_AES_128_GCM_SHA256"] == 0x1301
    assert context.certificate in Path(certificate).read_text()


@pytest.mark.parametrize(
    "content", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_bad_authorities(authority: Authority, tmp_path: Path, content: str) -> None:
    """The file with authorities is looked at, too."""
    bad = tmp_path / "ca.pem"
    bad.write_text(content)
    certificate, key = texts(authority.issue("bad.test"))
    with pytest.raises(ConfigError, match="option --ca-certs"):
        make_context(certificate, key, TlsTerms(ca_certs=str(bad), cert_reqs="required"))
