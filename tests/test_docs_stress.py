"""docs/stress.md shows what is really found and printed, and names every option."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stress_app.runs import stress

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "stress.md").read_text()


def test_findings_of_the_walk_through(tmp_path: Path) -> None:
    """The races of the application on the page, with the lines that it shows."""
    pytest.importorskip("flask")
    found = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert found
    (tmp_path / "shop.py").write_text(found[1])
    report = stress(
        *(tmp_path, "shop:app", "--seconds", "60", "--findings", "2"), "--seed", "7", "--quiet"
    )
    assert report["status"] == 1, report["said"]
    names = {each["name"] for finding in report["findings"] for each in finding["shared"]}
    assert {"sold", "current_customer"} <= names, report["text"]
    for line in report["text"].splitlines():
        if line.strip().startswith("shop.py:") and "  " in line.strip():
            assert line in PAGE
    for words in ("what they share", "in this order (milliseconds)", "alone (-) and now (+)"):
        assert words in report["text"]
        assert words in PAGE


def test_options_of_the_page_are_those_of_the_command() -> None:
    """Both ways."""
    ended = subprocess.run(
        [sys.executable, "-m", "nogilserve", "stress", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    offered = set(re.findall(r"(--[a-z][a-z-]*)", ended.stdout)) - {"--help", "--threads"}
    named = set(re.findall(r"(--[a-z][a-z-]*)", PAGE))
    assert offered - named <= {"--import-timeout"}
    assert named - offered <= {
        *("--threads", "--app-dir", "--factory", "--env-file", "--loops", "--import-timeout")
    }
