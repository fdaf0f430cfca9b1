"""The programs in docs/programs.md do what the page says."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.server import ROOT

MAIN = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]
"""
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/programs.md").read_text(), re.DOTALL)


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Python in a folder that has a main.py with an application."""
    (folder / "main.py").write_text(MAIN)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_server(tmp_path: Path) -> None:
    """The first program asks its own server."""
    (tmp_path / "program.py").write_text(BLOCKS[0])
    ended = run(tmp_path, "program.py")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+ b'hello'\n", ended.stdout)


def test_pytest(tmp_path: Path) -> None:
    """The fixture works as it is shown."""
    for text in BLOCKS[1:3]:
        name = re.match(r"# (\S+)\n", text)
        assert name is not None
        (tmp_path / name[1]).write_text(text)
    ended = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", ".")
    assert "1 passed" in ended.stdout


def test_serve_is_called_as_shown() -> None:
    """The last program is a whole one; tests/test_embed.py runs its like."""
    compile(BLOCKS[3], "docs/programs.md", "exec")
    assert "nogilserve.serve(app," in BLOCKS[3]
