"""Objects without a reference count: no thread disturbs another one by using them.

CPython takes an object for immortal whose count for the thread that made it is as high as it can
get. Nobody but that thread writes this count, so that thread may set it, whatever others are doing
with the object; all others only look. What another thread has made is left alone.

The price: such an object is never freed as long as the process lives, nor is what it refers to. Of
what the collector does not know, and deferring leaves alone, only small things are taken.
"""

import gc
import sys
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Final

from nogilserve.prepare.deferring import AVAILABLE
from nogilserve.prepare.lasting import MOST, OF_CLASSES, Lasting, is_small, is_table

__all__ = ["IMMORTAL", "immortalize"]

_ASSERTING: Final = hasattr(sys, "gettotalrefcount")
"""A debug build asserts that what waits to be counted is not immortal, which may have just been."""
IMMORTAL: Final = AVAILABLE and sys.version_info < (3, 15) and not _ASSERTING
"""Whether that reaches most objects. 3.15 takes only those that nothing refers to."""

_OWNER: Final = 0
_COUNT: Final = 12
"""Where an object has the thread that made it, and the count for that thread (3.14)."""
_HIGHEST: Final = 0xFFFFFFFF
_AT_ONCE: Final = 1000
_LOOKS: Final = 1_000_000
"""References that are followed to what the collector does not know: a second at most."""


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
    """What the collector does not know: text, bytes, numbers, context variables. How many. What
    there is very much of is data."""
    number = looks = 0
    holders = [item for item in tracked if not is_table(item)]
    for start in range(0, len(holders), _AT_ONCE):
        found = gc.get_referents(*holders[start : start + _AT_ONCE])
        looks += len(found)
        if looks > _LOOKS:
            break
        for item in found:
            if is_small(item) and not gc.is_tracked(item):
                number += make(id(item))
                if number >= MOST:
                    return number
    return number


def _overflown() -> Callable[[int], bool] | None:
    """Sets the count, as so many references would; None if objects are not laid out as expected."""
    import ctypes

    word, half = ctypes.c_size_t.from_address, ctypes.c_uint32.from_address
    probe = [object()]
    address = id(probe[0])
    me = word(address + _OWNER).value  # `threading` tells something else on many a processor

    def make(address: int) -> bool:
        if word(address + _OWNER).value != me:
            return False
        count = half(address + _COUNT)
        if count.value == _HIGHEST:
            return False
        count.value = _HIGHEST
        return True

    nobody = id(None)
    if word(nobody + _OWNER).value or half(nobody + _COUNT).value != _HIGHEST or not me:
        return None
    before = half(address + _COUNT).value
    another = probe[0]
    counted = half(address + _COUNT).value == before + 1
    del another
    if _ASSERTING or not counted or half(address + _COUNT).value != before or not make(address):
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
