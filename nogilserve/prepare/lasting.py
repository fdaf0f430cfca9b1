"""Which objects last: what is alive when the application is started and no request was accepted."""

import gc
import re
import threading
import types
import weakref
from contextvars import ContextVar
from typing import Any, Final

__all__ = ["MOST", "OF_CLASSES", "Lasting", "is_small"]

MOST: Final = 200_000
"""Objects beyond which plain containers are taken for data, which is left alone: half a second."""

_CONTAINERS: Final = frozenset({dict, list, tuple, set, frozenset})

OF_CLASSES: Final = frozenset(
    {
        *(type, types.CodeType, types.GetSetDescriptorType, types.MemberDescriptorType),
        *(types.WrapperDescriptorType, types.MethodDescriptorType, types.ClassMethodDescriptorType),
        *(staticmethod, classmethod),
    }
)
"""Types whose objects are deferred, or counted for each thread, by the interpreter itself."""

_LEFT_ALONE: Final = frozenset(
    {
        *(*OF_CLASSES, types.ModuleType),
        # Their end is what they are for, or they belong to something that is going on.
        *(weakref.ref, weakref.ProxyType, weakref.CallableProxyType),
        *(types.FrameType, types.TracebackType),
    }
)

_SMALL: Final = 4096
_SIZED: Final = frozenset({str, bytes, tuple, frozenset})
_PLAIN: Final = frozenset(
    {int, float, complex, ContextVar, re.Pattern, type(threading.Lock()), type(threading.RLock())}
)

_mro = type.__dict__["__mro__"].__get__
_class_dict = type.__dict__["__dict__"].__get__


class Lasting:
    """Tells objects that may as well stay from those that have to be freed in time. Runs none of
    their code. Owner: the thread that made it."""

    def __init__(self) -> None:
        self._kinds: dict[type, bool] = dict.fromkeys(_LEFT_ALONE, False)
        self.with_data = False
        """There were so many objects that plain containers were left alone."""

    def is_one(self, item: object) -> bool:
        """Whether an object may stay, by its type."""
        kind = type(item)
        wanted = self._kinds.get(kind)
        if wanted is None:
            wanted = self._kinds[kind] = not (issubclass(kind, type) or _has_finalizer(kind))
        return wanted

    def tracked(self) -> list[Any]:
        """Those that the collector knows."""
        found = [item for item in gc.get_objects() if self.is_one(item)]
        if len(found) > MOST:
            self.with_data = True
            return [item for item in found if type(item) not in _CONTAINERS]
        return found


def is_small(item: object) -> bool:
    """Whether something that the collector does not know takes little memory for sure. Others, such
    as arrays, may be most of what an application has, and have to be freed when it replaces them.
    """
    kind = type(item)
    return kind in _PLAIN or (kind in _SIZED and len(item) <= _SMALL)  # type: ignore[arg-type]


def _has_finalizer(kind: type) -> bool:
    """Whether something happens when an instance is freed: files, sockets, connections, tasks,
    generators. Their users may rely on the moment."""
    return any("__del__" in _class_dict(each) for each in _mro(kind))
