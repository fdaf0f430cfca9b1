"""The options of static files: what they take, and what is refused before anything is bound."""

from pathlib import Path

import pytest

from nogilserve.config import Config, load
from nogilserve.config.kinds import Kind
from nogilserve.config.loading import to_argv
from nogilserve.config.peers import not_here
from nogilserve.config.routes import CACHE_CONTROL, ROUTE, ROUTED_FOLDER
from nogilserve.errors import ConfigError


def load_in(folder: Path, *argv: str) -> Config:
    """The settings of a command line given in `folder`."""
    return load(["main:app", *argv], {}, folder)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (ROUTED_FOLDER, "public", ("", "public")),
        (ROUTED_FOLDER, "/srv/files", ("", "/srv/files")),
        (ROUTED_FOLDER, "/static=public", ("/static", "public")),
        (ROUTED_FOLDER, "/=dist", ("/", "dist")),
        (ROUTED_FOLDER, "/a/=/srv/x=y", ("/a", "/srv/x=y")),
        (ROUTED_FOLDER, "a=b", ("", "a=b")),
        (ROUTE, "/", "/"),
        (ROUTE, "/static/", "/static"),
        (ROUTE, "/ä b", "/ä b"),
        (CACHE_CONTROL, "public, max-age=60", "public, max-age=60"),
        (CACHE_CONTROL, "none", "none"),
        (CACHE_CONTROL, "off", "none"),
    ],
)
def test_value_is_read_and_shown(kind: Kind[object], text: str, value: object) -> None:
    """What is shown is read as the same value again."""
    assert kind.parse(text) == value
    assert kind.parse(kind.show(kind.parse(text))) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *((ROUTE, text) for text in ("static", "/a//b", "/a/../b", "/a?b", "/a%20b")),
        *((ROUTED_FOLDER, text) for text in ("", "/a=", "/a//b=c", "a\0b")),
        *((CACHE_CONTROL, text) for text in ("", " ", "a\r\nX: y", "max-age=60 ", "ä")),
    ],
)
def test_value_is_refused(kind: Kind[object], text: str) -> None:
    """Nothing that could not be meant, and nothing that would split a response."""
    with pytest.raises(ValueError, match=r"^"):
        kind.parse(text)


def test_directories_are_checked(tmp_path: Path) -> None:
    """One that is missing, and two at one route, are mistakes of the configuration."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    config = load_in(tmp_path, "--static-path", "a", "--static-path", "/b=b")
    assert config.static_paths == (("", "a"), ("/b", "b"))
    assert load(to_argv(config), {}, tmp_path) == config
    with pytest.raises(ConfigError, match=r"--static-path: 'c' .* is not a directory"):
        load_in(tmp_path, "--static-path", "c")
    for both in (("a", "b"), ("a", "/static=b"), ("/static/=a", "b")):
        with pytest.raises(ConfigError, match="are both at /static"):
            load_in(tmp_path, *(f"--static-path={each}" for each in both))


def test_file_may_name_them(tmp_path: Path) -> None:
    """In TOML they are a list."""
    (tmp_path / "a").mkdir()
    (tmp_path / "nogilserve.toml").write_text('static-path = ["/x=a"]\nstatic-listing = true\n')
    config = load_in(tmp_path)
    assert config.static_paths == (("/x", "a"),)
    assert config.static_listing


@pytest.mark.parametrize("name", ["static-path-mount", "static-path-expires", "static-map"])
def test_other_servers_options_are_answered(name: str) -> None:
    """Granian's and uWSGI's say what they are here."""
    assert "here that is --static-" in not_here("--" + name)
