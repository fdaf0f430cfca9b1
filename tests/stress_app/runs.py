"""Runs `nogilserve stress` as a user does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["EXAMPLES", "ROOT", "stress"]

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


def stress(folder: Path, *arguments: str, timeout: float = 100.0) -> dict[str, Any]:
    """The JSON report, with "status", "text" (the report for people) and "said" (standard error)
    added. `folder` is where it runs."""
    report = folder / "report.json"
    environment = {name: value for name, value in os.environ.items() if "NOGILSERVE" not in name}
    environment["PYTHONPATH"] = str(ROOT)
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    ended = subprocess.run(
        [sys.executable, "-m", "nogilserve", "stress", *arguments, "--json", str(report)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    found: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {}
    return found | {"status": ended.returncode, "text": ended.stdout, "said": ended.stderr}
