"""Templates: placeholders, and what a host or path may put into them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nogilserve.config import Config, resolve
from nogilserve.config.options.tenants import Tenants
from nogilserve.config.templates import (
    Template,
    check_templates,
    host_matches,
    is_templated,
    plain_host,
    values_of,
)
from nogilserve.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("/srv/apps", ()),
        ("/srv/apps/{host.labels.2}", ("host.labels.2",)),
        ("{labels.02}:app", ("host.labels.2",)),
        ("/x/{http.request.host.labels.1}/{http.request.uri.path.0}", ("host.labels.1", "path.0")),
        ("{host}-{http.request.host}", ("host", "host")),
        ('{"host": 1} {hosts} {} {host.labels}', ()),
    ],
)
def test_placeholders_are_found(text: str, names: tuple[str, ...]) -> None:
    """By all the names they have, and nothing else is taken for one."""
    template = Template.of(text)
    assert template.names == names
    if not names:
        assert template.fill({}) == text


def test_filling() -> None:
    """Every placeholder gets its value."""
    template = Template.of("/srv/{host.labels.2}/x-{path.0}/{host.labels.2}")
    values = {"host.labels.2": "shop", "path.0": "v1"}
    assert template.fill(values) == "/srv/shop/x-v1/shop"


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("shop.example.com", "shop.example.com"),
        ("Shop.Example.COM.:8000", "shop.example.com"),
        ("a_b-c.example.com", "a_b-c.example.com"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("", ""),
        ("..", ""),
        ("a..b", ""),
        ("../etc", ""),
        ("shop.example.com:x", ""),
        ("[::1]:80", ""),
        ("shöp.example.com", ""),
        ("a%2e.example.com", ""),
        ("a" * 64 + ".example.com", ""),
        (".".join(["a" * 60] * 5), ""),
    ],
)
def test_hosts_are_plain_names(authority: str, host: str) -> None:
    """Lower case, without a port and a final dot; anything that is no name is none."""
    assert plain_host(authority) == host


@pytest.mark.parametrize(
    ("names", "host", "path", "values"),
    [
        (("host.labels.2",), "shop.example.com", "/", ("shop",)),
        (("host.labels.2",), "a.shop.example.com", "/", ("shop",)),
        (("host.labels.0", "host"), "shop.example.com", "/", ("com", "shop.example.com")),
        (("host.labels.2",), "example.com", "/", None),
        (("path.0",), "x", "/one/two", ("one",)),
        (("path.1",), "x", "/one/two?three", None),
        (("path.1",), "x", "/one", None),
        (("path.0",), "x", "/", None),
        (("path.0",), "x", "//one", None),
        (("path.0",), "x", "/../etc", None),
        (("path.0",), "x", "/%2e%2e/etc", None),
        (("path.0",), "x", "/One", None),
        (("path.0",), "x", "*", None),
    ],
)
def test_values(
    names: tuple[str, ...], host: str, path: str, values: tuple[str, ...] | None
) -> None:
    """Labels count from the right, segments from the left; what is no name is nobody's."""
    assert values_of(names, host, path) == values


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_value_leads_anywhere(authority: str, path: str) -> None:
    """Whatever a client sends: what comes out is a plain name, or nothing."""
    host = plain_host(authority)
    values = values_of(("host.labels.0", "path.0"), host, path)
    for value in values or ():
        assert value
        assert set(value) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")


def test_host_patterns() -> None:
    """A star stands for one label; without patterns every host will do."""
    patterns = ("*.example.com", "example.org")
    assert host_matches("shop.example.com", patterns)
    assert host_matches("example.org", patterns)
    assert not host_matches("example.com", patterns)
    assert not host_matches("a.shop.example.com", patterns)
    assert not host_matches("shop.example.com.evil.org", patterns)
    assert host_matches("anything", ())
    assert not host_matches("com", ("*.",))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(app="{labels.x}:app"), r"there is no placeholder \{labels\.x\}"),
        (Config(app="{name}:app"), r"there is no placeholder \{name\}"),
        (Config(app="a:app", chdir="/srv/{host}/../x"), "no .. can stand behind"),
        (Config(app="a:app", chdir="/srv/{host}", master=False), "--no-master"),
        (Config(app="a:app", chdir="/srv/{host}", user="x", tenant_user="y"), "--tenant-user"),
        (Config(app="a:app", chdir="/srv/{path.0}", certfiles=("c",)), "cannot tell tenants"),
    ],
)
def test_templates_that_cannot_be(config: Config, message: str) -> None:
    """They are refused when the configuration is read."""
    with pytest.raises(ConfigError, match=message):
        check_templates(config)


def test_what_makes_tenants() -> None:
    """A placeholder in the application, its directory or its environment; not in a variable."""
    assert is_templated(Config(app="{host.labels.2}:app"))
    assert is_templated(Config(app="a:app", chdir="/srv/{host}"))
    assert is_templated(Config(app="a:app", venv="/srv/{host}"))
    assert not is_templated(Config(app="a:app", env=(("FORMAT", "{host} {path.1}"),)))
    check_templates(Config(app="a:create(x={1: 2})"))


def test_there_are_tenants_only_in_their_processes() -> None:
    """The field that says which tenant this is is no option."""
    assert Tenants().tenant is None


def test_a_mistyped_placeholder_is_no_missing_directory(tmp_path: Path) -> None:
    """It is named before the directory is looked for."""
    argv = ["main:app", "--working-dir", "apps/{host.label.1}"]
    with pytest.raises(ConfigError, match=r"there is no placeholder \{host\.label\.1\}"):
        resolve(argv, {}, tmp_path)
