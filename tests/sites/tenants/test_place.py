"""Where tenants live: real folders and links."""

from pathlib import Path

import pytest

from nogilserve.config import Config
from nogilserve.config.templates import Identity
from nogilserve.sites.tenants.naming import naming_of
from nogilserve.sites.tenants.place import Unknown, find_place, tenant_name


@pytest.fixture
def srv(tmp_path: Path) -> Path:
    """A folder of tenants: shop and blog, links that stay inside and links that lead out."""
    tmp_path = tmp_path.resolve()
    for name in ("shop", "blog"):
        folder = tmp_path / "apps" / name
        (folder / "releases" / "1").mkdir(parents=True)
        (folder / "releases" / "1" / "main.py").touch()
        (folder / "current").symlink_to("releases/1")
        (folder / "main.py").touch()
    (tmp_path / "apps" / "alias").symlink_to("shop")
    (tmp_path / "apps" / "out").symlink_to(tmp_path)
    (tmp_path / "apps" / "up").symlink_to("..")
    (tmp_path / "apps" / "self").symlink_to(".")
    (tmp_path / "apps" / "blog" / ".venv").symlink_to("../shop/current")
    (tmp_path / "secret").mkdir()
    (tmp_path / "apps" / "blog" / "leak").symlink_to(tmp_path / "secret")
    return tmp_path


def test_placeholders_are_filled_in(srv: Path) -> None:
    """In every setting that may have them."""
    config = Config(
        app="main:app",
        chdir=f"{srv}/apps/{{host.labels.2}}",
        env=(("NAME", "{host}"),),
        root_path="/{host.labels.2}",
        access_log="logs-{host.labels.2}",
        env_files=("settings.env",),
    )
    names = naming_of(config)
    assert names.names == ("host.labels.2", "host")
    place = find_place(config, names, ("shop", "shop.example.com"), "/")
    assert place.name == tenant_name(("shop", "shop.example.com")) == "shop/shop.example.com"
    assert place.directory == f"{srv}/apps/shop"
    assert place.config.chdir == ""
    assert place.config.env == (("NAME", "shop.example.com"),)
    assert place.config.root_path == "/shop"
    assert place.config.access_log == "/logs-shop"
    assert place.config.env_files == (f"{srv}/apps/shop/settings.env",)
    assert place.config.tenant == Identity(place.name, ("shop", "shop.example.com"), names)


@pytest.mark.parametrize(
    ("template", "name", "found"),
    [
        ("{S}/apps/{host.labels.2}", "shop", "apps/shop"),
        ("apps/{host.labels.2}", "shop", "apps/shop"),
        ("{S}/apps/{host.labels.2}/current", "shop", "apps/shop/releases/1"),
        ("{S}/apps/{host.labels.2}", "alias", "apps/shop"),
        ("{S}/app{host.labels.2}", "s", "apps"),
        ("{S}/apps/{host.labels.2}", "nobody", ""),
        ("{S}/apps/{host.labels.2}", "out", ""),
        ("{S}/apps/{host.labels.2}", "up", ""),
        ("{S}/apps/{host.labels.2}", "self", ""),
        ("{S}/apps/{host.labels.2}/leak", "blog", ""),
        ("{S}/apps/{host.labels.2}/.venv", "blog", ""),
    ],
)
def test_links_do_not_lead_out(srv: Path, template: str, name: str, found: str) -> None:
    """A name leads into the fixed folder; what stands behind it stays inside the tenant's own."""
    config = Config(app="main:app", chdir=template.replace("{S}", str(srv)))
    names = naming_of(config)
    if found:
        assert find_place(config, names, (name,), str(srv)).directory == f"{srv}/{found}"
    else:
        with pytest.raises(Unknown):
            find_place(config, names, (name,), str(srv))


@pytest.mark.parametrize(
    ("app", "name", "known"),
    [
        ("{host.labels.2}:app", "one", True),
        ("{host.labels.2}:app", "package", True),
        ("{host.labels.2}:app", "json", False),
        ("{host.labels.2}:app", "antigravity", False),
        ("{host.labels.2}:app", "not-a-name", False),
        ("{host.labels.2}:app", "escaping", False),
        ("package.{host.labels.2}:app", "inner", True),
        ("package.{host.labels.2}:app", "os", False),
        ("{host.labels.2}.py:app", "one", True),
        ("{host.labels.2}.py", "two", False),
        ("main:{host.labels.2}", "one", True),
    ],
)
def test_only_modules_of_the_folder_can_be_asked_for(
    tmp_path: Path, app: str, name: str, known: bool
) -> None:
    """A name from outside never has a module of Python or of a package imported."""
    (tmp_path / "package").mkdir()
    for file in ("main.py", "one.py", "package/__init__.py", "package/inner.py"):
        (tmp_path / file).touch()
    (tmp_path / "escaping.py").symlink_to("/etc/hostname")
    config = Config(app=app, venv="{host.labels.2}" if app == "main:x" else "")
    names = naming_of(config)
    if known:
        assert name in find_place(config, names, (name,), str(tmp_path)).config.app
    else:
        with pytest.raises(Unknown):
            find_place(config, names, (name,), str(tmp_path))


def test_virtual_environments(srv: Path) -> None:
    """Who has none is known all the same, unless only they tell tenants apart."""
    config = Config(app="main:app", chdir=f"{srv}/apps/{{host}}", venv=".venv")
    assert (
        find_place(config, naming_of(config), ("shop",), "/").config.venv
        == f"{srv}/apps/shop/.venv"
    )
    with pytest.raises(Unknown, match="leads out"):
        find_place(config, naming_of(config), ("blog",), "/")
    config = Config(app="main:app", venv=f"{srv}/venvs/{{host}}")
    with pytest.raises(Unknown, match="no virtual environment"):
        find_place(config, naming_of(config), ("shop",), str(srv))
