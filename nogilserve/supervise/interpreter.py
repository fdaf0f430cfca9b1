"""Which Python runs the application: this one, or that of `--venv` or `--python`.

A virtual environment's own interpreter is run, so its packages, their .pth files and programs the
application starts are as they are on the command line. This package and what it needs are lent to
it (`nogilserve.lend`).
"""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from nogilserve.errors import ConfigError
from nogilserve.lend import borrowed, lendable
from nogilserve.values import Value

__all__ = ["ROOT", "Interpreter", "find_interpreter", "run_instead"]

ROOT: Final = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
"""The folder of this very package."""
_OLDEST: Final = (3, 13)
_PATIENCE: Final = 10.0
"""Seconds an interpreter may take to say what it is."""
_ASK: Final = (
    "import json, sys, sysconfig; print(json.dumps([sys.implementation.name, "
    "list(sys.version_info[:3]), bool(sysconfig.get_config_var('Py_GIL_DISABLED'))]))"
)


class Interpreter(Value):
    """Another Python than this one. Immutable."""

    executable: str
    venv: str = ""
    """The virtual environment it runs with, "": none."""
    packages: tuple[str, ...] = ()
    """Folders of packages it does not find by itself."""
    free_threaded: bool = True

    def code(self, then: str) -> str:
        """For `-c`: this very package without a look at the current directory, and `then`."""
        return (
            f"import sys; sys.path.insert(0, {ROOT!r}); from nogilserve import lend; "
            f"del sys.path[0]; lend.borrow({lendable()!r}, {self.packages!r}); {then}"
        )

    def flags(self, flags: Sequence[str]) -> list[str]:
        """Of the options of this interpreter those which that one takes."""
        if self.free_threaded:
            return list(flags)
        kept: list[str] = []
        for flag in flags:
            if flag.startswith("gil=") and kept and kept[-1] == "-X":
                kept.pop()
            else:
                kept.append(flag)
        return kept

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """The variables of a process that runs it: as when the environment is activated."""
        found = dict(variables)
        found.pop("PYTHONHOME", None)
        found.pop("__PYVENV_LAUNCHER__", None)
        if not self.free_threaded:
            found.pop("PYTHON_GIL", None)  # such a Python refuses to start with it
        if self.venv:
            found["VIRTUAL_ENV"] = self.venv
            programs = os.path.dirname(self.executable)
            found["PATH"] = os.pathsep.join(filter(None, (programs, found.get("PATH"))))
        return found


def find_interpreter(python: str, venv: str, directory: str) -> Interpreter | None:
    """The one that these options ask for, None for the one that runs this.

    Relative names start in `directory`. Raises ConfigError.
    """
    if not python and not venv:
        return None
    if os.name == "nt":
        raise ConfigError("options --venv and --python: not on this system; start nogilserve there")
    root = os.path.abspath(os.path.join(directory, venv)) if venv else ""
    option = f"option --python: {python!r}" if python else f"option --venv: {venv!r}"
    if root:
        _require_environment(root, venv)
    executable = _executable(python, root, directory, option)
    if not root and _is_this(executable):
        return None
    if root and not python and _is_this(executable):
        return None
    version, free_threaded = _asked(executable, os.stat(executable).st_mtime_ns, option)
    packages: tuple[str, ...] = ()
    if root and python:
        packages = (_packages(root, venv, version, free_threaded),)
    return Interpreter(executable, root, packages, free_threaded)


def run_instead(interpreter: Interpreter, argv: Sequence[str]) -> NoReturn:
    """Become this interpreter with the same command line."""
    then = f"from nogilserve.cli import main; sys.exit(main({list(argv)!r}))"
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
    command = [interpreter.executable, *interpreter.flags(flags), "-P"]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(
        interpreter.executable,
        [*command, "-c", interpreter.code(then)],
        interpreter.environment(os.environ),
    )


def _require_environment(root: str, venv: str) -> None:
    if not os.path.isdir(root):
        raise ConfigError(
            f"option --venv: {venv!r} is not a directory; make one with python3 -m venv {venv}"
        )
    if not os.path.isfile(os.path.join(root, "pyvenv.cfg")):
        raise ConfigError(
            f"option --venv: {venv!r} is no virtual environment: it has no pyvenv.cfg; "
            f"make one with python3 -m venv {venv}"
        )


def _executable(python: str, root: str, directory: str, option: str) -> str:
    if not python:
        for name in ("python", "python3"):
            path = os.path.join(root, "bin", name)
            if os.access(path, os.X_OK):
                return path
        raise ConfigError(
            f"{option}: its Python cannot be run, perhaps because it was removed or replaced; make "
            "the environment anew, or repair it with python3 -m venv --upgrade"
        )
    found: str | None = os.path.abspath(os.path.join(directory, python))
    if os.sep not in python:
        import shutil  # with all that unpacks archives

        found = shutil.which(python)
    if found is None or not os.access(found, os.X_OK) or os.path.isdir(found):
        raise ConfigError(f"{option} is no program that can be run")
    return found


def _is_this(executable: str) -> bool:
    """Whether it is the interpreter that runs this, in the same environment; the packages of an
    environment depend on the folder it was called from."""
    if borrowed() is not None:
        return True  # `run_instead` has seen to that
    mine = sys.executable
    return os.path.realpath(mine) == os.path.realpath(executable) and os.path.realpath(
        os.path.dirname(mine)
    ) == os.path.realpath(os.path.dirname(executable))


@functools.cache
def _asked(executable: str, _changed: int, option: str) -> tuple[tuple[int, ...], bool]:
    """Version, and whether it is a free-threaded build. Raises ConfigError for what cannot run
    this package."""
    try:
        done = subprocess.run(
            [executable, "-I", "-S", "-c", _ASK],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=True,
        )
        found: Any = json.loads(done.stdout)
        name, version, free_threaded = found
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ConfigError(f"{option}: {executable} does not run: {''.join(last)}") from None
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise ConfigError(f"{option}: {executable} is no Python that runs: {error}") from None
    shown = ".".join(map(str, version))
    if name != "cpython" or tuple(version[:2]) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise ConfigError(
            f"{option} is {name} {shown}; nogilserve runs on CPython {oldest} or later: make the "
            f"environment with such a one, best a free-threaded one"
        )
    return tuple(version), free_threaded


def _packages(root: str, venv: str, version: Sequence[int], free_threaded: bool) -> str:
    """The folder of an environment's packages for an interpreter that is not its own."""
    name = f"python{version[0]}.{version[1]}{'t' * free_threaded}"
    path = os.path.join(root, "lib", name, "site-packages")
    if os.path.isdir(path):
        return path
    try:
        there = sorted(n for n in os.listdir(os.path.join(root, "lib")) if n.startswith("python"))
    except OSError:
        there = []
    raise ConfigError(
        f"options --venv and --python: {venv!r} was made for {', '.join(there) or 'no Python'}, "
        f"--python is {name}; leave --python out to run the environment's own"
    )
