"""What can be done to an application before several threads call it: one step for each variant."""

import ctypes
import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["STEPS", "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """A way to prepare an application. Immutable."""

    name: str
    title: str
    prepare: Callable[[Any], object]
    """Called with the application after warm-up calls, before the threads start."""
    options: tuple[str, ...] = ()
    """What tells nogilserve to do the same."""


def _nothing(app: Any) -> None:
    """As it is."""


def _freeze(app: Any) -> None:
    gc.freeze()


def _defer_all(app: Any) -> None:
    """Count the references of all that exists lazily."""
    enable = ctypes.pythonapi.PyUnstable_Object_EnableDeferredRefcount
    enable.argtypes = [ctypes.py_object]
    for item in gc.get_objects():
        enable(item)
    gc.freeze()


STEPS: dict[str, Step] = {
    step.name: step
    for step in (
        Step("none", "as imported", _nothing),
        Step("freeze", "frozen", _freeze),
        Step("defer-all", "frozen, all objects deferred", _defer_all),
    )
}
