"""What an extension module says in its definition about the GIL (Py_mod_gil), on any build."""

import importlib
import sys
from types import ModuleType
from typing import Any, Final

__all__ = ["declares_no_gil"]

_PY_MOD_GIL: Final = 4
_NOT_USED: Final = 1
_MOST: Final = 64
"""No module has so many slots: a longer list is none."""


def declares_no_gil(module: ModuleType) -> bool:
    """Whether the definition of an imported module says that it runs without the GIL.

    False says little: builds with a GIL may leave the declaration out, modules of the old kind
    (single-phase initialisation) make it by a call, and only CPython 3.13 and 3.14 are known.
    """
    if sys.implementation.name != "cpython" or sys.version_info[:2] > (3, 14):
        return False
    try:
        ctypes: Any = importlib.import_module("ctypes")
    except ImportError:  # a Python that was built without libffi
        return False

    class Slot(ctypes.Structure):  # type: ignore[misc]
        _fields_ = (("slot", ctypes.c_int), ("value", ctypes.c_void_p))

    class Definition(ctypes.Structure):  # type: ignore[misc]  # PyModuleDef in moduleobject.h
        _fields_ = (
            ("head", ctypes.c_char * object.__basicsize__),
            *((name, ctypes.c_void_p) for name in ("init", "index", "copy", "name", "doc", "size")),
            ("methods", ctypes.c_void_p),
            ("slots", ctypes.POINTER(Slot)),
        )

    prototype = ctypes.PYFUNCTYPE(ctypes.POINTER(Definition), ctypes.py_object)
    definition = prototype(("PyModule_GetDef", ctypes.pythonapi))(module)
    if not definition or not definition.contents.slots:
        return False
    for index in range(_MOST):
        slot = definition.contents.slots[index]
        if slot.slot == _PY_MOD_GIL:
            return bool(slot.value == _NOT_USED)
        if slot.slot == 0:
            break
    return False
