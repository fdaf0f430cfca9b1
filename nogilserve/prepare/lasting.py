"""Which objects last: what is alive when the application is started and no request was accepted."""

import gc
import re
import threading
import types
import weakref
from collections import Counter, deque
from contextvars import ContextVar
from typing import Any, Final

__all__ = ["MOST", "OF_CLASSES", "Lasting", "is_small", "is_table"]

MOST: Final = 200_000
"""Objects beyond which plain containers are taken for data, which is left alone: half a second."""

_LOOKS: Final = 8
"""Instances of a class that are looked at."""
_TABLE: Final = 10_000
_TABLES: Final[tuple[Any, ...]] = (dict, list, tuple, set, frozenset, deque)

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
        *(weakref.ProxyType, weakref.CallableProxyType),
        *(types.FrameType, types.TracebackType),
    }
)
_NEVER: Final = (type, weakref.ref)
"""So are those that are made from these: a reference that is freed calls nobody back."""

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
        """There were so many objects that some were left alone."""

    def is_one(self, item: object) -> bool:
        """Whether an object may stay, by its type."""
        kind = type(item)
        wanted = self._kinds.get(kind)
        if wanted is None:
            wanted = self._kinds[kind] = not (issubclass(kind, _NEVER) or _has_an_end(kind))
        return wanted

    def tracked(self) -> list[Any]:
        """Those that the collector knows."""
        found = [item for item in gc.get_objects() if self.is_one(item)]
        if len(found) > MOST:
            self.with_data = True
            found = _without_data(found)
        if links := _links(found):
            self._kinds |= dict.fromkeys(links, False)
            found = [item for item in found if type(item) not in links]
        return found


def is_small(item: object) -> bool:
    """Whether something that the collector does not know takes little memory for sure. Others, such
    as arrays, may be most of what an application has, and have to be freed when it replaces them.
    """
    kind = type(item)
    return kind in _PLAIN or (kind in _SIZED and len(item) <= _SMALL)  # type: ignore[arg-type]


def is_table(item: Any) -> bool:
    """Whether it holds so many that it takes long to look at them."""
    kind = type(item)
    return any(issubclass(kind, each) and each.__len__(item) > _TABLE for each in _TABLES)


def _without_data(found: list[Any]) -> list[Any]:
    """Neither plain containers, nor, where that is not enough, what there is most of: the instances
    of a class of the application."""
    found = [item for item in found if type(item) not in _CONTAINERS]
    many = set()
    left = len(found)
    for kind, number in Counter(map(type, found)).most_common():
        if left <= MOST:
            break
        many.add(kind)
        left -= number
    return [item for item in found if type(item) not in many]


def _links(found: list[Any]) -> set[type]:
    """Classes written in Python whose instances refer to each other, one to the next: links of a
    chain. A link that is taken out goes on referring to the next one, and that to the one after it.
    So if the first one stayed, all would stay that are ever added: the entries of a cache."""
    looks: dict[type, int] = {}
    links = set()
    for item in found:
        kind = type(item)
        number = looks.setdefault(kind, 0 if "__firstlineno__" in _class_dict(kind) else _LOOKS)
        if number < _LOOKS:
            looks[kind] = number + 1
            if any(map(_next, _next(item))):
                links.add(kind)
                looks[kind] = _LOOKS
    return links


def _next(item: object) -> list[object]:
    """Others of the same class that it refers to."""
    return [
        each for each in gc.get_referents(item) if type(each) is type(item) and each is not item
    ]


def _has_an_end(kind: type) -> bool:
    """Whether something happens when an instance is freed that its users may rely on. It has a
    finalizer: files, sockets, connections, tasks, generators. Or it gives back memory, or the hold
    that it has on another one's: views of memory, mapped files, arrays."""
    return any(
        "__del__" in _class_dict(each) or "__buffer__" in _class_dict(each) for each in _mro(kind)
    )
