"""docs/sites.md: its examples are valid, and say what is so."""

import re
from pathlib import Path

from nogilserve.config import load, resolve
from nogilserve.config.options.sites import PLACEHOLDERS, SITE_SETTINGS
from nogilserve.config.siteread import SITE_ONLY

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "sites.md").read_text()
MOVING = (ROOT / "docs" / "migrating.md").read_text().partition("\n## Caddy Snake")[2]


def blocks(kind: str, page: str = PAGE) -> list[str]:
    """The examples in this language."""
    return re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL)


def test_command_line_is_one(tmp_path: Path) -> None:
    """`--mount` as it stands there."""
    words = blocks("sh")[0].split()
    assert words[0] == "nogilserve"
    assert load(words[1:], {}, tmp_path, 2).mounts == (("/api", "api.main:app"),)


def test_configuration_is_valid(tmp_path: Path) -> None:
    """Every key of the example exists, and its sites are what the text says."""
    (tmp_path / "front").mkdir()
    (tmp_path / "nogilserve.toml").write_text(blocks("toml")[0])
    config = resolve([], {}, tmp_path, 2).config
    assert [(row.name, row.app) for row in config.sites] == [
        ("www.example.com", ""),
        ("example.com", ""),
        ("example.com/api", "api:app"),
        ("example.com/admin", "admin:app"),
        ("example.com/health", ""),
    ]


def test_keys_and_placeholders_exist() -> None:
    """What the page calls a key or a placeholder is one."""
    for name in PLACEHOLDERS:
        assert f"`{{{name}}}`" in PAGE
    known = {option.name for option in SITE_ONLY} | set(SITE_SETTINGS) | {"mount"}
    table = PAGE.partition("| key | answers with |")[2].partition("\n\n")[0]
    for key in re.findall(r"`([a-z-]+)`", table):
        assert key in known, key


def test_flags_of_python_server_are_all_there() -> None:
    """The table of flags has every flag that is taken."""
    from nogilserve.caddyfile import flags

    for flag in (*flags._VALUED, *flags._SWITCHES):
        assert f"`{flag}" in MOVING, flag


def test_subdirectives_are_all_there() -> None:
    """The table of the Caddyfile has every subdirective of python and the directives of sites."""
    for name in (
        *("module_wsgi", "module_asgi", "module_esgi", "lifespan", "working_dir", "venv"),
        *("python_path", "env_file", "env_var", "workers", "autoreload", "start_timeout"),
        *("runtime", "max_dynamic_apps", "request_body", "isolation", "handle", "handle_path"),
        *("route", "root", "file_server", "encode", "tls", "log", "header", "redir", "respond"),
        *("bind", "on_demand_tls"),
    ):
        assert re.search(rf"\b{name}\b", MOVING), name
