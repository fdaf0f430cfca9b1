"""A real browser over TLS: it chooses HTTP/2, and gets a page with many parts."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.server import Server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPENSSL = shutil.which("openssl")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")
@pytest.mark.skipif(OPENSSL is None, reason="no openssl here to make a certificate")
@pytest.mark.parametrize(
    "app", ["tests.apps.http2_page:wsgi_app", "tests.apps.http2_page:asgi_app"]
)
def test_chromium(app: str, tmp_path: Path) -> None:
    """Thirty parts and an upload, all over one connection of HTTP/2."""
    command = f"{OPENSSL} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    command += " -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout key -out cert"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True, timeout=30)
    tls = ("--certfile", str(tmp_path / "cert"), "--keyfile", str(tmp_path / "key"))
    with Server(app, *tls, "--access-log", "-") as running:
        told = subprocess.run(
            [
                *(str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu"),
                *("--ignore-certificate-errors", f"--user-data-dir={tmp_path}/profile"),
                *("--virtual-time-budget=20000", "--timeout=20000", "--dump-dom"),
                f"https://localhost:{running.port}/",
            ],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        found = re.search(r"<title>(.*?)</title>", told.stdout)
        assert found is not None, told.stderr[-2000:]
        assert found[1] == "h2 30 100000"
        running.wait_out(r'"POST /sum HTTP/2" 200')
