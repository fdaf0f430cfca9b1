"""Where a tenant lives: its name put into the templates, and nothing outside the fixed folders.

A folder of a tenant is what its name leads to inside the fixed part of the template, links
followed; what stands behind the name has to lie inside that folder. It is looked at anew for
every start.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from nogilserve.config import Config
from nogilserve.config.templates import Template, Tenant
from nogilserve.errors import NogilserveError

__all__ = ["Place", "Unknown", "find_place", "names_in", "tenant_name"]


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


def names_in(config: Config) -> tuple[str, ...]:
    """The placeholders that tell tenants apart, each once, in the order of the options."""
    texts = [config.app, config.chdir, config.app_dir, config.venv, config.python]
    texts += [config.root_path, config.access_log, *config.env_files]
    texts += [*config.certfiles, *config.keyfiles]
    texts += [text for _, text in config.env]
    return tuple(dict.fromkeys(name for text in texts for name in Template.of(text).names))


def tenant_name(tenant: Tenant) -> str:
    """A tenant for people, and for the command line."""
    return "/".join(tenant)


def find_place(config: Config, names: tuple[str, ...], tenant: Tenant, base: str) -> Place:
    """Where `tenant` lives. `names`: of its values; `base`: where relative names start.

    Raises Unknown.
    """
    values = dict(zip(names, tenant, strict=True))
    directory = os.path.realpath(base)
    if config.chdir:
        directory = _inside(config.chdir, values, base)
        if not os.path.isdir(directory):
            raise Unknown(f"there is no directory {directory}")
    app_dir = _inside(config.app_dir, values, directory) if config.app_dir else ""
    venv = _inside(config.venv, values, directory) if config.venv else ""
    if venv and not os.path.isdir(venv) and not Template.of(config.chdir).names:
        raise Unknown(f"there is no virtual environment {venv}")
    app = Template.of(config.app)
    if app.names:
        _require_module(config.app, values, app_dir or directory)
    filled = replace(
        config,
        app=app.fill(values),
        chdir="",
        app_dir=app_dir,
        venv=venv,
        python=Template.of(config.python).fill(values),
        root_path=Template.of(config.root_path).fill(values),
        access_log=_of_server(config.access_log, values, base),
        certfiles=tuple(_of_server(name, values, base) for name in config.certfiles),
        keyfiles=tuple(_of_server(name, values, base) for name in config.keyfiles),
        ca_certs=_of_server(config.ca_certs, values, base),
        storage=_of_server(config.storage, values, base),
        env_files=tuple(_inside(name, values, directory) for name in config.env_files),
        env=tuple((name, Template.of(text).fill(values)) for name, text in config.env),
        tenant=(tenant_name(tenant), names, tenant, config.tenant_hosts),
    )
    return Place(tenant_name(tenant), filled, directory)


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
