"""Reference counts that several threads do not get in each other's way with.

Free-threaded CPython counts the references of an object apart for the thread that made it; all
other threads share one number, and each of them waits for it whenever another has just changed it.
For functions and modules the interpreter does not count what its own stacks refer to; the garbage
collector finds those references. Here the same is asked for what the application is made of.

The price: such an object is no longer freed when its last reference goes, but by the next
collection. So what has to be freed in time keeps its count (`_has_finalizer`), and so does
everything that comes into being later.
"""

import gc
import sys
import sysconfig
import types
import weakref
from collections.abc import Callable
from typing import Any, Final

__all__ = ["AVAILABLE", "defer"]

AVAILABLE: Final = sys.version_info >= (3, 14) and bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
"""Whether this interpreter can do that."""

_MOST: Final = 200_000
"""Objects beyond which plain containers are taken for data, which is left alone: half a second."""

_CONTAINERS: Final = frozenset({dict, list, tuple, set, frozenset})

_LEFT_ALONE: Final = frozenset(
    {
        # Deferred, or counted for each thread, by the interpreter itself.
        *(type, types.CodeType, types.ModuleType, types.GetSetDescriptorType),
        *(types.WrapperDescriptorType, types.MethodDescriptorType, types.MemberDescriptorType),
        *(types.ClassMethodDescriptorType, staticmethod, classmethod),
        # Their end is what they are for, or they belong to something that is going on.
        *(weakref.ref, weakref.ProxyType, weakref.CallableProxyType),
        *(types.FrameType, types.TracebackType),
    }
)

_mro = type.__dict__["__mro__"].__get__
_class_dict = type.__dict__["__dict__"].__get__


def defer() -> int:
    """Have the references of all lasting objects counted by the collector; how many are new.

    Any thread. Call it when nothing is in progress: what is alive then is what stays. Only where
    AVAILABLE, else 0.
    """
    if not AVAILABLE:
        return 0
    enable = _function()
    kinds: dict[type, bool] = dict.fromkeys(_LEFT_ALONE, False)
    lasting: list[Any] = []
    for item in gc.get_objects():
        kind = type(item)
        wanted = kinds.get(kind)
        if wanted is None:
            wanted = kinds[kind] = not (issubclass(kind, type) or _has_finalizer(kind))
        if wanted:
            lasting.append(item)
    if len(lasting) > _MOST:
        lasting = [item for item in lasting if type(item) not in _CONTAINERS]
    # Each is held by the list meanwhile, so that no other thread can free it half-way.
    return sum(map(enable, map(id, lasting)))


def _function() -> Callable[[int], int]:
    """PyUnstable_Object_EnableDeferredRefcount: 1 where it did something. Never fails.

    It is given addresses, because ctypes would ask an object for its class, and that is code of
    the application where the object is a proxy.
    """
    import ctypes  # takes memory, which only those pay who defer

    prototype = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
    return prototype(("PyUnstable_Object_EnableDeferredRefcount", ctypes.pythonapi))


def _has_finalizer(kind: type) -> bool:
    """Whether something happens when an instance is freed: files, sockets, connections, tasks,
    generators. Their users may rely on the moment."""
    return any("__del__" in _class_dict(each) for each in _mro(kind))
