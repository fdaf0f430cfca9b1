"""docs/tenants.md: its example runs as it is written, and its figures are those of the code."""

import os
import re
import runpy
import shutil
from pathlib import Path

import pytest

from nogilserve.config import Config, load
from nogilserve.config.options import OPTIONS
from nogilserve.config.templates import Template, values_of
from nogilserve.sites.tenants.table import Rules
from tests.support.server import ROOT, Server

PAGE = (ROOT / "docs" / "tenants.md").read_text()
EXAMPLE = ROOT / "examples" / "tenants"


def lines(number: int) -> list[str]:
    """The commands of one of the page's examples."""
    found: list[str] = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    return found[number].splitlines()


@pytest.mark.skipif(os.name != "posix", reason="sockets are passed as on POSIX")
def test_the_example(tmp_path: Path) -> None:
    """Two tenants with different versions of a package, and a broken one."""
    shutil.copytree(EXAMPLE, tmp_path / "tenants", ignore=shutil.ignore_patterns(".venv"))
    runpy.run_path(str(tmp_path / "tenants" / "make_environments.py"))["main"]()
    words = lines(1)[2].replace("'", "").split()
    assert words[0] == "nogilserve"
    with Server(words[1], *words[2:], cwd=tmp_path / "tenants") as server:
        with server.connect(timeout=20) as client:
            shop = client.get("/", Host="shop.localhost")
            assert shop.body == b"Good day, customer! (greetings 1.0)\nopen from 9 to 5\n"
            blog = client.get("/", Host="blog.localhost")
            assert blog.body == b"Hi there, reader! (greetings 2.0)\n"
            assert client.get("/", Host="broken.localhost").status == 503


def test_placeholders() -> None:
    """The table of placeholders is right, and so are Caddy's names for them."""
    table = re.findall(r"^\| (`\{.*?) \| (.*?)\s*(?:\||:)", PAGE, re.MULTILINE)
    assert len(table) == 3
    for names, shown in table:
        values = re.findall("`(.*?)`", shown)
        for name, value in zip(re.findall("`(.*?)`", names), values, strict=True):
            canonical = Template.of(name).names
            assert values_of(canonical, "shop.example.com", "/en/cart") == (value,)
    caddy = re.search(r"^(.*), as Caddy spells them", PAGE, re.MULTILINE)
    assert caddy is not None
    for name in re.findall("`(.*?)`", caddy[1]):
        assert Template.of(name).names, name


def test_commands_and_options(tmp_path: Path) -> None:
    """Every command is understood, and every option there is one."""
    for number in (0, 2):
        for line in lines(number):
            words = line.replace("'", "").split()
            load(words[1:], {}, tmp_path)
    known = {f"--{name}" for option in OPTIONS for name in option.names}
    known |= {"--no-master"}
    for flag in re.findall(r"`(--[a-z-]+)", PAGE):
        assert flag in known, flag


def test_sites(tmp_path: Path) -> None:
    """The example of a configuration file is one."""
    found = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    (tmp_path / "nogilserve.toml").write_text(found[1])
    config = load([], {}, tmp_path)
    assert [site.own_process for site in config.sites] == [True, True, False]


def test_figures() -> None:
    """The defaults are those of the code."""
    config, rules = Config(), Rules()
    assert config.tenant_idle == rules.idle == 30 * 60
    assert "`--tenant-idle` (30 minutes)" in PAGE
    assert config.max_tenants == rules.most == 128
    assert "`--max-tenants` (128)" in PAGE
    assert rules.remember == 5
    assert "not tried again for 5 s" in PAGE
