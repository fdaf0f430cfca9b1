"""`nogilserve init`: find the application of a folder, and write a configuration to begin with."""

import argparse
import ast
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nogilserve.errors import ConfigError

__all__ = ["Found", "find_application", "main"]

_FILE: Final = "nogilserve.toml"

_MAKERS: Final = {
    "Flask": ("Flask", "wsgi"),
    "Bottle": ("Bottle", "wsgi"),
    "get_wsgi_application": ("Django", "wsgi"),
    "get_asgi_application": ("Django", "asgi"),
    "ProtocolTypeRouter": ("Channels", "asgi"),
    "FastAPI": ("FastAPI", "asgi"),
    "Starlette": ("Starlette", "asgi"),
    "Litestar": ("Litestar", "asgi"),
    "Quart": ("Quart", "asgi"),
    "Sanic": ("Sanic", "asgi"),
}
"""What applications are made with, by the name that is called."""
_ATTRIBUTES: Final = {"falcon.App": ("Falcon", "wsgi"), "falcon.asgi.App": ("Falcon", "asgi")}
_FACTORIES: Final = ("create_app", "make_app", "create_application", "make_application")
_FIRST: Final = ("asgi", "wsgi", "main", "app", "application", "server")
"""Modules that are looked at first; asgi before wsgi, because it can do more."""
_SKIPPED: Final = {"tests", "test", "docs", "node_modules", "build", "dist", "migrations", "venv"}
_MOST: Final = 400
"""Files that are looked at."""


@dataclass(frozen=True, slots=True)
class Found:
    """An application in a folder. Immutable."""

    spec: str
    """module:attribute, or module:factory()."""
    framework: str
    """"" where it is not known."""
    interface: str
    """"wsgi", "asgi", "" where it is not known."""


def main(argv: Sequence[str], directory: Path) -> int:
    """Run `nogilserve init …` in `directory`; 0. Raises ConfigError."""
    parser = argparse.ArgumentParser(
        prog="nogilserve init",
        description=f"Write a {_FILE} for the application of this folder.",
        allow_abbrev=False,
    )
    parser.add_argument("app", nargs="?", metavar="APP", help="module:attribute, if it is known")
    parser.add_argument("--force", action="store_true", help=f"replace {_FILE}")
    chosen = parser.parse_args(argv)
    target = directory / _FILE
    found = Found(chosen.app, "", "") if chosen.app else find_application(directory)
    if found is None:
        raise ConfigError(
            f"no application was found in {directory}: no manage.py, and no module that calls "
            f"{', '.join(sorted({name for name, _ in _MAKERS.values()}))}; "
            "name it: nogilserve init module:attribute"
        )
    try:
        with target.open("w" if chosen.force else "x", encoding="utf-8") as file:
            file.write(document(found, directory))
    except FileExistsError:
        raise ConfigError(f"{target} exists; --force replaces it") from None
    except OSError as error:
        raise ConfigError(f"cannot write {target}: {error.strerror}") from None
    what = f"{found.spec} ({found.framework})" if found.framework else found.spec
    print(f"Wrote {_FILE} for {what}. Next: nogilserve --check-config, then nogilserve")
    return 0


# ---- looking ---------------------------------------------------------------------------------


def find_application(directory: Path) -> Found | None:
    """The application of a folder, from its sources alone; None where none is found."""
    found = _django(directory)
    if found is not None:
        return found
    factories: list[Found] = []
    for path in _modules(directory):
        tree = _parsed(path)
        if tree is None:
            continue
        module = ".".join(path.relative_to(directory).with_suffix("").parts)
        module = module.removesuffix(".__init__")
        for each in _applications(tree, module):
            if not each.spec.endswith("()"):
                return each
            factories.append(each)
    return factories[0] if factories else None


def _django(directory: Path) -> Found | None:
    """The project of a manage.py: its asgi.py where that has routes of its own, else wsgi.py."""
    try:
        text = (directory / "manage.py").read_text("utf-8", "replace")
    except OSError:
        return None
    settings = re.search(r"DJANGO_SETTINGS_MODULE[\"'],\s*[\"']([\w.]+)", text)
    if settings is None:
        return None
    package = settings[1].partition(".settings")[0]
    folder = directory.joinpath(*package.split("."))
    asgi = folder / "asgi.py"
    if asgi.is_file() and "ProtocolTypeRouter" in asgi.read_text("utf-8", "replace"):
        return Found(f"{package}.asgi:application", "Channels", "asgi")
    if (folder / "wsgi.py").is_file():
        return Found(f"{package}.wsgi:application", "Django", "wsgi")
    return Found(f"{package}.asgi:application", "Django", "asgi") if asgi.is_file() else None


def _modules(directory: Path) -> Iterator[Path]:
    """Source files here and in packages below, the likely ones first."""
    near = [*directory.glob("*.py"), *directory.glob("*/*.py"), *directory.glob("*/*/*.py")]

    def rank(path: Path) -> tuple[int, int, str]:
        stem = path.parent.name if path.stem == "__init__" else path.stem
        likely = _FIRST.index(stem) if stem in _FIRST else len(_FIRST)
        return len(path.relative_to(directory).parts), likely, str(path)

    def wanted(path: Path) -> bool:
        parts = path.relative_to(directory).parts
        return not any(part in _SKIPPED or part.startswith((".", "test_")) for part in parts)

    yield from sorted(filter(wanted, near), key=rank)[:_MOST]


def _parsed(path: Path) -> ast.Module | None:
    try:
        with tokenize.open(path) as file:
            return ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return None


def _applications(tree: ast.Module, module: str) -> Iterator[Found]:
    """Applications made at the top of a module, then functions that make one."""
    for node in tree.body:
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        value = getattr(node, "value", None)
        if targets and isinstance(targets[0], ast.Name) and (made := _made(value)):
            yield Found(f"{module}:{targets[0].id}", *made)
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef) or node.name not in _FACTORIES:
            continue
        if len(node.args.args) > len(node.args.defaults):
            continue  # it cannot be called without arguments
        inside = next(filter(None, map(_made, ast.walk(node))), None)
        yield Found(f"{module}:{node.name}()", *(inside or ("", "")))


def _made(node: ast.AST | None) -> tuple[str, str] | None:
    """Framework and interface of what a call makes; None where it makes no application."""
    if not isinstance(node, ast.Call):
        return None
    called = ast.unparse(node.func)
    return _ATTRIBUTES.get(called) or _MAKERS.get(called.rpartition(".")[2])


# ---- writing ---------------------------------------------------------------------------------


_TEXT: Final = """\
# Configuration of nogilserve{about}.
# Every option of the command line can stand here, without its dashes: see nogilserve --help.
# nogilserve --check-config says what is wrong, --print-config what is in force.

app = "{app}"
{packages}
# Where to listen. 0.0.0.0 is every address of the machine; to a proxy on the same machine a
# unix socket is quicker: "unix:/run/my-app/http.sock".
bind = ["127.0.0.1:8000"]

# Requests that may be inside the application at once. The cores are found by themselves.
# threads = 16

# Log requests; "-" is standard output.
access-log = "-"

# Behind a proxy: whom to believe about clients.
# proxy-headers = true
# forwarded-allow-ips = ["127.0.0.1"]

# Seconds after which a request without a response is answered 504.
# timeout = 60

# Files that the server sends by itself.
# static-path = ["/static={static}"]
"""


def document(found: Found, directory: Path) -> str:
    """The text of a configuration for the application that was found."""
    about = f" for {found.framework} ({found.interface.upper()})" if found.framework else ""
    there = (name for name in ("static", "staticfiles", "public") if (directory / name).is_dir())
    environments = (name for name in (".venv", "venv") if _is_environment(directory / name))
    packages = next((f'venv = "{name}"\n' for name in environments), "")
    return _TEXT.format(
        about=about, app=found.spec, static=next(there, "static"), packages=packages
    )


def _is_environment(folder: Path) -> bool:
    """Whether it is a virtual environment of a Python other than this one."""
    here = Path(sys.prefix).resolve()
    return (folder / "pyvenv.cfg").is_file() and folder.resolve() != here
