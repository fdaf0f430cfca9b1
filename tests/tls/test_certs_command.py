"""`nogilserve certs`: list, import and export; `renew` beside others. With a real authority it is
tried elsewhere."""

import re
import socket
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

pytest.importorskip("acme", reason="the ACME client, or cryptography below it, is not installed")

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nogilserve.cli import main
from nogilserve.tls.storage import FolderStorage, Lease
from nogilserve.tls.storage.records import CHANGES, Certificate, Plan, plan_key

Run = Callable[..., int]


def make(*names: str, days: float = 90) -> tuple[str, str]:
    """A self-signed certificate and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(item) for item in names]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


@pytest.fixture
def certs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in a directory of its own, with a storage there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOGILSERVE_STORAGE", str(tmp_path / "kept"))
    return lambda *words: main(["certs", *words])


def test_import_and_export(certs: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was imported is exported again, the key readable for its owner alone; for every name
    of the certificate, and a server is told of the change."""
    chain, key = make("a.example", "*.b.example")
    Path("cert.pem").write_text(chain)
    Path("key.pem").write_text(key)
    assert certs("import", "cert.pem", "key.pem") == 0
    assert "a.example, *.b.example, valid for 90 days" in capsys.readouterr().out
    storage = FolderStorage(tmp_path / "kept")
    assert storage.read(CHANGES)
    for name in ("a.example", "*.b.example", "x.b.example"):
        Path("out").mkdir(exist_ok=True)
        assert certs("export", name, "out") == 0
    assert sorted(path.name for path in Path("out").iterdir()) == [
        *("_wildcard.b.example.crt", "_wildcard.b.example.key", "a.example.crt", "a.example.key"),
        *("x.b.example.crt", "x.b.example.key"),
    ]
    assert Path("out/a.example.crt").read_text().strip() == chain.strip()
    assert Path("out/a.example.key").read_text().strip() == key.strip()
    assert stat.S_IMODE(Path("out/a.example.key").stat().st_mode) == 0o600


def test_import_from_one_file(certs: Run) -> None:
    """Certificate and key may stand in one file."""
    Path("both.pem").write_text("".join(make("a.example")))
    assert certs("import", "both.pem") == 0


@pytest.mark.parametrize(
    ("certificate", "key", "message"),
    [
        ("missing.pem", "key.pem", "cannot read"),
        ("key.pem", "key.pem", "no certificate in it"),
        ("cert.pem", "cert.pem", "no private key in it"),
        ("cert.pem", "other-key.pem", "belongs to another certificate"),
        ("old.pem", "old-key.pem", "has expired"),
        ("twice.pem", "key.pem", "chain is not in order"),
        ("cert.pem", "encrypted.pem", "encrypted; decrypt it first"),
    ],
)
def test_what_cannot_be_imported(
    certs: Run, certificate: str, key: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each mistake has a sentence of its own, status 2, and changes nothing."""
    chain, private = make("a.example")
    other_chain, other_key = make("a.example")
    old_chain, old_key = make("a.example", days=-1)
    loaded = serialization.load_pem_private_key(private.encode(), None)
    encrypted = loaded.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"word"),
    )
    for name, text in (
        *(("cert.pem", chain), ("key.pem", private), ("other-key.pem", other_key)),
        *(("old.pem", old_chain), ("old-key.pem", old_key), ("twice.pem", chain + other_chain)),
        ("encrypted.pem", encrypted.decode()),
    ):
        Path(name).write_text(text)
    assert certs("import", certificate, key) == 2
    assert message in capsys.readouterr().err
    assert not Path("kept/certificates").exists()


def test_list_says_what_there_is(
    certs: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names with their ends; those that failed with the reason and the next attempt; domains
    without a certificate."""
    assert certs("list") == 0
    assert capsys.readouterr().out == f"There are no certificates in {tmp_path}/kept.\n"
    Path("both.pem").write_text("".join(make("a.example")))
    certs("import", "both.pem")
    storage = FolderStorage(tmp_path / "kept")
    found = Certificate.decode(storage.read("certificates/a.example"))
    assert found is not None
    issued = Certificate(
        ("b.example",), found.not_before, found.not_after, "https://ca/", found.chain, found.key
    )
    storage.write("certificates/b.example", issued.encode())
    failed = Plan(failures=2, issuer="https://ca/", retry_at=4e9, error="it is closed today")
    storage.write(plan_key("c.example"), failed.encode())
    capsys.readouterr()
    assert certs("list", "--domain", "a.example,c.example,d.example") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("a.example: valid for 90 days, until ")
    assert lines[0].endswith(", imported")
    assert re.search(r", from https://ca/, to be renewed in 5[6-9] days$", lines[1])
    assert lines[2].startswith("c.example: no certificate yet; failed 2 times, next attempt in ")
    assert lines[2].endswith("it is closed today")
    assert lines[3] == "d.example: no certificate yet"


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["sell"], 2, "there is list, renew, import and export"),
        (["export"], 2, "expected is certs export NAME"),
        (["list", "more"], 2, "expected is certs list"),
        (["export", "a/b"], 2, "no host name"),
        (["export", "a.example"], 1, "there is no certificate for a.example"),
        (["renew"], 2, "name them, or give --domain"),
        (["list", "--storage", "ftp://x"], 2, "--storage"),
        (["list", "--domain", "*.a.example"], 2, "wildcard can only be proven in the DNS"),
        (["list", "--domain", "127.0.0.1"], 2, "that is an address"),
    ],
)
def test_wrong_commands(
    certs: Run, words: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said in a sentence, with what is expected."""
    assert certs(*words) == status
    assert message in capsys.readouterr().err


def test_help(certs: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """With and without an action."""
    for words in ([], ["--help"], ["import", "-h"]):
        assert certs(*words) == 0
        assert capsys.readouterr().out.startswith("usage: nogilserve certs list\n")


@pytest.mark.parametrize("obtains", [True, False])
def test_renew_while_another_process_is_at_it(
    certs: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    obtains: bool,
) -> None:
    """It waits. A certificate that has come meanwhile will do; else one is obtained after all."""
    seen = threading.Event()
    lock = FolderStorage.lock

    def watched(self: FolderStorage, name: str, term: float) -> Lease | None:
        lease = lock(self, name, term)
        if lease is None:
            seen.set()
        return lease

    monkeypatch.setattr(FolderStorage, "lock", watched)
    monkeypatch.setattr("nogilserve.tls.acme.command._AGAIN", 0.01)
    storage = FolderStorage(tmp_path / "kept")
    Path("both.pem").write_text("".join(make("a.example")))
    assert certs("import", "both.pem") == 0
    lease = storage.lock("work/a.example", 60)
    assert lease is not None
    statuses: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        address = f"https://127.0.0.1:{nobody.getsockname()[1]}/dir"
    words = ("renew", "a.example", "--acme-directory", address)
    command = threading.Thread(target=lambda: statuses.append(certs(*words)))
    command.start()
    try:
        assert seen.wait(30)
        if obtains:
            Path("both.pem").write_text("".join(make("a.example")))
            assert certs("import", "both.pem") == 0
    finally:
        if not obtains:
            lease.release()
        command.join(60)
        lease.release()
    out = capsys.readouterr().out
    assert statuses == [0 if obtains else 1], out
    wanted = "another process has just obtained one" if obtains else "no new certificate: "
    assert f"a.example: {wanted}" in out
