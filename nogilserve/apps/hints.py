"""What to say of a name that leads nowhere: what was probably meant, and what is there.

Everything here returns the end of a message, "" when there is nothing to say. Looks at modules
that are imported already and at the names of files; imports and calls nothing.
"""

import importlib.util
import inspect
import os
import sys
from collections.abc import Sequence
from types import FunctionType, ModuleType
from typing import Any, Final

from nogilserve.apps.interface import by_names, detect_interface, positional

__all__ = ["candidates", "no_attribute", "no_module"]

_FACTORIES: Final = ("create_app", "make_app", "get_app", "create_application")
_SUBMODULES: Final = ("wsgi", "app", "main", "web")
"""Where a package usually keeps its application, the most usual first."""
_SHOWN: Final = 10
_FLAGS: Final = {"help": "--help", "version": "--version"}
"""What other programs have as commands."""
_MORE_COMMANDS: Final = ("init", "doctor", "stress", "trust", "certs")
"""Besides those to a running server."""


def no_module(name: str, missing: str, directory: str, expression: str) -> str:
    """The whole message for a module `name`, of which `missing` is the part that is not there."""
    parent, _, last = missing.rpartition(".")
    folder = os.path.join(directory, *parent.split(".")) if parent else directory
    message = f"there is no module {missing!r}"
    if missing != name:
        message += f" (looking for {name!r})"
    # main.app and site.wsgi.application are how others write it.
    outer = sys.modules.get(parent)
    if outer is not None and not hasattr(outer, "__path__"):
        if not expression and hasattr(outer, last):
            return f"{message}; did you mean '{parent}:{last}'?"
        return f"{message}: {parent!r} is a module, not a package{candidates(outer)}"
    message += f" in {folder} nor elsewhere on sys.path"
    found = _modules(folder)
    near = _near(last, found)
    if not near and not expression and name in _FLAGS:
        message += f"; did you mean {_FLAGS[name]}?"
    elif not near and not expression and (command := _command(name)):
        message += f"; did you mean the command {command!r}?"
    if near:
        message += f"; did you mean {'.'.join(filter(None, (parent, near[0])))!r}?"
    return _joined(message, _listed("modules there", [name for name in found if name not in near]))


def _command(name: str) -> str:
    """The command that may have been meant."""
    from nogilserve.config import COMMANDS  # with all that reads a command line

    return "".join(_near(name, [*COMMANDS, *_MORE_COMMANDS]))


def _near(name: str, known: Sequence[str]) -> list[str]:
    """The one that is most like it, if any is."""
    import difflib  # for messages only

    return difflib.get_close_matches(name, known, n=1)


def _modules(folder: str) -> list[str]:
    """Names that could be imported from a directory, in order."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return []
    return [
        entry.name.removesuffix(".py")
        for entry in entries
        if (entry.name.endswith(".py") and entry.name != "__init__.py")
        or (entry.is_dir() and os.path.isfile(os.path.join(entry.path, "__init__.py")))
    ]


def no_attribute(module: ModuleType, path: Sequence[str], target: Any) -> str:
    """For `path`, attributes of `module`, whose last is missing in `target`."""
    *before, last = path
    known = [name for name in dir(target) if not name.startswith("__")]
    near = _near(last, known)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    if not before:
        return _joined(hint, candidates(module, near))
    if _is_app(target):
        whole = f"{module.__name__}:{'.'.join(before)}"
        return _joined(hint, f"; {whole!r} itself looks like an application")
    return hint


def candidates(module: ModuleType, besides: Sequence[str] = ()) -> str:
    """What in a module looks like an application; else where in a package one may be, or names."""
    own = {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value)
    }
    apps = [name for name, value in own.items() if _is_app(value, module)]
    factories = [
        f"{name}()"
        for name, value in own.items()
        if name in _FACTORIES and type(value) is FunctionType
    ]
    if found := apps + factories:
        return _listed("what looks like an application there", found)
    if inside := _inside(module):
        return f"; did you mean {inside!r}?"
    names = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and name not in besides and not _is_module(value)
    ]
    return _listed("names there", names) or "; it is empty"


def _inside(package: ModuleType) -> str:
    """The module of a package that probably has the application, "" if there is none."""
    if not hasattr(package, "__path__"):
        return ""
    for name in _SUBMODULES:
        full = f"{package.__name__}.{name}"
        if importlib.util.find_spec(full) is not None:
            return full
    return ""


def _is_module(value: object) -> bool:
    return issubclass(type(value), ModuleType)


def _is_app(value: Any, module: ModuleType | None = None) -> bool:
    """Whether something looks like an application; functions and classes only if `module`'s own."""
    try:
        if not inspect.isroutine(value) and not inspect.isclass(value):
            return callable(value) and detect_interface(value) is not None
        if module is not None and getattr(value, "__module__", "") != module.__name__:
            return False
        names = positional(value)
        return names is not None and by_names(names) is not None
    except Exception:  # flask.request outside a request: a proxy may raise anything
        return False


def _listed(title: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    return f"; {title}: {', '.join(names[:_SHOWN])}{' …' if len(names) > _SHOWN else ''}"


def _joined(message: str, more: str) -> str:
    """Two parts of a message, of which the second begins with a semicolon or is empty."""
    if not message.endswith("?"):
        return message + more
    return message + more.replace("; ", " ", 1).replace(more[2:3], more[2:3].upper(), 1)
