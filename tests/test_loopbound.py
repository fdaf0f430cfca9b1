"""Finding loop-bound objects: real asyncio objects in modules on disk, real frameworks."""

import asyncio
import contextvars
import functools
import importlib.util
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import pytest

from nogilserve import per_loop
from nogilserve.apps.loopbound import LoopBound, find_loop_bound
from nogilserve.apps.reach import reachable
from nogilserve.perloop import close_all

ROOT = Path(__file__).resolve().parents[1]


def module_of(**names: Any) -> ModuleType:
    """A module "main" with these globals."""
    module = ModuleType("main")
    vars(module).update(names)
    return module


def found_in(**names: Any) -> list[str]:
    """Where `find_loop_bound` finds something among the globals of a module "main"."""
    return [each.where for each in find_loop_bound(None, [module_of(**names)])]


class Holder:
    """An ordinary object."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def method(self) -> None:
        """Bound to its object."""


class Slotted:
    """An object with slots, one of them empty."""

    __slots__ = ("empty", "lock")

    def __init__(self, lock: object) -> None:
        self.lock = lock


class Dictionary(dict[str, Any]):
    """A dictionary that must not be asked."""

    def items(self) -> Any:
        """Not for us."""
        raise SystemExit

    __iter__ = keys = values = items


def closing_over(pool: object) -> Callable[[], object]:
    """A function with a closure."""

    def view() -> object:
        return pool

    return view


def with_defaults(first: object, *, second: object) -> Callable[..., object]:
    """A function with defaults of both kinds."""

    def view(one: object = first, *, two: object = second) -> object:
        return one, two

    return view


def cached(value: object) -> Callable[[], object]:
    """What FastAPI's users write: a cached function that makes a client."""

    @functools.lru_cache
    def client() -> object:
        return value

    client()
    return client


class Own:
    """A class of the application's; `__module__` says so."""

    __module__ = "main"
    lock = asyncio.Lock()

    @staticmethod
    def method(event: object = asyncio.Event()) -> None:
        """With a default."""


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda lock: lock, "main:x"),
        (lambda lock: Holder(a=Holder(b=lock)), "main:x.a.b"),
        (lambda lock: Slotted(lock), "main:x.lock"),
        (lambda lock: {"key": lock}, "main:x['key']"),
        (lambda lock: {7: [lock]}, "main:x[7][0]"),
        (lambda lock: {(1, 2): lock}, "main:x[…]"),
        (lambda lock: {lock: 1}, "main:x, a key"),
        (lambda lock: Dictionary(key=lock), "main:x['key']"),
        (lambda lock: MappingProxyType({"key": lock}), "main:x['key']"),
        (lambda lock: (1, lock), "main:x[1]"),
        (lambda lock: {lock}, "main:x, an item"),
        (lambda lock: frozenset({lock}), "main:x, an item"),
        (lambda lock: Holder(a=lock).method, "main:x.__self__.a"),
        (lambda lock: closing_over(lock), "main:x, closure variable pool"),
        (lambda lock: with_defaults(lock, second=1), "main:x, default of a parameter"),
        (lambda lock: with_defaults(1, second=lock), "main:x, default of two"),
        (lambda lock: functools.partial(print, lock), "main:x.args[0]"),
        (lambda lock: functools.partial(print, end=lock), "main:x.keywords['end']"),
        (lambda lock: functools.partial(Holder(a=lock).method), "main:x.func.__self__.a"),
        (lambda lock: cached(lock), "main:x() in its cache"),
    ],
)
def test_each_place_has_a_name(make: Callable[[object], object], where: str) -> None:
    """Whatever way leads to a lock, the report says which."""
    assert found_in(x=make(asyncio.Lock())) == [where]


def test_classes_of_the_application_are_looked_into() -> None:
    """Class attributes, and defaults of methods; classes of other modules are left alone."""
    assert found_in(Own=Own, Holder=Holder) == [
        "main:Own.lock",
        "main:Own.method, default of a parameter",
    ]
    assert found_in(Own=Holder(cls=asyncio.Queue)) == []


@pytest.mark.parametrize(
    "kind",
    [
        *(asyncio.Lock, asyncio.Event, asyncio.Condition, asyncio.Queue, asyncio.LifoQueue),
        *(asyncio.PriorityQueue, asyncio.Semaphore, asyncio.BoundedSemaphore, asyncio.TaskGroup),
        type("Mine", (asyncio.Queue,), {}),
        lambda: asyncio.Barrier(2),
    ],
)
def test_asyncio_objects_are_recognised(kind: Callable[[], object]) -> None:
    """And subclasses of them."""
    (found,) = find_loop_bound(None, [module_of(x=kind())])
    assert (found.where, found.kind.partition(".")[0]) == ("main:x", "asyncio")


def test_running_things_are_recognised() -> None:
    """Loops, futures, tasks, transports, streams and servers."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        things: dict[str, Any] = {
            "loop": loop,
            "future": loop.create_future(),
            "task": asyncio.current_task(),
            "transport": writer.transport,
            "reader": reader,
            "writer": writer,
            "server": server,
            "timer": loop.call_later(100, print),
        }
        try:
            assert found_in(**things) == [f"main:{name}" for name in things]
        finally:
            things["timer"].cancel()
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()

    asyncio.run(main())


def test_what_is_not_bound_is_not_reported() -> None:
    """Thread locks, one-for-each-loop tables, weak references and context variables are fine."""
    loop = asyncio.new_event_loop()
    local, variable = threading.local(), contextvars.ContextVar[object]("variable")
    local.lock = asyncio.Lock()
    variable.set(asyncio.Lock())
    thing = per_loop(asyncio.Lock)
    try:
        loop.run_until_complete(thing())
        assert (
            found_in(
                thread_lock=threading.Lock(),
                thread_event=threading.Event(),
                local=local,
                variable=variable,
                per_loop=thing,
                weak=weakref.WeakKeyDictionary({loop: asyncio.Lock()}),
                reference=weakref.ref(asyncio.Lock()),
                module=asyncio,
                function=asyncio.Queue,
            )
            == []
        )
        assert found_in(mine={loop: asyncio.Lock()}) == []
    finally:
        loop.run_until_complete(close_all())
        loop.close()


def hostile_objects() -> tuple[object, type, object]:
    """Two objects with a lock in them, and a class; each ends the process when it is touched.

    They are made here because pytest touches what it finds in a module.
    """

    class Hostile(type):
        def __getattribute__(cls, name: str) -> Any:
            raise SystemExit

    class Proxy(metaclass=Hostile):
        __slots__ = ("inner",)

        def __getattribute__(self, name: str) -> Any:
            raise SystemExit

        __eq__ = __hash__ = __iter__ = __len__ = __bool__ = __getattribute__  # type: ignore[assignment]

    class Pretender:
        """Like Werkzeug's LocalProxy, whose dictionary is somebody else's."""

        @property
        def __dict__(self) -> Any:  # type: ignore[override]
            raise SystemExit

        engine = __class__ = __dict__

    proxy, pretender = object.__new__(Proxy), Pretender()
    object.__setattr__(proxy, "inner", [asyncio.Lock()])
    object.__setattr__(pretender, "lock", asyncio.Lock())
    return proxy, Proxy, pretender


def test_odd_objects_are_not_touched() -> None:
    """No property, `__getattr__`, `__iter__`, `__eq__` or metaclass of the application's is run."""
    proxy, kind, pretender = hostile_objects()
    found = found_in(proxy=proxy, kind=kind, pretender=pretender)
    assert found == ["main:proxy.inner[0]"]  # the other one's dictionary cannot be had


def test_names_that_are_no_names_are_passed_over() -> None:
    """Attributes and module names that are other objects than str; a class without a module."""

    class Key(str):
        __hash__ = str.__hash__

        def __format__(self, spec: str) -> str:
            raise SystemExit

        __str__ = __repr__ = __format__  # type: ignore[assignment]

    class Nameless:
        __module__ = Key("x")

    nameless = Nameless()
    vars(nameless)[Key("lock")] = asyncio.Lock()
    assert found_in(nameless=nameless, kind=Nameless) == ["main:nameless.…"]


def test_lazy_module_stays_unloaded(tmp_path: Path) -> None:
    """Looking at a module of importlib's LazyLoader does not import it."""
    path = tmp_path / "lazy.py"
    path.write_text("raise SystemExit\n")
    spec = importlib.util.spec_from_file_location("lazy", path)
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert find_loop_bound(None, [module]) == []


def test_cycles_end_and_each_object_is_reported_once() -> None:
    """By the shortest way that leads to it."""
    one, two = Holder(lock=asyncio.Lock()), Holder()
    one.other, two.other = two, one  # type: ignore[attr-defined]
    one.itself = [one]  # type: ignore[attr-defined]
    assert found_in(two=two, one=one, lock2=[[one]]) == ["main:one.lock"]


def test_search_is_bounded() -> None:
    """In objects and in time."""
    endless = [[number] for number in range(5000)]
    count = sum(1 for _ in reachable([("x", endless)], into=lambda _: True, objects=100))
    assert count == 100
    begun = time.monotonic()
    count = sum(1 for _ in reachable([("x", endless)], into=lambda _: True, seconds=0))
    assert count == 1023
    assert time.monotonic() - begun < 20


def test_objects_that_change_meanwhile_do_no_harm() -> None:
    """A thread of the application's fills and empties what is being looked at, at every step."""
    table: dict[object, object] = {number: [number] for number in range(300)}
    holder = Holder(**{f"a{number}": 1 for number in range(100)})
    stop = threading.Event()

    def change() -> None:
        number = 300
        while not stop.is_set():
            table[number] = [number]
            table.pop(number - 300, None)
            vars(holder)[f"a{number}"] = [number]
            vars(holder).pop(f"a{number - 50}", None)
            number += 1

    changer = threading.Thread(target=change)
    changer.start()
    try:
        for _ in range(20):
            assert found_in(table=table, holder=holder, lock=asyncio.Lock())[:1] == ["main:lock"]
    finally:
        stop.set()
        changer.join(20)


def test_state_of_the_lifespan_comes_last() -> None:
    """What only the state has is named so; what a module has too is named there."""
    shared, own = asyncio.Lock(), asyncio.Queue[int]()
    state = {"shared": shared, "pools": {"queue": own}, "n": 1}
    assert find_loop_bound(None, [module_of(lock=shared)], state) == [
        LoopBound("asyncio.locks.Lock", "main:lock"),
        LoopBound("asyncio.queues.Queue", "lifespan state['pools']['queue']"),
    ]


def test_application_of_a_factory_is_searched() -> None:
    """No global leads to it, so it is called the application."""
    app = Holder(pool=asyncio.Queue[int]())
    (found,) = find_loop_bound(app, [])
    assert str(found) == "application.pool (asyncio.queues.Queue)"


def test_further_types_can_be_named() -> None:
    """`extra` has the form of the list's own entries."""
    module = module_of(holder=Holder(), other=[Holder()])
    entry = f"{Holder.__module__}:{Holder.__qualname__}"
    found = find_loop_bound(None, [module], extra=[entry])
    assert [str(each) for each in found] == [
        f"main:holder ({entry.replace(':', '.')})",
        f"main:other[0] ({entry.replace(':', '.')})",
    ]


def test_modules_of_the_application(tmp_path: Path) -> None:
    """The user's own files and packages, not what is installed, and the application's first."""
    (tmp_path / "site-packages" / "installed").mkdir(parents=True)
    (tmp_path / "site-packages" / "installed" / "__init__.py").write_text("from . import inner")
    (tmp_path / "site-packages" / "installed" / "inner.py").write_text("")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "models.py").write_text("")
    (tmp_path / "settings.py").write_text("")
    (tmp_path / "package" / "web.py").write_text(
        "import json, asyncio, pytest, settings, installed, sys\n"
        "from . import models\nsys.modules['odd'] = object()"
    )
    code = (
        "import sys; sys.path[:0] = ['site-packages', '.']\n"
        "from nogilserve.apps.loopbound import application_modules\n"
        "import package.web\n"
        "print([m.__name__ for m in application_modules('package.web')])\n"
        "print([m.__name__ for m in application_modules('installed')])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stdout.splitlines() == [
        "['package.web', 'package', 'package.models', 'settings']",
        "['installed', 'installed.inner', 'package', 'package.models', 'package.web', 'settings']",
    ]
