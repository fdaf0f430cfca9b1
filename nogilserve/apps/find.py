"""From the name of an application to the application.

Finds it, imports it, and says in one sentence what is wrong where that fails.
"""

import ast
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NoReturn

from nogilserve.apps.gil import gil_watch
from nogilserve.apps.hints import candidates, no_attribute, no_module
from nogilserve.apps.interface import (
    Interface,
    detect_interface,
    is_double_callable,
    positional,
    single_callable,
)
from nogilserve.errors import AppImportError

__all__ = ["LoadedApp", "adopt_app", "load_app"]

BARE_NAMES: Final = ("app", "application")
"""What is tried when only a module is named."""


@dataclass(frozen=True, slots=True)
class LoadedApp:
    """An imported application. Immutable; the application itself is shared by every thread."""

    app: Callable[..., Any]
    """Called as (environ, start_response) or, for ASGI, as (scope, receive, send)."""
    interface: Interface
    name: str
    """module:attribute, for messages."""
    gil_enabled_by: tuple[str, ...] = ()
    """Extension modules whose import switched the GIL back on; empty on a GIL build."""


def load_app(
    spec: str, *, factory: bool = False, app_dir: str = "", interface: str = "auto"
) -> LoadedApp:
    """Import the application that `spec` names; AppImportError says what is wrong with it.

    `spec` is module:attribute, module:factory(literals), a bare module, or the path of a .py file
    with or without :attribute. `app_dir` ("": the working directory) goes to the front of
    `sys.path`. An `interface` other than "auto" is believed.
    """
    module_name, expression, file = _split(spec)
    directory = os.path.abspath(app_dir or ".")
    if file is not None:
        directory, module_name = _place_of(file, spec)
    _put_first(directory)
    with gil_watch() as culprits:
        module = _import(module_name, directory, file, expression)
        name, target = _find(module, module_name, expression, factory)
        app = _made(target, name, factory, expression)
    if not callable(app):
        _refuse(f"{name} is not an application: it is {_described(app)} and cannot be called")
    kind = _interface(app, name, interface, module)
    if kind == "asgi" and is_double_callable(app):
        app = single_callable(app)
    return LoadedApp(app, kind, name, tuple(culprits))


def adopt_app(app: Any, interface: str = "auto") -> LoadedApp:
    """What is known of an application that the program has already. Raises AppImportError."""
    if not callable(app):
        _refuse(f"this is no application: it is {_described(app)} and cannot be called")
    named = inspect.isroutine(app) or inspect.isclass(app)
    name = f"{app.__module__}:{app.__qualname__}" if named else type(app).__qualname__
    kind = _interface(app, name, interface, None)
    if kind == "asgi" and is_double_callable(app):
        app = single_callable(app)
    return LoadedApp(app, kind, name)


# ---- what the name says ----------------------------------------------------------------------


def _split(spec: str) -> tuple[str, str, Path | None]:
    """Module name, expression ("" for a bare module), and the file when a path was given."""
    head, dot_py, tail = spec.rpartition(".py")
    if spec.endswith(":"):
        _refuse(f"nothing stands behind the colon of {spec!r}: write module:attribute")
    # The last ".py" that ends the text or stands before a colon marks a path.
    if dot_py and (not tail or tail.startswith(":")):
        return "", tail.removeprefix(":"), Path(head + dot_py)
    module_name, _, expression = spec.partition(":")
    if "/" in module_name or (os.sep != "/" and os.sep in module_name):
        _refuse(f"{module_name!r} is no module name; a path must end in .py")
    if not all(part.isidentifier() for part in module_name.split(".")):
        _refuse(f"{spec!r} does not name an application: write module:attribute")
    return module_name, expression.strip(), None


def _place_of(file: Path, spec: str) -> tuple[str, str]:
    """The directory to import from and the module name, packages included, of a .py file."""
    path = Path(os.path.abspath(file))
    if not path.is_file():
        _refuse(f"there is no file {str(file)!r} (looking for the application {spec!r})")
    parts = [] if path.name == "__init__.py" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if not all(part.isidentifier() for part in parts):
        _refuse(f"{str(file)!r} cannot be imported: {'.'.join(parts)!r} is no module name")
    return str(folder), ".".join(parts)


def _put_first(directory: str) -> None:
    if sys.path[:1] != [directory]:
        sys.path.insert(0, directory)
    importlib.invalidate_caches()


# ---- importing -------------------------------------------------------------------------------


def _import(name: str, directory: str, file: Path | None, expression: str) -> ModuleType:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(missing + "."):
            _refuse(no_module(name, missing, directory, expression))
        _failed(f"importing {name!r} failed", error)
    except SystemExit as error:
        _failed(f"importing {name!r} called sys.exit({error.code!r})", error)
    except Exception as error:
        _failed(f"importing {name!r} failed", error)
    if file is not None and not _same_file(module, file):
        _refuse(
            f"{str(file)!r} cannot be imported as {name!r}: that name belongs to "
            f"{module.__spec__.origin if module.__spec__ else 'another module'}; rename the file"
        )
    return module


def _same_file(module: ModuleType, file: Path) -> bool:
    origin = getattr(module, "__file__", None)
    return origin is not None and os.path.realpath(origin) == os.path.realpath(file)


# ---- finding ---------------------------------------------------------------------------------


def _find(module: ModuleType, module_name: str, expression: str, factory: bool) -> tuple[str, Any]:
    """The name and the object; for a call with arguments, its result."""
    if not expression:
        for bare in BARE_NAMES:
            if hasattr(module, bare):
                return f"{module_name}:{bare}", getattr(module, bare)
        _refuse(
            f"module {module_name!r} has neither {BARE_NAMES[0]!r} nor {BARE_NAMES[1]!r}"
            f"{candidates(module)}"
        )
    path, arguments = _parsed(expression, module_name)
    name = f"{module_name}:{path}"
    target: Any = module
    parts = path.split(".")
    for index, part in enumerate(parts):
        try:
            target = getattr(target, part)
        except AttributeError:
            where = ".".join([module_name, *parts[:index]])
            _refuse(
                f"there is no {part!r} in {where!r}"
                f"{no_attribute(module, parts[: index + 1], target)}"
            )
    if arguments is None:
        return name, target
    if factory:
        _refuse(f"{module_name}:{expression} is called already: leave out --factory")
    args, keywords = arguments
    return f"{module_name}:{expression}", _call(target, expression, args, keywords)


def _parsed(
    expression: str, module_name: str
) -> tuple[str, tuple[list[Any], dict[str, Any]] | None]:
    """Dotted name and, if it is a call, its arguments: literals only, nothing is evaluated."""
    try:
        node = ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError):
        node = ast.Constant(None)
    arguments = None
    if isinstance(node, ast.Call):
        try:
            args = [ast.literal_eval(item) for item in node.args]
            keywords = {str(item.arg): ast.literal_eval(item.value) for item in node.keywords}
            if any(item.arg is None for item in node.keywords):
                raise ValueError
        except (ValueError, TypeError):
            _refuse(f"in {module_name}:{expression} the arguments must be literals")
        arguments = args, keywords
        node = node.func
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        _refuse(f"{expression!r} in {module_name}:{expression} is neither a name nor a call of one")
    return ".".join([node.id, *parts]), arguments


# ---- calling a factory -----------------------------------------------------------------------


def _made(target: Any, name: str, factory: bool, expression: str) -> Any:
    if factory:
        return _call(target, name.partition(":")[2], [], {})
    if not expression.endswith(")") and inspect.isfunction(target) and positional(target) == []:
        _refuse(f"{name} takes no arguments: if it makes the application, add --factory")
    return target


def _call(target: Any, name: str, args: list[Any], keywords: dict[str, Any]) -> Any:
    if not callable(target):
        _refuse(f"{name} is not a factory: {_described(target)} cannot be called")
    try:
        app = target(*args, **keywords)
    except SystemExit as error:
        _failed(f"the factory {name} called sys.exit({error.code!r})", error)
    except Exception as error:
        _failed(f"the factory {name} failed", error)
    if inspect.iscoroutine(app):
        app.close()
        _refuse(f"the factory {name} is asynchronous; it must return the application itself")
    return app


def _interface(app: Any, name: str, wanted: str, module: ModuleType | None) -> Interface:
    if wanted == "wsgi":
        return "wsgi"
    if wanted == "asgi":
        return "asgi"
    found = detect_interface(app)
    if found is None:
        names = positional(app)
        signature = "an unknown signature" if names is None else f"({', '.join(names)})"
        _refuse(
            f"cannot tell whether {name} is WSGI or ASGI ({_described(app)}, called with "
            f"{signature}): say --interface wsgi or --interface asgi"
            f"{candidates(module) if module else ''}"
        )
    return found


# ---- refusing --------------------------------------------------------------------------------


def _described(value: object) -> str:
    name = type(value).__qualname__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _refuse(message: str) -> NoReturn:
    raise AppImportError(message)


def _failed(message: str, error: BaseException) -> NoReturn:
    summary = traceback.format_exception_only(error)[-1].strip()
    raise AppImportError(f"{message}: {summary}", _users_traceback(error)) from error


def _users_traceback(error: BaseException) -> str:
    """The traceback without our frames and those of the import machinery."""
    shown = traceback.TracebackException.from_exception(error)
    pending: list[traceback.TracebackException | None] = [shown]
    while pending:
        part = pending.pop()
        if part is not None:
            part.stack = traceback.StackSummary.from_list(
                [frame for frame in part.stack if not _is_machinery(frame.filename)]
            )
            pending += [part.__cause__, part.__context__, *(part.exceptions or ())]
    lines = list(shown.format())
    # Where no frame is left, the one line is in the message already.
    return "".join(lines) if len(lines) > 1 else ""


def _is_machinery(filename: str) -> bool:
    return filename in (__file__, importlib.__file__) or filename.startswith("<frozen importlib")
