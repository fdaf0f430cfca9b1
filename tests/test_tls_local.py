"""--tls-internal and `nogilserve trust`: an authority of one's own."""

import os
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nogilserve.tls.trust import instructions, main
from tests.support.certificates import TlsClient
from tests.support.server import ROOT, Server

pytest.importorskip("cryptography", reason="cryptography has no wheel for this interpreter")

WSGI = "tests.apps.tls_apps:wsgi"


def trust(folder: Path) -> str:
    """What the command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "nogilserve", "trust"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        cwd=ROOT,
        env={**os.environ, "XDG_DATA_HOME": str(folder)},
    )
    return done.stdout


def test_certificate_is_made_and_kept(tmp_path: Path, serve: Callable[..., Server]) -> None:
    """It is good for localhost, addresses and the names given, and the next start has the same."""
    env = {"XDG_DATA_HOME": str(tmp_path)}
    folder = tmp_path / "nogilserve" / "local-ca"
    names = ["--tls-internal", "--tls-name", "my.test,*.my.test"]
    serve(WSGI, *names, env=env).stop()
    certificates = {path.name: path.read_bytes() for path in folder.glob("*.pem")}
    assert len(certificates) == 2
    assert oct(folder.stat().st_mode)[-3:] == "700"
    assert {oct(path.stat().st_mode)[-3:] for path in folder.glob("*.key")} == {"600"}
    server = serve(WSGI, *names, env=env)
    assert {path.name: path.read_bytes() for path in folder.glob("*.pem")} == certificates
    context = ssl.create_default_context(cafile=folder / "root.pem")
    for name in ("localhost", "127.0.0.1", "my.test", "a.my.test"):
        with TlsClient(server.addresses[0], context, name) as client:
            assert client.get("/").body == b"hello"
    assert str(folder / "root.pem") in trust(tmp_path)


def test_trust_makes_the_authority(tmp_path: Path) -> None:
    """Who asks first how to trust it gets one."""
    printed = trust(tmp_path)
    root = tmp_path / "nogilserve" / "local-ca" / "root.pem"
    assert root.is_file()
    assert f'curl --cacert "{root}"' in printed


def test_help_makes_no_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`nogilserve trust --help` says what it is for."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert main(["--help"]) == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("platform", "command"),
    [("linux", "sudo "), ("darwin", "security add-trusted-cert"), ("win32", "certutil -user")],
)
def test_each_system_has_its_way(platform: str, command: str) -> None:
    """The commands are those of the system."""
    assert command in instructions(Path("/data/root.pem"), platform)


def test_renewal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that is nearly over is replaced, one that is not stays."""
    from datetime import UTC, datetime, timedelta

    from nogilserve.config import load
    from nogilserve.tls import certs, local

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    config = load([WSGI, "--tls-internal"], {}, tmp_path)
    path = Path(local.leaf_for(config))
    first = path.read_bytes()
    local.renew_leaf(config)
    assert path.read_bytes() == first
    root = certs._root(path.parent)
    early = datetime.now(UTC) - timedelta(days=70)
    monkeypatch.setattr(certs, "_now", lambda: early)
    old, key = certs.make_leaf(root, ["localhost"])
    path.write_bytes(certs._pem(old) + certs._key_pem(key))
    assert local.is_due(config)
    local.renew_leaf(config)
    assert not local.is_due(config)
