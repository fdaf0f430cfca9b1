"""What the doctor runs in a child process: import the application, start and end it as serving
does, and write down what happened.

`python -m nogilserve.doctor.probe REQUEST RESULT`, two JSON files. A child, because an import may
switch the GIL on for good, and because applications do all kinds of things when imported. The
result is written anew before each step, and "step" names the one that comes next: "lifespan",
"prepare", "shutdown" or, at last, "end".
"""

import importlib
import json
import os
import sys
from collections.abc import Callable, Container, Mapping, Sequence
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from nogilserve.apps import FREE_THREADED, LoadedApp, gil_is_on, load_app
from nogilserve.apps.loopbound import application_modules, find_loop_bound, find_of_types
from nogilserve.apps.reach import module_globals, raw_attribute
from nogilserve.doctor import living
from nogilserve.doctor.slots import declares_no_gil
from nogilserve.doctor.threadbound import POOLED, THREAD_BOUND
from nogilserve.errors import AppImportError

__all__ = ["probe"]

_KEPT: Final[list[Any]] = []
"""Interpreters: one that nobody refers to ends, and waits for the threads in it."""


def probe(request: Mapping[str, Any], write: Callable[[dict[str, Any]], None]) -> None:
    """Describe the application that `request` names, in plain data given to `write`.

    The keys of `request` are those of `load_app`, with `spec`, `loop_bound`, `lifespan` and
    `prepare` ("": neither is done), `lifespan_scope` and `threads`.
    """
    before = set(sys.modules)
    facts: dict[str, Any] = {
        "gil_before": gil_is_on(),
        "free_threaded": FREE_THREADED,
        "lifespan": "",
        "prepare": None,
    }
    options = {name: request[name] for name in ("factory", "app_dir", "interface")}
    try:
        loaded = load_app(request["spec"], **options)
    except AppImportError as error:
        write(facts | {"failed": str(error), "detail": error.detail, "step": "end"})
        return
    facts |= {"name": loaded.name, "interface": loaded.interface}
    facts["culprits"] = list(loaded.gil_enabled_by)
    facts |= _looked(loaded, None, request, before)

    def started(state: Mapping[str, Any] | None, culprits: Sequence[str]) -> None:
        scope = request["lifespan_scope"]
        rerun = scope == "loop" or (scope == "auto" and bool(state))
        facts["culprits"] += culprits
        facts.update(_looked(loaded, None if rerun else state, request, before))
        facts["lifespan"] = "none" if state is None else "started"
        prepared()
        write(facts | {"step": "shutdown"})

    def prepared() -> None:
        if request["prepare"]:
            write(facts | {"step": "prepare"})
            facts["prepare"] = living.prepare(request["prepare"])

    if loaded.interface == "asgi" and request["lifespan"]:
        if request["lifespan"] == "off":
            facts["lifespan"] = "off"
            prepared()
        else:
            write(facts | {"step": "lifespan"})
            problem = living.live(loaded, request["lifespan"], started)
            if problem:
                facts |= {"lifespan": "failed", "why": problem}
                prepared()
    else:
        prepared()
    write(facts | {"step": "end"})


def _looked(
    loaded: LoadedApp,
    state: Mapping[str, Any] | None,
    request: Mapping[str, Any],
    before: Container[str],
) -> dict[str, Any]:
    """What is there now. `before`: modules that were there without the application."""
    modules = application_modules(loaded.name.partition(":")[0])
    bound = find_loop_bound(loaded.app, modules, state, request["loop_bound"])
    return {
        "gil_after": gil_is_on(),
        "extensions": _extensions(),
        "imported": sorted(
            {name.partition(".")[0] for name in list(sys.modules) if name not in before}
        ),
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
    _KEPT.append(interpreter)
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


def _main(question: Path, result: Path) -> None:
    def write(facts: Mapping[str, Any]) -> None:
        beside = result.with_suffix(".new")
        beside.write_text(json.dumps(facts))
        beside.replace(result)  # never half of it, whatever the application does to this process

    asked = json.loads(question.read_text())
    if asked["subinterpreter"]:
        write(probe_subinterpreter(asked))
    else:
        probe(asked, write)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stderr.flush()
    os._exit(0)  # threads that the application has started need not end
