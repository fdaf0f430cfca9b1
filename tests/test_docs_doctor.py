"""docs/doctor.md shows what the doctor really prints, and names what it really gives."""

import json
import re
import sysconfig
from pathlib import Path

import pytest

from tests.doctor.patients import doctor

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "doctor.md").read_text()


def block(language: str) -> str:
    """The code block of a language in the page."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def settled(text: str) -> str:
    """Without numbers, which depend on versions and processors, and without line breaks."""
    return " ".join(re.sub(r"\d+(\.\d+)*", "N", text).replace("cores", "core").split())


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this build has a GIL")
def test_sample_output_is_what_is_printed(tmp_path: Path) -> None:
    """For the application on the page."""
    pytest.importorskip("flask")
    (tmp_path / "shop.py").write_text(block("python"))
    ended = doctor(tmp_path, "shop:app")
    assert ended.returncode == 1, ended.stderr
    assert settled(block("text")) == settled(ended.stdout), ended.stdout


def test_keys_of_the_json_are_those_on_the_page(tmp_path: Path) -> None:
    """All of them, and of extensions and findings too."""
    (tmp_path / "main.py").write_text(
        "cache = {}\ndef app(environ, start_response):\n    cache[1] = 1\n"
    )
    report = json.loads(doctor(tmp_path, "main:app", "--json").stdout)
    named = set(re.findall(r"`(\w+)`", PAGE.partition("prints an object")[2]))
    keys = {*report, *report["findings"][0], *report["python"]} - {*report["python"]}
    assert keys <= named
    assert {"module", "distribution", "version", "classifier", "gil"} <= named
