"""docs/automatic-https.md: its commands are valid, and its figures are those of the code."""

import re
import shlex
from pathlib import Path

import pytest

from nogilserve.config import load
from nogilserve.config.options import OPTIONS
from nogilserve.tls import managed
from nogilserve.tls.acme import jobs, keeper, permission, timing

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "automatic-https.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("nogilserve main:app")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_command_is_valid(command: str, tmp_path: Path) -> None:
    """Each is taken as it stands, and switches automatic HTTPS on."""
    words = shlex.split(command)[1:]
    config = load(words, {}, tmp_path)
    assert config.automatic_https
    assert config.encrypted


def test_addresses_are_those_of_the_page(tmp_path: Path) -> None:
    """443 and 80 unless told otherwise."""
    config = load(["main:app", "--domain", "example.com"], {}, tmp_path)
    assert [(str(bind), bind.role) for bind in config.all_binds] == [
        (":443", "tls"),
        (":80", "redirect"),
    ]
    other = load(["main:app", "--domain", "example.com", "--bind", ":8443"], {}, tmp_path)
    assert [(str(bind), bind.role) for bind in other.all_binds] == [(":8443", "tls")]


def test_options_exist() -> None:
    """Every option that the page names."""
    known = {f"--{name}" for option in OPTIONS for name in option.names} | {"--no-master"}
    named = set(re.findall(r"`(--[a-z-]+)", PAGE)) - {"--acme-"}
    assert named <= known


def test_figures_are_those_of_the_code() -> None:
    """Delays, limits, shares."""
    assert pytest.approx(2 / 3) == timing._SHARE
    assert (timing._UNREACHED, timing._UNREACHED_MOST) == (2, 30 * 60)
    assert (timing._REFUSED, timing._REFUSED_MOST) == (120, 6 * 3600)
    assert f"the lock ends after {jobs._TERM:.0f} seconds" in PAGE
    assert f"At most {keeper._WAITING} names" in " ".join(PAGE.split())
    assert keeper._WAITING == managed._AT_ONCE
    assert f"wait, {keeper._AT_ONCE} are worked on at a time" in " ".join(PAGE.split())
    assert permission._REMEMBERED == 30
