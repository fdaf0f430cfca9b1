"""[[site]] tables: what they become, and what is said about every mistake."""

import json
import tomllib
from copy import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nogilserve.config import Config, Site, all_sites, resolve, settings_document
from nogilserve.config.tomllines import lines_of
from nogilserve.errors import ConfigError
from nogilserve.supervise.spec import config_of, plain


def read(folder: Path, text: str, *argv: str) -> Config:
    """The configuration that a nogilserve.toml gives."""
    (folder / "nogilserve.toml").write_text(text, encoding="utf-8")
    return resolve(argv, {}, folder, 2).config


def mistakes(folder: Path, text: str, *argv: str) -> list[str]:
    """What is said to be wrong, without the folder."""
    with pytest.raises(ConfigError) as raised:
        read(folder, text, *argv)
    lines = str(raised.value).replace(f"{folder}/", "").splitlines()
    return [line.strip() for line in (lines[1:] if len(lines) > 1 else lines)]


def test_routes_become_rows(tmp_path: Path) -> None:
    """Hosts, paths and settings come from the site; what is served does not."""
    config = read(
        tmp_path,
        """
        timeout = 5
        [[site]]
        hosts = ["Example.COM", "*.bücher.de"]
        app = "main:app"
        compress = "gzip"
        timeout = 9
        factory = true
        [[site.route]]
        path = ["/a", "/b/"]
        app = "api:app"
        timeout = 1
        [[site.route.route]]
        path = "/c"
        redirect = "/elsewhere"
        """,
    )
    hosts = ("example.com", "*.xn--bcher-kva.de")
    assert [(row.hosts, row.path, row.app, row.name) for row in config.sites] == [
        (hosts, "/", "main:app", "example.com"),
        (hosts, "/a", "api:app", "example.com/a"),
        (hosts, "/b", "api:app", "example.com/b"),
        (hosts, "/a/c", "", "example.com/a/c"),
        (hosts, "/b/c", "", "example.com/b/c"),
    ]
    whole, below = config.sites[0].config(config), config.sites[1].config(config)
    assert (whole.timeout, whole.compress, whole.factory) == (9, "gzip", True)
    assert (below.timeout, below.compress, below.factory) == (1, "gzip", False)
    assert config.timeout == 5


def test_mounts_are_sites(tmp_path: Path) -> None:
    """On the command line, at the top of the file, in a site, as a list or as a table."""
    config = read(
        tmp_path,
        'mount = ["/x=x:app"]\n[[site]]\nhosts = "a.test"\npath = "/p"\n'
        'mount = {"/api" = "api:app"}\n',
    )
    assert [(row.hosts, row.path, row.app) for row in all_sites(config)] == [
        (("a.test",), "/p/api", "api:app"),
        ((), "/x", "x:app"),
    ]
    config = read(tmp_path, "", "main:app", "--mount", "/api/=api:app", "--mount=/b=b:app")
    assert [(row.path, row.app) for row in all_sites(config)] == [
        ("/api", "api:app"),
        ("/b", "b:app"),
    ]


def test_files_alone_are_at_the_path_of_the_site(tmp_path: Path) -> None:
    """Beside an application they are below --static-route, as everywhere."""
    alone, beside = read(
        tmp_path,
        '[[site]]\nhosts="a"\nstatic-path="."\n[[site]]\nhosts="b"\nstatic-path="."\napp="m:a"',
    ).sites
    assert dict(alone.settings)["static_route"] == "/"
    assert "static_route" not in dict(beside.settings)


def test_sites_survive_the_way_to_a_generation(tmp_path: Path) -> None:
    """As JSON and back."""
    config = read(
        tmp_path,
        '[[site]]\nhosts=["a"]\nrespond=""\ntimeout-route=["/x=5"]\n[[site]]\nmount={"/m"="m:a"}\n',
    )
    assert config_of(json.loads(json.dumps(plain(config)))).sites == config.sites


def test_every_mistake_is_named_with_its_line(tmp_path: Path) -> None:
    """All at once, at the top level and in sites, with the key and what is allowed."""
    text = """threads = "many"
[[site]]
hosts = ["a.test:80", "x.*.test", "straße.de"]
apps = "main:app"
app = "main:app"
redirect = "/x y"

[[site]]
hosts = ["b.test"]

[[site.route]]
path = "api"
app = "main:app"
respond = "two"
compress = true

[[site]]
hosts = ["c.test"]
static-path = "nowhere"
header = ["Content-Length: 3"]
"""
    found = mistakes(tmp_path, text)
    for line, wanted in [
        (1, "--threads: 'many'"),
        (3, "ports are not compared: write a.test"),
        (3, "only the first label may be *"),
        (3, "beginning with xn--"),
        (4, "did you mean app?"),
        (6, "redirect: '/x y'"),
        (12, "'api'"),
        (15, "--compress: true"),
        (20, "the server's own"),
    ]:
        assert any(f"line {line}" in text and wanted in text for text in found), (wanted, found)
    assert len(found) == 10


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("site = 3", "write [[site]]"),
        ("[site]\nhosts = ['a']", "write [[site]]"),
        ("site = [3]", "write [[site]]"),
        ("[[site]]\nhosts = ['a']", "line 1: the site serves nothing"),
        ("[[site]]\napp='a:b'\n[[site.route]]\npath='/x'", "line 3: the route serves nothing"),
        ("[[site]]\napp='a:b'\nroute=3", "write [[site.route]]"),
        ("[[site]]\napp='a:b'\nredirect='/x'", "app and redirect; only one"),
        ("[[site]]\napp='a:b'\n[[site.route]]\nhosts='x'\napp='a:b'", "hosts belong to the"),
        ("[[site]]\napp='a:b'\n[[site]]\napp='a:b'", "/ of any host is served already"),
        ("[[site]]\nhosts='x'\napp='a:b'\n[[site]]\nhosts=['y','x']\napp='a:b'", "x/ is served"),
        ("app='m:a'\n[[site]]\napp='a:b'", "/ of any host is served already"),
        ("mount=['/x=m:a']\n[[site]]\npath='/x'\napp='a:b'", "/x of any host is served already"),
        ("[[site]]\nredirect='{nothing}'", "there is no placeholder {nothing}"),
        ("[[site]]\nredirect='example.com'", "write https://example.com"),
        ("[[site]]\nrespond='x'\nrespond-status=99", "from 200 to 599"),
        ("[[site]]\napp='a:b'\nthreads=3", "line 3, key threads is a setting of the whole server"),
        ("[[sites]]\nrespond='x'", "did you mean [[site]]?"),
        ("[[site]]\nhosts='http://x'\napp='a:b'", "write the name alone"),
        ("[[site]]\nhosts='straße.de'\napp='a:b'", "beginning with xn--"),
        ("[[site]]\nhosts='[::g]'\napp='a:b'", "IPv6"),
        ("[[site]]\napp='a:b'\nprefix='cut'", "mount, keep, strip"),
        ("[[site]]\nstatic-path='nowhere'", "is not a directory"),
    ],
)
def test_single_mistakes(tmp_path: Path, text: str, wanted: str) -> None:
    """One sentence that says what to write."""
    found = mistakes(tmp_path, text)
    assert len(found) == 1, found
    assert wanted in found[0]
    assert "nogilserve.toml" in found[0] or "--mount" in found[0]


def test_print_config_shows_sites(tmp_path: Path) -> None:
    """What it prints gives the same sites again."""
    config = read(
        tmp_path,
        """
        [[site]]
        hosts = ["a.test", "*.a.test"]
        app = "m:a"
        timeout = 5
        header = ["X-A: 1"]
        [[site.route]]
        path = ["/x", "/y"]
        prefix = "strip"
        app = "n:a"
        factory = true
        [[site.route]]
        path = "/r"
        exact = true
        redirect = "/{rest}"
        redirect-status = 301
        [[site]]
        respond = ""
        respond-status = 204
        """,
    )
    document = settings_document(resolve([], {}, tmp_path, 2))
    again = tmp_path / "again"
    again.mkdir()
    shown = read(again, document)

    def plainly(row: Site) -> Site:
        return replace(row, origin="", settings=tuple(sorted(row.settings)))

    assert list(map(plainly, shown.sites)) == list(map(plainly, config.sites))


def test_lines_in_pyproject(tmp_path: Path) -> None:
    """The table of another file has its own lines."""
    (tmp_path / "pyproject.toml").write_text(
        "[project]\nname='x'\n[tool.nogilserve]\nthreads = 0\n[[tool.nogilserve.site]]\napp = 3\n"
    )
    with pytest.raises(ConfigError) as raised:
        resolve([], {}, tmp_path, 2)
    assert "line 4, key threads" in str(raised.value)
    assert "line 6, key app" in str(raised.value)


def test_own_process() -> None:
    """A template or a setting that a process has once asks for another process."""
    assert Site(settings=(("app", "{host.labels.2}:app"),)).own_process
    assert Site(settings=(("app", "m:a"), ("venv", "v"))).own_process
    assert not Site(settings=(("app", "m:a"), ("timeout", 3))).own_process


KEYS = st.sampled_from(["a", "b-c", '"d.e"', "'f'", '"\\u00e9"'])
LEAVES = st.sampled_from(
    ["1", "true", '"x # y]"', "'z\\'", "1979-05-27 07:32:00", '"""\nm\n"q"\n"""', "'''\n]\n'''"]
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[ # c]\n" + ",\n".join(items) + "]"),
        st.dictionaries(KEYS, inner, max_size=2).map(
            lambda table: "{" + ", ".join(f"{k} = {v}" for k, v in table.items()) + "}"
        ),
    ),
    max_leaves=5,
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=3).map(
    lambda table: "".join(f"{k} = {v} # c\n" for k, v in table.items())
)


@given(TABLES, st.lists(st.tuples(st.sampled_from(["[[s]]", "[[s.r]]"]), TABLES), max_size=4))
def test_lines_cover_the_document(top: str, tables: list[tuple[str, str]]) -> None:
    """Every key and element of a document has a line, and on a key's line its name stands."""
    text = top + "[[s]]\n" + "".join(f"{head}\n{body}" for head, body in tables)
    lines = lines_of(text)
    rows = text.split("\n")

    def check(value: Any, place: tuple[Any, ...]) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                if not isinstance(inner, list) or not inner or not isinstance(inner[0], dict):
                    assert (*place, key) in lines, (place, key, text)
                    name = "u00e9" if key == "é" else key
                    assert name in rows[lines[*place, key] - 1]
                check(inner, (*place, key))
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                assert (*place, index) in lines, (place, index, text)
                check(inner, (*place, index))

    check(tomllib.loads(text), ())
