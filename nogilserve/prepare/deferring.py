"""Reference counts that several threads do not get in each other's way with.

Free-threaded CPython counts the references of an object apart for the thread that made it; all
other threads share one number, and each of them waits for it whenever another has just changed it.
For functions and modules the interpreter does not count what its own stacks refer to; the garbage
collector finds those references. Here the same is asked for what the application is made of.

The price: such an object is no longer freed when its last reference goes, but by the next
collection. What has to be freed in time keeps its count (see `Lasting`), and so does
everything that comes into being later.
"""

import sys
from collections.abc import Callable
from typing import Final

from nogilserve.apps.gil import FREE_THREADED
from nogilserve.prepare.lasting import Lasting

__all__ = ["AVAILABLE", "defer"]

AVAILABLE: Final = FREE_THREADED and sys.version_info >= (3, 14)
"""Whether this interpreter can do that."""


def defer(lasting: Lasting | None = None) -> int:
    """Have the references of all lasting objects counted by the collector; how many are new.

    Any thread. Call it when nothing is in progress: what is alive then is what stays. Only where
    AVAILABLE, else 0.
    """
    if not AVAILABLE:
        return 0
    found = (lasting or Lasting()).tracked()
    # Each is held by the list meanwhile, so that no other thread can free it half-way.
    return sum(map(_function(), map(id, found)))


def _function() -> Callable[[int], int]:
    """PyUnstable_Object_EnableDeferredRefcount: 1 where it did something. Never fails.

    It is given addresses, because ctypes would ask an object for its class, and that is code of
    the application where the object is a proxy.
    """
    import ctypes  # takes memory, which only those pay who defer

    prototype = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
    return prototype(("PyUnstable_Object_EnableDeferredRefcount", ctypes.pythonapi))
