"""Whether the GIL is on, and which extension module switched it on. Knows no application."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from types import ModuleType
from typing import Final

__all__ = ["FREE_THREADED", "gil_is_on", "gil_watch"]

FREE_THREADED: Final = "free-threading build" in sys.version
"""Whether this interpreter was built to run without a GIL; `sysconfig`, which tells it too, has all
that the build was told in memory."""


def gil_is_on() -> bool:
    """Whether the GIL is on in this process, now."""
    return getattr(sys, "_is_gil_enabled", lambda: True)()


@contextmanager
def gil_watch() -> Iterator[list[str]]:
    """Collect the extension modules whose import switches the GIL on, on a free-threaded build.

    CPython switches it on for good at the first module without Py_mod_gil, so one name is the
    rule; the warning it gives is left to whoever shows these names.
    """
    culprits: list[str] = []
    if not FREE_THREADED or gil_is_on():
        yield culprits
        return
    create, execute = ExtensionFileLoader.create_module, ExtensionFileLoader.exec_module

    def note(name: str, before: bool) -> None:
        if not before and gil_is_on() and name not in culprits:
            culprits.append(name)

    def create_module(self: ExtensionFileLoader, spec: ModuleSpec) -> ModuleType:
        before = gil_is_on()
        try:
            return create(self, spec)
        finally:
            note(spec.name, before)

    def exec_module(self: ExtensionFileLoader, module: ModuleType) -> None:
        before = gil_is_on()
        try:
            execute(self, module)
        finally:
            note(module.__name__, before)

    warnings.filterwarnings(
        "ignore", "The global interpreter lock .GIL. has been enabled", RuntimeWarning
    )
    ExtensionFileLoader.create_module = create_module  # type: ignore[method-assign]
    ExtensionFileLoader.exec_module = exec_module  # type: ignore[method-assign]
    try:
        yield culprits
    finally:
        ExtensionFileLoader.create_module = create  # type: ignore[method-assign]
        ExtensionFileLoader.exec_module = execute  # type: ignore[method-assign]
