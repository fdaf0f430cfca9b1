"""Objects that belong to one event loop, where an application keeps them, and what goes wrong.

Pools, clients and asyncio's locks and queues work on one event loop only. An application that keeps
one in a module or on its application object cannot be served by several loops. Types are told by
name, see `loopbound_types`: none of the libraries is imported here.
"""

import site
import sys
import sysconfig
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from types import ModuleType
from typing import Any, Final

from nogilserve.apps.loopbound_types import EXEMPT, LOOP_BOUND, OPAQUE, TRANSPARENT, UNBOUND_IF
from nogilserve.apps.reach import (
    is_dunder,
    module_globals,
    raw_attribute,
    reachable,
    type_names,
)

__all__ = [
    "LoopBound",
    "application_modules",
    "explain_loop_error",
    "find_loop_bound",
    "find_of_types",
]


@dataclass(frozen=True, slots=True)
class LoopBound:
    """An object that belongs to one event loop. Immutable."""

    kind: str
    """Dotted name of the type it was recognised by, "asyncpg.pool.Pool"."""
    where: str
    """How it is reached: "main:pool", "main:app.state.pool", "lifespan state['redis']"."""

    def __str__(self) -> str:
        return f"{self.where} ({self.kind})"


def application_modules(app_module_name: str) -> list[ModuleType]:
    """The imported modules that are the user's own code, that of the application first.

    These are the modules of the same top-level package, and every other one that was loaded from a
    file outside of the standard library and the folders that packages are installed to.
    """
    top = app_module_name.partition(".")[0]
    folders = _installed_folders()
    found = []
    imported: list[tuple[str, Any]] = list(sys.modules.items())
    for name, module in imported:
        if not issubclass(type(module), ModuleType):  # cffi's libraries only say they are
            continue
        first = name.partition(".")[0]
        if first == top or (
            first not in ("nogilserve", "__main__", "__mp_main__") and _is_own(module, folders)
        ):
            found.append((name != app_module_name, first != top, name, module))
    return [entry[3] for entry in sorted(found, key=lambda entry: entry[:3])]


def find_loop_bound(
    app: object,
    modules: Sequence[ModuleType],
    state: Mapping[str, Any] | None = None,
    extra: Sequence[str] = (),
) -> list[LoopBound]:
    """The loop-bound objects reachable from an application, the globals of modules, and a state.

    Call it when the lifespan has started on the first loop, since that is when most pools are
    made. `extra` are names of types beside those known, "module:qualified.name". Each object is
    reported once, by a shortest path; `state` comes last, and without what is found elsewhere.
    Runs none of the application's code, raises nothing, looks at 200,000 objects at most, for two
    seconds.
    """
    search = _Search(extra)
    names = {_name(module) for module in modules}
    found = search.run(_roots(app, modules), names)
    found += _channel_layers(search)
    if state is not None:
        inside = [(f"lifespan state[{key!r}]", value) for key, value in list(state.items())]
        found += search.run(inside, names)
    return found


def find_of_types(
    app: object, modules: Sequence[ModuleType], types: Container[str]
) -> list[tuple[str, str, Any]]:
    """Like `find_loop_bound` for other types: entry of `types`, how it is reached, the object."""
    table: dict[type, str] = {}

    def entry(value: Any) -> str:
        kind = type(value)
        if kind not in table:
            table[kind] = next((name for name in type_names(kind) if name in types), "")
        return table[kind]

    names = {_name(module) for module in modules}
    found = reachable(_roots(app, modules), into=lambda value: not entry(value), modules=names)
    return [(entry(value), where, value) for value, where in found if entry(value)]


def _name(module: ModuleType) -> str:
    return str(module_globals(module).get("__name__", ""))


def _roots(app: object, modules: Sequence[ModuleType]) -> list[tuple[str, Any]]:
    inside = [
        (f"{_name(module)}:{name}", value)
        for module in modules
        for name, value in list(module_globals(module).items())
        if type(name) is str and not is_dunder(name)
    ]
    return [*inside, ("application", app)]


# ---- finding ---------------------------------------------------------------------------------

_OPAQUE: Final = frozenset(OPAQUE)
_EXEMPT: Final = {owner: [name for each, name in EXEMPT if each == owner] for owner, _ in EXEMPT}


class _Search:
    """What is looked for, and what was found. Owner: the thread that made it."""

    def __init__(self, extra: Iterable[str]) -> None:
        self._bound = frozenset((*LOOP_BOUND, *extra))
        self._met: dict[type, tuple[str, str]] = {}
        """Of each type met: its entry in the tables and its transparent attribute, "" if none."""
        self._passed_over: set[int] = set()
        """Identities of what was reported or is exempt; the application keeps them alive."""

    def run(self, roots: Iterable[tuple[str, Any]], modules: set[str]) -> list[LoopBound]:
        """The loop-bound objects that are reachable from `roots` and were not found before."""
        found = []
        for value, where in reachable(
            roots,
            into=self._leads_on,
            modules=modules,
            transparent=lambda kind: self._looked_up(kind)[1],
        ):
            entry = self._looked_up(type(value))[0]
            for name in _EXEMPT.get(entry, ()):
                self._passed_over.add(id(raw_attribute(value, name)))
            if entry in self._bound and id(value) not in self._passed_over:
                self._passed_over.add(id(value))
                if not _is_unbound(value, entry):
                    found.append(LoopBound(entry.replace(":", "."), where))
        return found

    def is_bound(self, entry: str) -> bool:
        """Whether "module:qualified.name" is that of a loop-bound type."""
        return entry in self._bound

    def _leads_on(self, value: Any) -> bool:
        entry = self._looked_up(type(value))[0]
        return entry not in self._bound and entry not in _OPAQUE

    def _looked_up(self, kind: type) -> tuple[str, str]:
        if (known := self._met.get(kind)) is None:
            names = type_names(kind)
            tables = (self._bound, _OPAQUE, _EXEMPT)
            known = self._met[kind] = (
                next((name for name in names if any(name in table for table in tables)), ""),
                next((TRANSPARENT[name] for name in names if name in TRANSPARENT), ""),
            )
        return known


def _is_unbound(value: Any, entry: str) -> bool:
    """Whether this object of a loop-bound type is one of the exceptions."""
    if entry not in UNBOUND_IF:
        return False
    attribute, kind = UNBOUND_IF[entry]
    inner = raw_attribute(value, attribute)
    return kind in type_names(type(inner)) if kind else isinstance(inner, dict) and not inner


def _channel_layers(search: _Search) -> Iterator[LoopBound]:
    """Loop-bound channel layers in Django's settings: Channels makes them at the first request."""
    configuration = sys.modules.get("django.conf")
    if "channels.layers" not in sys.modules or configuration is None:
        return
    layers = raw_attribute(module_globals(configuration).get("settings"), "_wrapped.CHANNEL_LAYERS")
    for alias, layer in list(layers.items()) if type(layers) is dict else ():
        backend = layer.get("BACKEND") if type(layer) is dict else None
        if type(backend) is str:
            entry = ":".join(backend.rsplit(".", 1))
            if search.is_bound(entry):
                yield LoopBound(backend, f"settings.CHANNEL_LAYERS[{alias!r}]")


def _installed_folders() -> list[PurePath]:
    paths = sysconfig.get_paths()
    folders = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {*site.getsitepackages(), site.getusersitepackages()}
    return [PurePath(folder) for folder in folders]


def _is_own(module: ModuleType, installed: Sequence[PurePath]) -> bool:
    file = module_globals(module).get("__file__")
    if type(file) is not str:
        return False
    path = PurePath(file)
    return not {"site-packages", "dist-packages"}.intersection(path.parts) and not any(
        path.is_relative_to(folder) for folder in installed
    )


# ---- explaining ------------------------------------------------------------------------------

_FIX: Final = (
    "Let each loop have its own: make it in the lifespan and yield it as part of the state, "
    "or wrap what makes it in nogilserve.per_loop. (With --loops 1 there is one loop only.)"
)

_SURE: Final = (
    "attached to a different loop",  # asyncio.Task
    "is bound to a different event loop",  # asyncio's locks, queues, events
    "future belongs to a different loop",  # asyncio.ensure_future, gather
    "Non-thread-safe operation invoked on an event loop other than the current one",  # debug mode
    "Timeout context manager should be used inside a task",  # aiohttp
    "Two event loops are trying to receive() on one channel layer",  # channels_redis
)
"""Parts of messages that an object used on a foreign loop leads to, and nothing else."""

_LIKELY: Final = (
    "Event loop is closed",
    "another operation is in progress",  # asyncpg
    "readuntil() called while another coroutine is already waiting for incoming data",
    "read() called while another coroutine is already waiting for incoming data",
)
"""The same for messages that have another cause now and then."""


def explain_loop_error(exc: BaseException) -> str | None:
    """What an object that was used on another loop than its own has to do with an error, and a fix.

    A few sentences, None for any other error. Looks at causes, contexts and members of groups.
    """
    texts = [text for each in _chain(exc) for text in each.args if isinstance(text, str)]
    for text in texts:
        if any(part in text for part in _SURE):
            return f"An object that belongs to another event loop was used in this one. {_FIX}"
    for text in texts:
        if any(part in text for part in _LIKELY):
            return (
                "This happens when an object that belongs to another event loop is used, or when "
                f"two tasks use one connection at once. {_FIX}"
            )
    return None


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """An exception and all that led to it or is part of it, each once."""
    pending: list[BaseException | None] = [exc]
    seen: set[int] = set()
    while pending:
        each = pending.pop(0)
        if each is None or id(each) in seen or len(seen) > 100:
            continue
        seen.add(id(each))
        yield each
        pending += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            pending += each.exceptions
