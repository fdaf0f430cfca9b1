"""Applications on disk, and what the doctor says of them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

WSGI = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"app"]
"""


def doctor(folder: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run `nogilserve doctor …` in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **variables}
    if "PYTHON_GIL" not in variables:
        environment.pop("PYTHON_GIL", None)
    return subprocess.run(
        [sys.executable, "-m", "nogilserve", "doctor", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def diagnosis(folder: Path, text: str, *arguments: str, **variables: str) -> dict[str, Any]:
    """What it says of an application, "main.py" with this text: its JSON, and "status"."""
    (folder / "main.py").write_text(text)
    ended = doctor(folder, "main:app", "--json", *arguments, **variables)
    assert ended.stdout, ended.stderr
    report: dict[str, Any] = json.loads(ended.stdout)
    return report | {"status": ended.returncode}
