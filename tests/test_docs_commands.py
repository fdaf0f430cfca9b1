"""Every command that the documentation shows exists, with the options it is shown with."""

import re
import shlex
from pathlib import Path

import pytest

from nogilserve.config import COMMANDS, resolve
from nogilserve.config.sources import from_argv
from nogilserve.errors import ConfigError
from tests.support.server import ROOT

PAGES = [ROOT / "README.md", ROOT / "examples/README.md", *sorted((ROOT / "docs").glob("*.md"))]
OTHER_COMMANDS = {"certs", "doctor", "import-caddyfile", "init", "python-server", "stress", "trust"}
"""Commands with options of their own; their pages are tested by what they say."""

MISSING = re.compile(r"is not a (directory|file)|cannot (be )?(read|used)|no such")
"""What is said of files that an example names; whether they are there is another matter."""


def commands(page: Path) -> list[str]:
    """Lines of a page's examples that call nogilserve or ./dev, continued ones as one."""
    text = page.read_text()
    fenced = re.findall(r"```(?:sh|console|)\n(.*?)```", text, re.DOTALL)
    indented = re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)
    lines = "\n".join(fenced + indented).replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        words = line.strip().removeprefix("$ ").removeprefix("sudo ")
        words = re.sub(r"^(?:[A-Z_]+=\S* )+", "", words)
        words = re.sub(r"^\S*/dev run ", "", words)
        words = re.sub(r"^(?:\S*/)?python3\S* -m nogilserve", "nogilserve", words)
        words = re.sub(r"\s+(?:#|&&|\||>|&$|;).*$", "", words)
        if re.match(r"(?:\S*/)?nogilserve(?: (?!\d)|$)|(?:\S*/)?dev ", words):
            found.append(words)
    return found


def objection(command: str) -> str:
    """What is wrong with a command of the documentation, "" for nothing."""
    program, *words = shlex.split(command)
    if program.endswith("dev"):
        usage = (ROOT / "dev").read_text()
        return "" if re.search(rf"^  {re.escape(words[0])}\b", usage, re.MULTILINE) else "unknown"
    if (words and words[0] in OTHER_COMMANDS) or words[:1] == ["python"]:
        return ""
    if words and words[0] in COMMANDS:
        words = words[1:]
    if any("…" in word or word.startswith("[") for word in words):
        return ""  # it says how a command looks
    try:
        from_argv(words)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands(page: Path) -> None:
    """A reader who types them gets no "unknown option"."""
    wrong = [f"{line}: {why}" for line in commands(page) if (why := objection(line))]
    assert wrong == []


def test_the_test() -> None:
    """It does find commands, and objects to wrong ones."""
    assert sum(len(commands(page)) for page in PAGES) > 45
    assert "unknown option" in objection("nogilserve main:app --tls-unknown")
    assert objection("./dev nothing-of-the-kind") == "unknown"
    assert objection("./dev test --all") == ""


def test_configuration_files(tmp_path: Path) -> None:
    """Every example of a configuration file that stands by itself is read without an objection."""
    seen = 0
    for page in PAGES:
        for number, text in enumerate(
            re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)
        ):
            folder = tmp_path / f"{page.stem}-{number}"
            folder.mkdir()
            for name in re.findall(r'"(?:/[\w/-]*=)?([\w-]+)/?"', text):
                (folder / name).mkdir(exist_ok=True)
            (folder / "nogilserve.toml").write_text(text)
            try:
                resolve([], {}, folder)
            except ConfigError as error:
                # Whether files and directories are there is another matter.
                if not re.search(
                    r"is not a (directory|file)|cannot (be )?(read|used)|no such", str(error)
                ):
                    pytest.fail(f"{page.name}: {error}\n{text}")
            seen += 1
    assert seen > 1
