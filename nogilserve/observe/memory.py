"""What the objects of this interpreter are, by type: how many, and how large."""

import gc
import sys
from collections import Counter
from typing import Any, Final

__all__ = ["by_type"]

_SHOWN: Final = 500
"""Types that are told of, the largest ones."""


def by_type() -> dict[str, Any]:
    """{"types": {"module.Name": {"count": …, "bytes": …}}, "objects": …}.

    Of objects that the garbage collector knows, and of what these refer to directly that it does
    not know (text, bytes, numbers). Sizes are those of the objects alone. All threads stand still
    while the list of objects is made.
    """
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    names: dict[type, str] = {}
    seen: set[int] = set()
    objects = gc.get_objects()
    own = {id(objects), id(counts), id(sizes), id(names), id(seen)}

    def add(thing: object) -> None:
        kind = type(thing)
        name = names.get(kind)
        if name is None:
            name = names[kind] = _name(kind)
        counts[name] += 1
        try:
            sizes[name] += sys.getsizeof(thing, 0)
        except Exception:  # an object of the application's may not be ready to be asked
            pass

    for thing in objects:
        if id(thing) not in own:
            add(thing)
            for inner in gc.get_referents(thing):
                if not gc.is_tracked(inner) and id(inner) not in seen:
                    seen.add(id(inner))
                    add(inner)
    del objects
    largest = [name for name, _ in sizes.most_common(_SHOWN)]
    return {
        "types": {name: {"count": counts[name], "bytes": sizes[name]} for name in largest},
        "objects": sum(counts.values()),
    }


def _name(kind: type) -> str:
    module = getattr(kind, "__module__", "")
    name = getattr(kind, "__qualname__", "?")
    return name if module in ("builtins", "") else f"{module}.{name}"
