"""docs/static.md: its examples run, and its figures are those of the code."""

import gzip
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from nogilserve.config.options import OPTIONS
from nogilserve.gateways.static import caching, ranges, site
from tests.support.server import Server

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "static.md").read_text()

APP = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"application"]
"""


def block(kind: str, number: int = 0) -> str:
    """One of the page's examples in this language."""
    found: list[str] = re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    return found[number]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An application with two directories of files."""
    (tmp_path / "main.py").write_text(APP)
    for name in ("public/css", "uploads"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "public/css/site.css").write_text("body{}")
    (tmp_path / "uploads/cat.jpg").write_bytes(b"cat")
    return tmp_path


def test_configuration_file_does_what_the_command_does(
    project: Path, serve: Callable[..., Server]
) -> None:
    """Both ways to serve two directories."""
    words = block("sh", 1).split()
    assert words[:2] == ["nogilserve", "main:app"]
    by_command = serve("main:app", *words[2:], cwd=project)
    (project / "nogilserve.toml").write_text(block("toml"))
    by_file = serve("main:app", cwd=project)
    for server in (by_command, by_file):
        with server.connect() as client:
            assert client.get("/static/css/site.css").body == b"body{}"
            assert client.get("/media/cat.jpg").get("Content-Type") == "image/jpeg"
            assert client.get("/").body == b"application"
            listed = client.get("/media/").status
            assert listed == (200 if server is by_file else 404)


@pytest.mark.skipif(shutil.which("gzip") is None, reason="gzip is not installed")
def test_siblings_are_made_as_the_page_says(project: Path, serve: Callable[..., Server]) -> None:
    """The command finds what is worth it, and what it makes is served."""
    (project / "public").rename(project / "dist")
    command = next(line for line in block("sh", 3).splitlines() if line.startswith("find"))
    subprocess.run(["sh", "-c", command], cwd=project, check=True)
    server = serve("main:app", "--static-path", "dist", cwd=project)
    with server.connect() as client:
        answer = client.get("/static/css/site.css", Accept_Encoding="gzip")
        assert answer.get("Content-Encoding") == "gzip"
        assert gzip.decompress(answer.body) == b"body{}"


def test_figures_and_options() -> None:
    """Bounds, times and the names of options."""
    assert f"more than {ranges.MOST} ranges" in PAGE
    assert f"more than {ranges._LONGEST} characters" in PAGE
    assert f"less than {ranges._CLOSE} bytes apart" in PAGE.replace("\n", " ")
    assert caching.IMMUTABLE in PAGE
    assert site._STALE_NS == 2 * 10**9
    assert "more than two seconds older" in PAGE
    lengths = re.search(r"then ([\d, ]+) or (64)\s+hexadecimal", PAGE.replace("\n", " "))
    assert lengths is not None
    stated = {int(number) for number in re.findall(r"\d+", lengths[0])}
    assert stated == {int(number) for number in re.findall(r"\{(\d+)\}", caching._HASH.pattern)}
    named = set(re.findall(r"--(?:no-)?(static-[a-z]+)", PAGE))
    assert named == {option.name for option in OPTIONS if option.name.startswith("static-")}
