"""What the doctor runs in a child process: import the application and write down what happened.

`python -m nogilserve.doctor.probe REQUEST RESULT`, two JSON files. A child, because an import may
switch the GIL on for good, and because applications do all kinds of things when imported.
"""

import importlib
import json
import sys
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from nogilserve.apps import FREE_THREADED, gil_is_on, load_app
from nogilserve.apps.loopbound import application_modules, find_loop_bound, find_of_types
from nogilserve.apps.reach import module_globals, raw_attribute
from nogilserve.doctor.slots import declares_no_gil
from nogilserve.doctor.threadbound import POOLED, THREAD_BOUND
from nogilserve.errors import AppImportError

__all__ = ["probe"]


def probe(request: dict[str, Any]) -> dict[str, Any]:
    """Import the application that `request` names and describe it, in plain data.

    The keys of `request` are those of `load_app`, with `spec` and `loop_bound`.
    """
    before = set(sys.modules)
    facts: dict[str, Any] = {"gil_before": gil_is_on(), "free_threaded": FREE_THREADED}
    options = {name: request[name] for name in ("factory", "app_dir", "interface")}
    try:
        loaded = load_app(request["spec"], **options)
    except AppImportError as error:
        return facts | {"failed": str(error), "detail": error.detail}
    modules = application_modules(loaded.name.partition(":")[0])
    bound = find_loop_bound(loaded.app, modules, None, request["loop_bound"])
    return facts | {
        "name": loaded.name,
        "interface": loaded.interface,
        "gil_after": gil_is_on(),
        "culprits": loaded.gil_enabled_by,
        "extensions": _extensions(),
        "imported": sorted({name.partition(".")[0] for name in set(sys.modules) - before}),
        "sources": [
            [str(names.get("__name__")), str(names.get("__file__"))]
            for names in map(module_globals, modules)
        ],
        "loop_bound": [[each.kind, each.where] for each in bound],
        "thread_bound": [
            [entry, where] for entry, where, _ in find_of_types(loaded.app, modules, THREAD_BOUND)
        ],
        "pools": [
            [where, limit]
            for entry, where, pool in find_of_types(loaded.app, modules, POOLED)
            if (limit := _connections(pool, *POOLED[entry]))
        ],
    }


def probe_subinterpreter(request: dict[str, Any]) -> dict[str, Any]:
    """Whether the application can be imported in a subinterpreter: {"obstacle": "" or why not}."""
    interpreters: Any = importlib.import_module("concurrent.interpreters")
    interpreter = interpreters.create()
    body = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from nogilserve.apps import load_app\n"
        f"load_app({request['spec']!r}, factory={request['factory']!r}, "
        f"app_dir={request['app_dir']!r}, interface={request['interface']!r})"
    )
    try:
        interpreter.exec(body)
    except interpreters.ExecutionFailed as error:
        lines = str(error).strip().splitlines()
        last = lines[-1] if lines else "it ended without a word"
        return {"obstacle": last.removeprefix(f"{AppImportError.__module__}.AppImportError: ")}
    return {"obstacle": ""}


def _extensions() -> list[dict[str, Any]]:
    """The extension modules that are loaded now, in the order in which they were."""
    found = []
    modules: list[tuple[str, Any]] = list(sys.modules.items())
    for name, module in modules:
        # Libraries put other things than modules there, some of which answer to any name.
        spec: Any = module_globals(module).get("__spec__") if _is_module(module) else None
        if not isinstance(getattr(spec, "loader", None), ExtensionFileLoader):
            continue
        standard = name.partition(".")[0] in sys.stdlib_module_names
        found.append({"module": name, "standard": standard, "declares": declares_no_gil(module)})
    return found


def _is_module(value: object) -> bool:
    return issubclass(type(value), ModuleType)


def _connections(pool: object, *paths: str) -> int:
    """The most connections a pool gives out, 0 if that cannot be told or has no limit."""
    numbers = [raw_attribute(pool, path) for path in paths if path]
    limits = [number for number in numbers if type(number) is int and number >= 0]
    return sum(limits) if len(limits) == len(numbers) else 0


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text())
    answer = probe_subinterpreter(asked) if asked["subinterpreter"] else probe(asked)
    Path(sys.argv[2]).write_text(json.dumps(answer))
