"""docs/migrating.md and README.md send nobody to options or pages that are not there."""

import re
from pathlib import Path

import pytest

from nogilserve.caddyfile.flags import _SHORT, _SWITCHES, _VALUED
from nogilserve.config.options import OPTIONS
from nogilserve.config.peers import not_here

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))

OURS = {flag for option in OPTIONS for flag in option.flags}
OURS |= {f"--no-{name}" for option in OPTIONS for name in option.names}
PYTHON_SERVER = {*_SHORT, *_SWITCHES, *_VALUED}
"""What `nogilserve python-server` takes, as Caddy Snake's command of that name does."""


def rows() -> list[tuple[str, str]]:
    """The cells of the tables: another server's options, and what they are here."""
    text = (ROOT / "docs" / "migrating.md").read_text()
    found = [line.split(" | ") for line in text.splitlines() if line.startswith("| `-")]
    return [(row[0], row[1]) for row in found]


def options_in(cell: str) -> list[str]:
    """The options named in a cell, `--ssl-…` as an example of such an option."""
    found = re.findall(r"`(--?[a-zA-Z][\w…-]*)`", cell)
    return [name.replace("_", "-").replace("-…", "-x").rstrip("…") for name in found]


def test_the_other_servers_options_are_taken_or_answered() -> None:
    """Whatever the page lists is an option here, or gets a sentence of its own."""
    named = [option for row in rows() for option in options_in(row[0])]
    assert len(named) > 60
    assert [name for name in named if not answered(name)] == []


def answered(name: str) -> bool:
    """Whether somebody who types that option is served, or told what to do."""
    return name in OURS | PYTHON_SERVER or bool(not_here(name))


def test_what_is_recommended_exists() -> None:
    """The options named as what to use are options of this server."""
    named = [option for row in rows() for option in options_in(row[1])]
    assert len(named) > 5
    assert [name for name in named if name not in OURS] == []


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "examples" / "README.md", *DOCS])
def test_links_lead_to_files(page: Path) -> None:
    """Every relative link names a file of the repository, and a heading that is in it."""
    text = re.sub(r"`[^`]*`", "", page.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, heading = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert heading in slugs, target


def test_readme_links_every_page() -> None:
    """A page that the README does not name would not be found."""
    text = (ROOT / "README.md").read_text()
    assert [page.name for page in DOCS if f"(docs/{page.name})" not in text] == []
