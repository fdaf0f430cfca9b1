"""What applications want of their process: here all share one, or each name has one of its own."""

import os
from typing import Any

from nogilserve.caddyfile.document import Table, Translation
from nogilserve.caddyfile.pythonblock import PythonBlock
from nogilserve.caddyfile.scope import Scope

__all__ = ["settle_processes"]

_FILES = ("static-path", "certfile", "keyfile", "access-log")


def settle_processes(pythons: list[tuple[PythonBlock, Table, Scope]], result: Translation) -> None:
    """Put working directories, virtual environments and variables where they belong."""
    templated = [item for item in pythons if item[0].templated]
    if templated:
        if len(pythons) == 1:
            _tenants(*pythons[0], result)
        else:
            for block, _, _ in templated:
                result.lost(
                    block.directive,
                    "an application for each name is a server of its own: write APP, working-dir "
                    "and tenant-host into a nogilserve.toml of its own",
                )
        return
    if not pythons:
        return
    folders = {block.process.get("working-dir", "") for block, _, _ in pythons}
    if len(folders) == 1:
        _move(folders.pop(), result)
    else:
        _import_from(pythons, result)
    for name in ("venv", "python", "env-file"):
        _share(name, pythons, result)
    _share_variables(pythons, result)


def _tenants(block: PythonBlock, table: Table, scope: Scope, result: Translation) -> None:
    """One application with placeholders: what it is for is the whole server's."""
    owner = next((site for site in result.sites if site is table), None)
    if owner is None or scope.path or set(table) & {"route", "static-path"}:
        result.lost(
            block.directive,
            "an application for each name is a server of its own: it cannot have routes or other "
            "sites beside it",
        )
        return
    result.sites.remove(owner)
    if result.sites:
        result.lost(block.directive, "other sites cannot stand beside it: give them a server")
        result.sites.clear()
    hosts = owner.pop("hosts", [])
    owner.pop("prefix", None)
    settings: Table = dict(owner)
    if hosts:
        settings["tenant-host"] = hosts
    result.settings |= settings | block.process


def _move(folder: str, result: Translation) -> None:
    """All of them are to work in one directory. Paths that counted from where Caddy was started
    count from there now."""
    if folder in ("", "."):
        return
    result.settings["working-dir"] = folder

    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(item) for item in value]
        if value == "-" or os.path.isabs(value):
            return value
        if os.path.isabs(folder):
            return os.path.abspath(value)
        return os.path.relpath(value, folder)

    tables = [result.settings, *result.sites]
    while tables:
        table = tables.pop()
        tables += table.get("route", [])
        for name in _FILES:
            if name in table:
                table[name] = moved(table[name])


def _import_from(pythons: list[tuple[PythonBlock, Table, Scope]], result: Translation) -> None:
    """They were to work in several directories: here that is the server's, but each may be
    imported from its own."""
    modules: dict[str, str] = {}
    for block, table, _ in pythons:
        folder = block.process.get("working-dir", "")
        module = block.app.partition(":")[0].partition(".")[0]
        if modules.setdefault(module, folder) != folder:
            result.lost(
                block.directive,
                f"two applications of the same module name {module!r} in different directories "
                "cannot share a process: give one a server of its own",
            )
        if folder not in ("", "."):
            table["app-dir"] = folder
            result.hint(
                block.directive,
                f"it is imported from {folder}; the working directory is the server's",
            )


def _share(name: str, pythons: list[tuple[PythonBlock, Table, Scope]], result: Translation) -> None:
    """A setting that one process has once."""
    for block, _, _ in pythons:
        if name not in block.process:
            continue
        value = block.process[name]
        if result.settings.setdefault(name, value) != value:
            result.lost(
                block.directive,
                f"applications that differ in {name} cannot share a process: give this one a "
                "server of its own",
            )
        elif any(name not in other.process for other, _, _ in pythons):
            result.hint(block.directive, f"{name} counts for all applications")


def _share_variables(pythons: list[tuple[PythonBlock, Table, Scope]], result: Translation) -> None:
    merged: Table = {}
    for block, _, _ in pythons:
        for name, value in block.process.get("env", {}).items():
            if merged.setdefault(name, value) != value:
                result.lost(
                    block.directive,
                    f"the variable {name} has one value in a process, and is {merged[name]!r}: "
                    "give this application a server of its own",
                )
    if merged:
        result.settings["env"] = merged
