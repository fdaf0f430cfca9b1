"""Where a tenant lives: its name put into the templates, and nothing outside the fixed folders.

A folder of a tenant is what its name leads to inside the fixed part of the template, links
followed; what stands behind the name has to lie inside that folder. It is looked at anew for
every start.
"""

import os
from collections.abc import Mapping
from copy import replace
from dataclasses import dataclass

from nogilserve.config import Config
from nogilserve.config.site import OWN_PROCESS
from nogilserve.config.templates import Identity, Naming, Template, Tenant
from nogilserve.errors import NogilserveError
from nogilserve.sites.places import settings_of_sites
from nogilserve.sites.tenants.naming import MAIN, Names

__all__ = ["Place", "Unknown", "called", "find_place", "tenant_name"]


class Unknown(NogilserveError):
    """There is no such tenant; says what is missing."""


@dataclass(frozen=True, slots=True)
class Place:
    """A tenant, ready to be started. Immutable."""

    name: str
    config: Config
    """With all placeholders filled in."""
    directory: str
    """Absolute, without links."""


def tenant_name(tenant: Tenant) -> str:
    """A tenant for people, and for the command line."""
    return "/".join(tenant)


def called(config: Config, naming: Naming, tenant: Tenant) -> str:
    """What a tenant is called in the log: by its site, where there are sites."""
    if not naming.rows:
        return tenant_name(tenant)
    if tenant == MAIN:
        return "sites"
    index = Names(naming).row_of(tenant)
    if index < 0:  # of a table that is no more
        return tenant_name(tenant)
    site, _ = settings_of_sites(config)[index]
    return tenant_name((site.name, *tenant[1:]))


def find_place(config: Config, naming: Naming, tenant: Tenant, base: str) -> Place:
    """Where `tenant` lives. `naming`: whose its name is; `base`: where relative names start.

    Raises Unknown.
    """
    name = called(config, naming, tenant)
    if not naming.rows:
        identity = Identity(name, tenant, naming)
        return _find(config, naming.names, tenant, base, identity)
    pairs = settings_of_sites(config)
    if tenant == MAIN:
        kept = replace(
            config,
            env_files=tuple(os.path.join(base, name) for name in config.env_files),
            tenant=Identity(name, tenant, naming),
        )
        return Place(name, kept, os.path.realpath(base))
    index = Names(naming).row_of(tenant)
    if index < 0:
        raise Unknown("its site is no more")
    site, own = pairs[index]
    if "chdir" not in dict(site.settings) and not Template.of(own.chdir).names:
        own = replace(own, chdir="")  # the server's: `base` is there already
    found = _find(
        replace(own, sites=(), mounts=()),
        naming.rows[index].names,
        tenant[1:],
        base,
        Identity(name, tenant, naming),
    )
    # The row alone, with its application: what routes and mounts it is what does so elsewhere.
    filled = tuple(
        (field, getattr(found.config, field))
        for field, _ in site.settings
        if field not in OWN_PROCESS
    )
    alone = replace(found.config, app="", sites=(replace(site, settings=filled),))
    return Place(name, alone, found.directory)


def _find(
    config: Config, names: tuple[str, ...], values: Tenant, base: str, identity: Identity
) -> Place:
    """The same, where placeholders and their values are known."""
    by_name = dict(zip(names, values, strict=True))
    directory = os.path.realpath(base)
    if config.chdir:
        directory = _inside(config.chdir, by_name, base)
        if not os.path.isdir(directory):
            raise Unknown(f"there is no directory {directory}")
    app_dir = _inside(config.app_dir, by_name, directory) if config.app_dir else ""
    venv = _inside(config.venv, by_name, directory) if config.venv else ""
    if venv and not os.path.isdir(venv) and not Template.of(config.chdir).names:
        raise Unknown(f"there is no virtual environment {venv}")
    if Template.of(config.app).names:
        _require_module(config.app, by_name, app_dir or directory)

    def fill(text: str) -> str:
        return Template.of(text).fill(by_name)

    filled = replace(
        config,
        app=fill(config.app),
        chdir="",
        app_dir=app_dir,
        venv=venv,
        python=fill(config.python),
        root_path=fill(config.root_path),
        access_log=_of_server(config.access_log, by_name, base),
        certfiles=tuple(_of_server(name, by_name, base) for name in config.certfiles),
        keyfiles=tuple(_of_server(name, by_name, base) for name in config.keyfiles),
        ca_certs=_of_server(config.ca_certs, by_name, base),
        storage=_of_server(config.storage, by_name, base),
        env_files=tuple(_inside(name, by_name, directory) for name in config.env_files),
        env=tuple((name, fill(text)) for name, text in config.env),
        admin_token="",  # nothing of a tenant
        tenant=identity,
    )
    return Place(identity.name, filled, directory)


def _of_server(text: str, values: Mapping[str, str], base: str) -> str:
    """A file that the server's owner has named, not the tenant: it need not be inside."""
    filled = Template.of(text).fill(values)
    return filled if filled in ("", "-") or "://" in filled else os.path.join(base, filled)


def _inside(text: str, values: Mapping[str, str], base: str) -> str:
    """A path with the values put in, links followed. Raises Unknown where a link leads out."""
    if not Template.of(text).names:
        path = os.path.realpath(os.path.join(base, text))
        if not os.path.isabs(text) and not _is_below(path, os.path.realpath(base), itself=True):
            raise Unknown(f"{text} leads out of {base}")
        return path
    parts = os.path.join(base, text).split(os.sep)
    path, bound = os.sep, ""
    for part in parts:
        template = Template.of(part)
        if template.names and not bound:
            bound = path = os.path.realpath(path)
        path = os.path.join(path, template.fill(values)) if part else path
        if not bound:
            continue
        real = os.path.realpath(path)
        if not _is_below(real, bound):
            raise Unknown(f"{path} leads out of {bound}")
        if template.names:
            bound = real
        path = real
    return path


def _is_below(path: str, folder: str, *, itself: bool = False) -> bool:
    if path == folder:
        return itself
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def _require_module(text: str, values: Mapping[str, str], folder: str) -> None:
    """Whether a module that a name from outside decides about is a file of the tenants' folder.

    Otherwise a request could have any module of Python imported. Raises Unknown.
    """
    file = _file_of(text)
    if file:
        path = _inside(file, values, folder)
        if not os.path.isfile(path):
            raise Unknown(f"there is no file {path}")
        return
    module = Template.of(text).fill(values).partition(":")[0]
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        raise Unknown(f"{module} is no name of a module")
    path = os.path.join(folder, *parts)
    found = path + ".py" if os.path.isfile(path + ".py") else path
    if not os.path.exists(found):
        raise Unknown(f"there is no {path}.py")
    if not _is_below(os.path.realpath(found), os.path.realpath(folder)):
        raise Unknown(f"{found} leads out of {folder}")


def _file_of(text: str) -> str:
    """The file in "path/to/file.py:attribute", "" where a module is named."""
    head, dot_py, tail = text.rpartition(".py")
    return head + dot_py if dot_py and (not tail or tail.startswith(":")) else ""
