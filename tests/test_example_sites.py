"""examples/sites: a front-end's files, an API and an administration, in a real browser too."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chromium import CHROMIUM, Browser
from tests.support.server import ROOT, Server
from tests.support.wire import Response

FOLDER = ROOT / "examples" / "sites"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The example as it is, on a free port."""
    with Server("--config=nogilserve.toml", "--loops", "2", cwd=FOLDER) as running:
        yield running


def ask(server: Server, target: str, host: str = "localhost") -> Response:
    """One request."""
    with server.connect() as client:
        return client.request("GET", target, headers={"Host": host})


def test_each_part_answers(server: Server) -> None:
    """Files, pages that are none, the two applications, the fixed answer, the redirect."""
    page = ask(server, "/")
    assert b"<title>Shop" in page.body
    assert page.get("Content-Security-Policy") == "default-src 'self'"
    assert ask(server, "/deep/page?x=1").body == page.body
    assert ask(server, "/assets/none.js").status == 404
    assert json.loads(ask(server, "/api/stock/tea").body) == {"found": 12, "root_path": "/api"}
    assert ask(server, "/api/stock/gold").status == 404
    admin = ask(server, "/admin/users")
    assert b'href="/admin/users"' in admin.body
    assert admin.get("Cache-Control") == "no-store"
    assert ask(server, "/health").body == b"ok\n"
    moved = ask(server, "/x?y=1", "www.localhost:8000")
    assert moved.get("Location") == "http://localhost:8000/x?y=1"
    server.wait_out("GET /admin/users")
    assert "/api" not in server.out


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: apt-get install chromium")
def test_in_a_browser(server: Server) -> None:
    """The page reads its path, asks the API, talks to it by WebSocket, and leads to WSGI."""
    with Browser() as browser:
        page = browser.page(f"{server.url}/some/where")
        page.wait("document.querySelector('#page')?.textContent === 'Page /some/where'")
        page.wait("document.querySelectorAll('#stock li').length === 3")
        page.wait("document.querySelector('#live')?.textContent === 'live tea: 12'")
        assert page.run("getComputedStyle(document.body).fontFamily") == "sans-serif"
        page.run("document.querySelector('a').click()")
        page.wait("document.title === 'Administration'")
        page.run("document.querySelector('a').click()")
        page.wait("location.pathname === '/admin/users'")
        page.run("history.go(-2)")
        page.wait("location.pathname === '/some/where'")


def test_check_config_names_every_mistake(tmp_path: Path) -> None:
    """File, line and key of each, also inside sites; exit status 2, and nothing is imported."""
    folder = tmp_path / "sites"
    shutil.copytree(FOLDER, folder)
    text = (folder / "nogilserve.toml").read_text()
    broken = text.replace('"64KiB"', '"64 bits"').replace('"10s"', '"soon"')
    (folder / "nogilserve.toml").write_text(broken.replace("exact = true", "exactly = true"))
    done = check(folder)
    assert done.returncode == 2
    for key in ("timeout", "limit-request-body"):
        line = next(i for i, row in enumerate(broken.split("\n"), 1) if row.startswith(key))
        assert f"nogilserve.toml, line {line}, key {key}" in done.stderr
    assert "did you mean exact?" in done.stderr
    assert "there are 3 mistakes" in done.stderr
    (folder / "nogilserve.toml").write_text(text)
    done = check(folder)
    assert done.returncode == 0, done.stderr
    assert "The configuration is valid" in done.stdout


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    """`nogilserve --check-config` there."""
    return subprocess.run(
        [sys.executable, "-m", "nogilserve", "--check-config"],
        cwd=folder,
        env={"PATH": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
