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
    if len(pythons) == 1 and pythons[0][0].templated and _whole_server(*pythons[0], result):
        return
    processes = [block.process for block, _, _ in pythons]
    templated = any(block.templated for block, _, _ in pythons)
    if not templated and all(process == processes[0] for process in processes):
        _share_all(pythons, result)
        return
    crowded = [
        block
        for block, table, _ in pythons
        if (block.process or block.templated) and not _alone(table, result)
    ]
    if not crowded or not _encrypted(result):
        for block, table, _ in pythons:
            table.update(block.process)
        return
    for block, table, _ in pythons:
        if block.templated and block in crowded:
            result.drop(table)
            result.lost(
                block.directive,
                "over TLS a host has one process, because the path is not known in time: give this "
                "application a host of its own",
            )
    others = [item for item in pythons if not (item[0].templated and item[0] in crowded)]
    if others:
        _share_all(others, result)


def _share_all(pythons: list[tuple[PythonBlock, Table, Scope]], result: Translation) -> None:
    """One process for all, as far as that goes."""
    folders = {block.process.get("working-dir", "") for block, _, _ in pythons}
    if len(folders) == 1:
        _move(folders.pop(), result)
    elif folders:
        _import_from(pythons, result)
    for name in ("venv", "python", "env-file"):
        _share(name, pythons, result)
    _share_variables(pythons, result)


def _whole_server(block: PythonBlock, table: Table, scope: Scope, result: Translation) -> bool:
    """Where an application with placeholders is all there is, it is the server's: whether it is."""
    sole = len(result.sites) == 1 and result.sites[0] is table
    if not sole or scope.path or set(table) & {"route", "static-path", "path"}:
        return False
    hosts = table.pop("hosts", [])
    table.pop("prefix", None)
    result.sites.clear()
    settings: Table = dict(table)
    if hosts:
        settings["tenant-host"] = hosts
    result.settings |= settings | block.process
    return True


def _encrypted(result: Translation) -> bool:
    """Whether anything is served over TLS."""
    names = {"domain", "certfile", "tls-internal"}
    return any(name in names or name.startswith("on-demand") for name in result.settings)


def _alone(table: Table, result: Translation) -> bool:
    """Whether an application has its hosts for itself."""
    hosts = [site for site in result.sites if site is table and "route" not in site]
    return len(hosts) == 1 and "path" not in table


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
