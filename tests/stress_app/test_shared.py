"""Which instructions touch what threads share."""

import importlib
import linecache
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nogilserve.stress.pauses import Pauses
from nogilserve.stress.shared import changed_attributes, rebound_names, touches
from nogilserve.stress.tickets import Ticket
from nogilserve.stress.turns import CURRENT, Turn

SOURCE = """
import threading
from collections import Counter

LIMIT = 3
lock = threading.Lock()
count = 0
cache = {}
hits = Counter()

class Pool:
    def __init__(self):
        self.free = []
    def put(self, thing):
        self.free.append(thing)
    def size(self):
        return len(self.free)

pool = Pool()

def bump():
    global count
    count += 1
    return count

def look(key):
    if key not in cache:
        cache[key] = LIMIT
    return cache[key]

def use():
    with lock:
        hits.update("a")
    pool.put(LIMIT)

def closure():
    inner = 0
    def more():
        nonlocal inner
        inner += 1
        return inner
    return more
"""


@pytest.fixture
def module(tmp_path: Path) -> types.ModuleType:
    """The source above as a module with a file."""
    path = tmp_path / "watched.py"
    path.write_text(SOURCE)
    made = types.ModuleType("watched")
    made.__file__ = str(path)
    exec(compile(SOURCE, str(path), "exec"), vars(made))
    linecache.checkcache(str(path))
    return made


def found(module: types.ModuleType, name: str) -> list[tuple[str, str]]:
    """What a function of the module touches, in order."""
    functions = [value for value in vars(module).values() if isinstance(value, types.FunctionType)]
    functions += [
        value for value in vars(module.Pool).values() if isinstance(value, types.FunctionType)
    ]
    codes = [(each.__code__, vars(module)) for each in functions]
    codes += [
        (constant, vars(module))
        for code, _ in codes[:]
        for constant in code.co_consts
        if isinstance(constant, types.CodeType)
    ]
    code = next(each for each in codes if each[0].co_name == name)
    table = touches(code, rebound_names(codes), changed_attributes(codes))
    return [(touch.name, touch.kind) for _, touch in sorted(table.items())]


def test_rebound_global(module: types.ModuleType) -> None:
    """Read, written, read again: between each two others may come."""
    assert found(module, "bump") == [("count", "reads"), ("count", "writes"), ("count", "reads")]


def test_container(module: types.ModuleType) -> None:
    """Looked into, changed, read; a constant is nothing."""
    assert found(module, "look") == [
        *(("cache", "reads"), ("cache", "reads"), ("cache", "writes"), ("cache", "reads"))
    ]


def test_methods_and_locks(module: types.ModuleType) -> None:
    """A method that changes things by its name counts as writing; a lock is nothing."""
    assert found(module, "use") == [("hits", "writes"), ("pool", "writes")]


def test_attributes(module: types.ModuleType) -> None:
    """Those that are changed outside of the constructor, where they are read, too."""
    assert found(module, "put") == [(".free", "writes")]
    assert found(module, "size") == [(".free", "reads")]
    assert found(module, "__init__") == []


def test_nonlocal(module: types.ModuleType) -> None:
    """What a closure rebinds is shared by all its callers."""
    assert ("inner", "writes") in found(module, "more")


def test_pauses_note_what_runs(module: types.ModuleType) -> None:
    """With a request, each touch is noted; without one nothing is, and no other code is slower."""
    pauses = Pauses(lambda: [module])
    assert pauses.start()
    try:
        module.bump()
        turn = Turn(Ticket(1, 0, 1, 7, 0, detail=True), own_files=pauses.files)
        token = CURRENT.set(turn)
        try:
            module.bump()
        finally:
            CURRENT.reset(token)
        assert [(touch.name, touch.kind, touch.line) for _, touch, _, _ in turn.touches] == [
            *(("count", "reads", 23), ("count", "writes", 23), ("count", "reads", 24))
        ]
        stack = turn.touches[0][3]
        assert stack == (f"{module.__file__}:23 in bump",)
        assert module.count == 2
    finally:
        pauses.stop()
    assert all(sys.monitoring.get_tool(tool) != "nogilserve stress" for tool in range(6))


def test_module_that_is_imported_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the first request, say: its functions are watched from their first call on."""
    (tmp_path / "watched_late.py").write_text(
        "count = 0\ndef bump():\n    global count\n    count += 1\nbump()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    pauses = Pauses(lambda: [each for name, each in list(sys.modules.items()) if "_late" in name])
    assert pauses.start()
    try:
        assert pauses.places == 0
        module = importlib.import_module("watched_late")
        turn = Turn(Ticket(1, 0, 1, 7, 0), own_files=pauses.files)
        token = CURRENT.set(turn)
        try:
            module.bump()
        finally:
            CURRENT.reset(token)
        assert [touch.kind for _, touch, _, _ in turn.touches] == ["reads", "writes"]
        assert pauses.places == 2
    finally:
        pauses.stop()
        sys.modules.pop("watched_late", None)


def test_new_module_is_watched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that call its functions for the first time at the same moment get on."""
    (tmp_path / "watched_late_too.py").write_text(
        "count = 0\ndef bump():\n    global count\n    count += 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    pauses = Pauses(lambda: [each for name, each in list(sys.modules.items()) if "_late" in name])
    assert pauses.start()
    try:
        module = importlib.import_module("watched_late_too")
        barrier = threading.Barrier(8)

        def call(_: int) -> None:
            barrier.wait(20)
            module.bump()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(call, range(8)))
        assert pauses.places == 2
        assert pauses.files == {module.__file__}
    finally:
        pauses.stop()
        sys.modules.pop("watched_late_too", None)
