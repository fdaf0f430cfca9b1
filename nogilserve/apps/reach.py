"""Which objects can be reached from some others, without running any of their code.

Attributes are read from instance dictionaries and slots as the interpreter keeps them: no
property, `__getattr__`, `__iter__` or `__eq__` is called, so proxies and other odd objects do not
notice. Follows containers, instances, bound methods, partials, and what functions close over;
not modules, the globals of functions, weak references, generators and frames.
"""

import functools
import gc
import types
import weakref
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from time import monotonic
from typing import Any, Final

__all__ = ["is_dunder", "module_globals", "raw_attribute", "reachable", "type_names"]

_ATOMS: Final = frozenset(
    {
        *(str, bytes, bytearray, int, float, complex, bool, type(None), type(...), range, slice),
        *(types.BuiltinFunctionType, types.CodeType, types.FrameType, types.ModuleType),
        *(types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType),
        *(types.GetSetDescriptorType, types.MemberDescriptorType, types.WrapperDescriptorType),
        *(types.MethodDescriptorType, types.ClassMethodDescriptorType, types.MethodWrapperType),
        *(types.GenericAlias, types.UnionType),
        *(weakref.ref, weakref.ProxyType, weakref.CallableProxyType),
    }
)
"""Types whose instances lead nowhere."""

_LRU_CACHE: Final = type(functools.cache(lambda: None))

_mro = type.__dict__["__mro__"].__get__
_class_dict = type.__dict__["__dict__"].__get__
_module_of = type.__dict__["__module__"].__get__
_module_dict = vars(types.ModuleType)["__dict__"].__get__
_qualname_of = type.__dict__["__qualname__"].__get__
# Through these even a metaclass that overrides the attributes is not asked.

_Node = tuple["_Node | None", str, Any]
"""Where it was found, what to add to that path, the object."""

_Child = tuple[str, Any]


def type_names(kind: type) -> list[str]:
    """ "module:qualname" of every class in the MRO of a type, the type's own first."""
    names = []
    for each in _mro(kind):
        try:
            module = _module_of(each)
        except AttributeError:  # somebody has deleted it
            continue
        if type(module) is str:
            names.append(f"{module}:{_qualname_of(each)}")
    return names


def module_globals(module: types.ModuleType) -> dict[str, Any]:
    """The globals of a module; one that is loaded lazily is left as it is."""
    found: dict[str, Any] = _module_dict(module)
    return found


def is_dunder(name: object) -> bool:
    """Whether something is a name such as `__globals__`."""
    return type(name) is str and name.startswith("__") and name.endswith("__")


def raw_attribute(value: object, path: str) -> object:
    """What a dotted path of instance attributes or slots leads to; None where it breaks off."""
    for name in path.split("."):
        value = dict(_attributes(value, type(value))).get(f".{name}")
    return value


def reachable(
    roots: Iterable[_Child],
    *,
    into: Callable[[Any], bool],
    modules: Container[str] = (),
    transparent: Callable[[type], str] = lambda _: "",
    objects: int = 200_000,
    seconds: float = 2.0,
) -> Iterator[tuple[Any, str]]:
    """Every object and a shortest path to it from `roots` (label, object), such as "main:app.pool".

    The roots are among them. Nothing behind an object is visited if `into` says no to it, nor what
    is in a class of another module than `modules`. `transparent` gives the attribute whose items
    a type shows as its own attributes, "" for ordinary types. Ends after that many objects or
    seconds.
    """
    queue: deque[_Node] = deque((None, label, value) for label, value in roots)
    seen: dict[int, Any] = {}  # keeps what it has seen alive, so that no identity is used twice
    deadline = monotonic() + seconds
    while queue:
        node = queue.popleft()
        value = node[2]
        kind = type(value)
        if kind in _ATOMS or id(value) in seen:
            continue
        if len(seen) >= objects or (len(seen) % 1024 == 1023 and monotonic() > deadline):
            return
        seen[id(value)] = value
        yield value, _path(node)
        if not into(value):
            continue
        hidden = transparent(kind)
        for label, child in _children(value, kind, modules):
            if hidden and label == f".{hidden}" and type(child) is dict:
                queue.extend((node, _dotted(key), item) for key, item in _pairs(child))
            elif type(child) not in _ATOMS:
                queue.append((node, label, child))


def _path(node: _Node | None) -> str:
    parts = []
    while node is not None:
        parts.append(node[1])
        node = node[0]
    return "".join(reversed(parts))


def _children(value: Any, kind: type, modules: Container[str]) -> Iterator[_Child]:
    """What an object leads to, with what each adds to the path."""
    if kind is types.FunctionType:
        yield from _of_function(value)
    elif kind is types.MethodType:
        yield ".__self__", value.__self__
        yield "", value.__func__
        return
    elif kind is functools.partial:
        yield ".func", value.func
        yield from ((f".args[{index}]", item) for index, item in enumerate(value.args))
        yield from ((f".keywords[{key!r}]", item) for key, item in value.keywords.items())
    elif kind in (staticmethod, classmethod):
        yield "", value.__func__
    elif kind is property:
        yield from ((".fget", value.fget), (".fset", value.fset))
    elif kind is _LRU_CACHE:
        # The only way to what it has cached; the wrapped function is among it.
        yield from (("() in its cache", item) for item in gc.get_referents(value))
    elif issubclass(kind, type):
        if type_names(value)[:1] and type_names(value)[0].partition(":")[0] in modules:
            yield from ((_dotted(name), each) for name, each in list(_class_dict(value).items()))
        return
    else:
        yield from _items(value, kind)
    yield from _attributes(value, kind)


def _of_function(function: types.FunctionType) -> Iterator[_Child]:
    """What a function closes over, and the defaults of its parameters."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield f", closure variable {name}", cell.cell_contents
        except ValueError:  # not assigned yet
            pass
    for item in function.__defaults__ or ():
        yield ", default of a parameter", item
    for name, item in (function.__kwdefaults__ or {}).items():
        yield f", default of {name}", item


def _items(value: Any, kind: type) -> Iterator[_Child]:
    """The items of a container of a built-in type or a subclass, whatever methods it overrides."""
    if issubclass(kind, dict):
        for key, item in _pairs(value):
            yield (f"[{key!r}]" if type(key) in (str, int) else "[…]"), item
            yield ", a key", key
    elif issubclass(kind, (list, tuple, deque)):
        # list() of a subclass would run its __iter__.
        walk: Any = next(base for base in (list, tuple, deque) if issubclass(kind, base)).__iter__
        yield from ((f"[{index}]", item) for index, item in enumerate(_copied(walk, value)))
    elif issubclass(kind, (set, frozenset)):
        walk = set.__iter__ if issubclass(kind, set) else frozenset.__iter__
        yield from ((", an item", item) for item in _copied(walk, value))
    elif kind is types.MappingProxyType:
        yield from (("", item) for item in gc.get_referents(value))


def _pairs(value: dict[Any, Any]) -> list[tuple[Any, Any]]:
    """The items of a dictionary, without those of a table that has an entry for each loop."""
    found = _copied(dict.items, value)
    return [pair for pair in found if "asyncio.events:AbstractEventLoop" not in _names(pair[0])]


def _names(key: object) -> list[str]:
    return [] if type(key) in _ATOMS else type_names(type(key))


def _copied(walk: Callable[[Any], Iterable[Any]], value: Any) -> list[Any]:
    """The items of a container; none if another thread changes it all the while."""
    for _ in range(3):
        try:
            return list(walk(value))
        except RuntimeError:
            continue
    return []


def _attributes(value: Any, kind: type) -> Iterator[_Child]:
    """Instance dictionary and slots, read past everything that the type may override."""
    for each in _mro(kind):
        for name, descriptor in list(_class_dict(each).items()):
            if type(descriptor) is types.MemberDescriptorType and not is_dunder(name):
                try:
                    yield f".{name}", descriptor.__get__(value)
                except AttributeError:  # a slot that is empty
                    pass
            elif name == "__dict__" and type(descriptor) is types.GetSetDescriptorType:
                attributes = descriptor.__get__(value)
                if type(attributes) is dict:
                    pairs = _copied(dict.items, attributes)
                    yield from ((_dotted(key), item) for key, item in pairs)


def _dotted(key: object) -> str:
    return f".{key}" if type(key) is str else ".…"  # str() of anything else would run its code
