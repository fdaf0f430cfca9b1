"""Objects without a reference count: no thread disturbs another one by using them.

CPython takes an object for immortal whose count for the thread that made it is as high as it can
get. Nobody but that thread writes this count, so that thread may set it, whatever others are doing
with the object; all others only look. What another thread has made is left alone.

The price: such an object is never freed as long as the process lives, nor is what it refers to. Of
what the collector does not know, and deferring leaves alone, only small things are taken.
"""

import gc
import sys
import threading
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Final

from nogilserve.prepare.deferring import AVAILABLE
from nogilserve.prepare.lasting import MOST, OF_CLASSES, Lasting, is_small

__all__ = ["IMMORTAL", "immortalize"]

IMMORTAL: Final = AVAILABLE and sys.version_info < (3, 15)
"""Whether that reaches most objects. 3.15 takes only those that nothing refers to."""

_OWNER: Final = 0
_COUNT: Final = 12
"""Where an object has the thread that made it, and the count for that thread (3.14)."""
_HIGHEST: Final = 0xFFFFFFFF
_AT_ONCE: Final = 10_000


def immortalize(lasting: Lasting | None = None) -> int:
    """Make lasting objects immortal, with what is in them, and classes; how many are new.

    The thread that has imported the application. Call it when nothing is in progress. 0 where
    this interpreter is not known to work like that.
    """
    if not AVAILABLE:
        return 0
    make = _pinned() if sys.version_info >= (3, 15) else _overflown()
    if make is None:
        return 0
    tracked = (lasting or Lasting()).tracked()
    return sum(map(make, map(id, chain(tracked, _classes())))) + _small(tracked, make)


def _classes() -> Iterable[object]:
    """Classes with what is theirs, which C code counts after all."""
    for item in gc.get_objects():
        if type(item) in OF_CLASSES or issubclass(type(item), type):
            yield item


def _small(tracked: list[object], make: Callable[[int], int]) -> int:
    """What the collector does not know: text, bytes, numbers, context variables. How many."""
    number = 0
    for start in range(0, len(tracked), _AT_ONCE):
        for item in gc.get_referents(*tracked[start : start + _AT_ONCE]):
            if not gc.is_tracked(item) and is_small(item):
                number += make(id(item))
                if number >= MOST:
                    return number  # the rest is data
    return number


def _overflown() -> Callable[[int], bool] | None:
    """Sets the count, as so many references would; None if objects are not laid out as expected."""
    import ctypes

    word, half = ctypes.c_size_t.from_address, ctypes.c_uint32.from_address
    me = threading.get_ident()

    def make(address: int) -> bool:
        if word(address + _OWNER).value != me:
            return False
        count = half(address + _COUNT)
        if count.value == _HIGHEST:
            return False
        count.value = _HIGHEST
        return True

    probe = [object()]
    address = id(probe[0])
    before = half(address + _COUNT).value
    another = probe[0]
    counted = half(address + _COUNT).value == before + 1 and word(address + _OWNER).value == me
    del another
    if not counted or half(address + _COUNT).value != before or not make(address):
        return None
    is_immortal: Callable[[object], bool] = getattr(sys, "_is_immortal", lambda _: False)
    return make if is_immortal(probe[0]) else None


def _pinned() -> Callable[[int], int] | None:
    """What 3.15 has for this; it refuses objects that it may not change."""
    import ctypes

    if not hasattr(ctypes.pythonapi, "PyUnstable_SetImmortal"):
        return None
    prototype = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
    return prototype(("PyUnstable_SetImmortal", ctypes.pythonapi))
