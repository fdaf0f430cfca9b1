"""Deferred and immortal objects: nothing is freed early, and no code of theirs is run."""

import sys

import pytest

from nogilserve.prepare.deferring import AVAILABLE
from tests.prepare.alone import python

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="free-threaded CPython 3.14 and later")


KINDS = """
import functools, gc, threading, weakref
from nogilserve.prepare.deferring import defer

gc.disable()
ended = []

class Thing:
    def __init__(self, part=None):
        self.part = part
    def method(self):
        return self.part

def closure(value):
    def inner():
        return value
    return inner

def with_end(value, name):
    weakref.finalize(value, ended.append, name)
    return value

things = {
    "instance": with_end(Thing(), "instance"),
    "with a part": with_end(Thing([Thing()]), "with a part"),
    "function": with_end(closure([1]), "function"),
    "partial": with_end(functools.partial(print, []), "partial"),
    "set": with_end(type("Set", (set,), {})([1]), "set"),
}
bound = Thing().method
kept = Thing(closure({}))
"""


def test_what_is_removed_is_freed_by_the_next_collection() -> None:
    """Of every kind, with what hangs on it, and not before; what is kept stays."""
    out = python(
        KINDS
        + """
names = sorted(things)
assert defer() > 100
things.clear()
assert ended == [], ended
gc.collect()
assert sorted(ended) == names, ended
assert bound() is None
assert kept.part() == {}
print("good")
"""
    )
    assert out == "good\n"


def test_frozen_beside_deferred_is_kept_until_unfrozen() -> None:
    """So both together are only for what is never replaced."""
    out = python(
        KINDS
        + """
from nogilserve.prepare.collecting import FROZEN
names = sorted(things)
defer()
FROZEN.hold()
things.clear()
gc.collect()
assert ended == []
FROZEN.release()
gc.collect()
assert sorted(ended) == names
print("good")
"""
    )
    assert out == "good\n"


def test_collecting_everything_frees_what_is_frozen_and_freezes_nothing() -> None:
    """What was deferred and frozen goes; what has come into being since is counted as ever."""
    out = python(
        KINDS
        + """
from nogilserve.prepare.collecting import FROZEN
names = sorted(things)
defer()
assert FROZEN.hold() > 1000
things.clear()
since = [Thing() for _ in range(1000)]
for thing in since:
    thing.part = thing
    with_end(thing, "since")
del thing
assert FROZEN.collect_all() > 0
assert sorted(ended) == names, ended
since.clear()
gc.collect()
assert ended.count("since") == 1000, len(ended)
FROZEN.release()
print("good")
"""
    )
    assert out == "good\n"


def test_collections_come_sooner_only_while_little_is_frozen() -> None:
    """Passing over many frozen objects takes time, too. Python's thresholds are back at the end,
    and once everything was collected: then nothing is frozen."""
    out = python(
        """
import gc
import nogilserve
from nogilserve.prepare import FROZEN

def app(environ, start_response):
    raise AssertionError("nobody asks")

before = gc.get_threshold()
with nogilserve.Server(app, prepare="freeze"):
    assert gc.get_threshold()[0] < before[0]
    assert gc.get_threshold()[1:] == before[1:]
assert gc.get_threshold() == before
with nogilserve.Server(app, prepare="freeze"):
    assert gc.get_threshold() != before
    FROZEN.collect_all()
    assert gc.get_threshold() == before
many = [[] for _ in range(100_000)]
with nogilserve.Server(app, prepare="freeze"):
    assert gc.get_threshold() == before
print("good")
"""
    )
    assert out == "good\n"


def test_what_has_a_finalizer_is_freed_at_once() -> None:
    """Files, sockets, generators: somebody may rely on the moment."""
    out = python(
        """
import gc, socket, tempfile, weakref
from nogilserve.prepare.deferring import defer
gc.disable()
ended = []

class Connection:
    def __del__(self):
        ended.append("connection")

def generator():
    try:
        yield
    finally:
        ended.append("generator")

connection = Connection()
running = generator(); next(running)
left, right = socket.socketpair()
right.setblocking(False)
defer()
del connection, running
assert ended == ["connection", "generator"], ended
import warnings; warnings.simplefilter("ignore")
del left
assert right.recv(1) == b""
print("good")
"""
    )
    assert out == "good\n"


def test_objects_are_not_asked_anything() -> None:
    """Proxies stand for what may not be there, or is expensive to make."""
    out = python(
        """
from nogilserve.prepare.deferring import defer

class Proxy:
    def __getattribute__(self, name):
        raise SystemExit(f"asked for {name}")
    def __eq__(self, other):
        raise SystemExit("compared")
    __hash__ = None

class Odd(type):
    def __subclasscheck__(cls, other):
        raise SystemExit("asked for its subclasses")
    def __getattribute__(cls, name):
        raise SystemExit(f"asked for {name}")

class Thing(metaclass=Odd):
    pass

kept = [Proxy(), Proxy.__new__(Proxy), type.__call__(Thing)]
assert defer() > 100
print("good")
"""
    )
    assert out == "good\n"


@pytest.mark.parametrize("step", ["defer", "immortalize"])
def test_while_other_threads_use_and_drop_objects(step: str) -> None:
    """They go on undisturbed, and nothing that they still use is freed."""
    out = python(
        """
import gc, threading
from nogilserve.prepare.deferring import defer
from nogilserve.prepare.immortal import immortalize

class Thing:
    def __init__(self, number):
        self.parts = [number, {"number": number}]

shared = {"now": Thing(0)}
stop = threading.Event()
wrong = []
turns = [0] * 4

def use(index):
    number = 0
    while not stop.is_set():
        thing = shared["now"]
        first, second = thing.parts
        if first != second["number"]:
            wrong.append(thing)
        number += 1
        if index == 0:
            shared["now"] = Thing(number)
        turns[index] = number

threads = [threading.Thread(target=use, args=(index,)) for index in range(4)]
for thread in threads:
    thread.start()
for _ in range(20):
    before = list(turns)
    shared["now"] = Thing(len(before))  # made here, used and dropped there
    assert STEP() > 0
    gc.collect()
    while not all(now > then for now, then in zip(turns, before)):
        pass
stop.set()
for thread in threads:
    thread.join()
assert not wrong
print("good")
""".replace("STEP", step)
    )
    assert out == "good\n"


IMMORTAL = """
import contextvars, gc, os, sys, threading, weakref
from nogilserve.prepare.immortal import immortalize

class Thing:
    pass

kept = Thing()
kept.text = "not interned, made now ".strip() + str(len(sys.argv))
kept.number = 10**20
kept.parts = [{}]
kept.variable = contextvars.ContextVar("variable")
kept.large = bytes(5000) + os.urandom(1)
kept.array = bytearray(10)
mine = weakref.ref(kept)

others = []
def work():
    others.append(Thing())
    made.set()
    done.wait()
made, done = threading.Event(), threading.Event()
thread = threading.Thread(target=work, daemon=True)
thread.start()
made.wait()
"""


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="3.15 decides what becomes immortal")
def test_immortal_is_what_this_thread_has_made() -> None:
    """With what is in it; what others have made keeps its count, and all can be used."""
    out = python(
        IMMORTAL
        + """
assert immortalize() > 1000
for item in (Thing, kept, kept.parts, kept.parts[0], kept.text, kept.number, kept.variable):
    assert sys._is_immortal(item), item
for item in (kept.large, kept.array):  # may be most of what there is, and be replaced
    assert not sys._is_immortal(item)
assert not sys._is_immortal(others[0])
theirs = weakref.ref(others.pop())
done.set()
thread.join()
gc.collect()
assert theirs() is None
later = Thing()
end = weakref.ref(later)
kept.later = later
del later
assert end() is not None
del kept.later
assert end() is None
del kept
gc.collect()
assert mine().number == 10**20
assert sys.intern(mine().text) == mine().text
print("good")
"""
    )
    assert out == "good\n"


def test_data_is_left_alone() -> None:
    """Where there are very many objects, plain containers among them keep their counts."""
    out = python(
        """
import gc, sys
from nogilserve.prepare.deferring import defer
from nogilserve.prepare.lasting import MOST

class Thing:
    pass

few = [[] for _ in range(1000)]
data = [[] for _ in range(MOST)]
things = [Thing() for _ in range(1000)]
assert 1000 < defer() < MOST / 2
assert sys.getrefcount(few[0]) < 10
assert sys.getrefcount(things[0]) > 1000
print("good")
"""
    )
    assert out == "good\n"


def test_a_second_time_does_nothing() -> None:
    """Every object is deferred once."""
    assert (
        python(
            """
from nogilserve.prepare.deferring import defer
first, second = defer(), defer()
print(second < first / 10)
"""
        )
        == "True\n"
    )


def test_who_does_not_defer_does_not_pay() -> None:
    """ctypes takes memory: it comes with the first use."""
    assert (
        python(
            """
import sys
before = "ctypes" in sys.modules
import nogilserve.runtimes.build
print(before, "ctypes" in sys.modules)
"""
        )
        == "False False\n"
    )
