"""`--reload`: a changed file starts the next generation; a failure is shown in the browser."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server import Server
from tests.support.waiting import wait_until

pytest.importorskip("watchfiles")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="makes links")

SECONDS = 30.0
APP = """
def app(environ, start_response):
    body = {version!r}.encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

Start = Callable[..., Server]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with main.py, version "one"."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "main.py").write_text(APP.format(version="one"))
    return folder


def ask(server: Server, target: str = "/", accept: str = "") -> tuple[int, str]:
    """Status and body on a new connection."""
    with server.connect(timeout=SECONDS) as client:
        response = client.get(target, Accept=accept or "*/*")
        return response.status, response.body.decode()


def test_change_is_served(serve: Start, project: Path) -> None:
    """Within a moment of the change, on the same address; idle connections see it too."""
    server = serve("main:app", "--reload", cwd=project)
    with server.connect() as idle:
        assert idle.get("/").body == b"one"
        (project / "main.py").write_text(APP.format(version="two"))
        server.wait_log(r"Starting generation 2: main\.py changed", SECONDS)
        idle.wait_closed()
    server.wait_log("Generation 2 has taken over", SECONDS)
    assert ask(server) == (200, "two")


def test_failure_is_shown_until_it_is_repaired(serve: Start, project: Path) -> None:
    """A page for browsers, text for others, 503 for all; the next good change is served."""
    server = serve("main:app", "--reload", cwd=project)
    (project / "main.py").write_text("import nothing_like <that>\n")
    server.wait_log("Generation 3 says why, until the next change", SECONDS)
    wait_until(lambda: ask(server)[0] == 503, SECONDS)
    status, page = ask(server, accept="text/html,*/*;q=0.8")
    assert status == 503
    assert "<h1>The application cannot be started</h1>" in page
    assert "import nothing_like &lt;that&gt;" in page
    assert "SyntaxError" in page
    status, text = ask(server, "/any/where")
    assert status == 503
    assert text.startswith("The application cannot be started: importing 'main' failed: Syntax")
    assert "import nothing_like <that>" in text
    mark = re.search(r'const mark = "(\w+)"', page)
    assert mark
    assert ask(server, "/.nogilserve/still-broken") == (503, mark[1])
    (project / "main.py").write_text(APP.format(version="three"))
    server.wait_log("Generation 4 has taken over", SECONDS)
    assert "Generation 3 serves" not in server.log
    assert "Generation 3 has taken over" not in server.log
    # What makes the page in the browser load anew: another answer.
    assert ask(server, "/.nogilserve/still-broken") == (200, "three")


def test_failure_at_the_start_is_shown(serve: Start, project: Path) -> None:
    """It need not work to begin with."""
    (project / "main.py").write_text("1 / 0\n")
    server = serve("main:app", "--reload", cwd=project)
    status, text = ask(server)
    assert (status, "ZeroDivisionError" in text) == (503, True)
    (project / "main.py").write_text(APP.format(version="one"))
    server.wait_log("Generation 3 has taken over", SECONDS)
    assert ask(server) == (200, "one")


def test_what_is_watched(serve: Start, project: Path) -> None:
    """Python files and what --reload-include names; no environments, no caches, no exclusions."""
    for name in ("venv/lib", ".git", "__pycache__", "node_modules/x", "skipped", "app"):
        (project / name).mkdir(parents=True)
    (project / "venv" / "pyvenv.cfg").touch()
    server = serve(
        *("main:app", "--reload", "--reload-include", "*.html", "--reload-exclude", "skipped"),
        cwd=project,
    )
    for name in ("venv/lib/a.py", ".git/a.py", "__pycache__/a.py", "node_modules/x/a.py"):
        (project / name).write_text("changed")
    for name in ("skipped/a.py", "app/a.txt"):
        (project / name).write_text("changed")
    (project / "app" / "page.html").write_text("changed")
    found = server.wait_log(r"Starting generation 2: (.*)", SECONDS)
    assert found[1] == f"{Path('app') / 'page.html'} changed"


def test_link_that_points_elsewhere(serve: Start, tmp_path: Path) -> None:
    """A release switched by a link is served, and watched from then on."""
    for version in ("one", "two"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "main.py").write_text(APP.format(version=version))
    current = tmp_path / "current"
    current.symlink_to("one")
    server = serve(
        *("main:app", "--reload", "--app-dir", str(current), "--reload-dir", str(current)),
        cwd=tmp_path,
    )
    assert ask(server) == (200, "one")
    new = tmp_path / "new"
    new.symlink_to("two")
    new.replace(current)
    server.wait_log("Starting generation 2: a link points elsewhere", SECONDS)
    server.wait_log("Generation 2 has taken over", SECONDS)
    assert ask(server) == (200, "two")
    wait_until(lambda: len(server.generations()) == 1, SECONDS)
    (tmp_path / "two" / "main.py").write_text(APP.format(version="three"))
    server.wait_log("Generation 3 has taken over", SECONDS)
    assert ask(server) == (200, "three")


def test_watchfiles_is_missing(project: Path) -> None:
    """One sentence says what to install."""
    (project / "watchfiles.py").write_text("raise ImportError")
    server = Server("main:app", "--reload", cwd=project, wait_ready=False)
    assert server.wait() == 2
    assert server.log.startswith("nogilserve: option --reload needs watchfiles: pip install")
