"""What can be done to an application before several threads call it: a step for each variant."""

import ctypes
import gc
import itertools
import types
from collections.abc import Callable
from dataclasses import dataclass

from nogilserve.prepare.deferring import defer
from nogilserve.prepare.immortal import immortalize

__all__ = ["STEPS", "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """A way to prepare an application. Immutable."""

    name: str
    title: str
    prepare: Callable[[], object]
    """Called after warm-up calls, before the threads start."""
    option: str = ""
    """What nogilserve's --prepare calls it; "": it cannot do that."""

    def options(self, path: str) -> list[str]:
        """What tells nogilserve to do it; requests for `path` come before it."""
        return ["--prepare", self.option, "--warmup", path]


def _enable(items: list[object]) -> None:
    # Addresses, not objects: ctypes would ask each object for its class.
    function = ctypes.pythonapi.PyUnstable_Object_EnableDeferredRefcount
    function.argtypes = [ctypes.c_void_p]
    for item in items:
        function(id(item))


def _defer_all() -> None:
    _enable(gc.get_objects())


def _defer_instances() -> None:
    containers = (dict, list, tuple, set, frozenset)
    _enable([item for item in gc.get_objects() if type(item) not in containers])


def _freeze_and_defer() -> None:
    defer()
    gc.freeze()


def _uncounted() -> None:
    """Have nobody count anything that there is: more than a server could dare."""
    function = ctypes.pythonapi._Py_SetImmortal  # noqa: SLF001 there is no public one
    function.argtypes = [ctypes.c_void_p]
    function.restype = None
    objects = gc.get_objects()
    untracked = [
        item for held in objects for item in gc.get_referents(held) if not gc.is_tracked(item)
    ]
    for item in itertools.chain(objects, untracked):
        # Classes count their instances apart, and what runs now has to end.
        if not issubclass(type(item), (type, types.CodeType, types.GeneratorType)):
            function(id(item))


STEPS: dict[str, Step] = {
    step.name: step
    for step in (
        Step("none", "as imported", lambda: None, "none"),
        Step("freeze", "frozen", gc.freeze, "freeze"),
        Step("defer", "references deferred", defer, "defer"),
        Step("freeze-defer", "deferred, then frozen", _freeze_and_defer, "freeze,defer"),
        Step("immortal", "immortal", immortalize, "immortal"),
        Step("defer-instances", "deferred, but for plain containers", _defer_instances),
        Step("defer-all", "deferred, whatever it is", _defer_all),
        Step("uncounted", "nothing counted", _uncounted),
    )
}
