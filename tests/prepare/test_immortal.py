"""Objects that become immortal while they are in use: nothing goes wrong in the interpreter, and
what somebody may wait for the end of is left alone."""

import pytest

from nogilserve.prepare import IMMORTAL
from nogilserve.prepare.deferring import AVAILABLE
from tests.prepare.alone import python

STEPS = {"defer": "deferring import defer", "immortalize": "immortal import immortalize"}
BOTH = pytest.mark.parametrize("step", STEPS)

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="free-threaded CPython 3.14 and later")
immortal = pytest.mark.skipif(not IMMORTAL, reason="3.15 decides what becomes immortal")


def prepared(step: str, code: str) -> None:
    """Run code that calls the step as `step`, and prints "good" at its end."""
    names = f"from nogilserve.prepare.{STEPS[step]} as step\n"
    assert python(names + code) == "good\n"


# ---- what is left alone


@BOTH
def test_references_that_are_dropped_call_nobody_back(step: str) -> None:
    """Of whatever class made from `weakref.ref`: it could not be freed with its last use else."""
    prepared(
        step,
        """
import gc, weakref
called = []

class Thing:
    def method(self):
        pass

class Kind(weakref.ref):
    pass

things = [Thing(), Thing(), Thing()]
dropped = [
    weakref.ref(things[0], called.append),
    Kind(things[1], called.append),
    weakref.WeakMethod(things[2].method, called.append),
]
assert step() > 100
dropped.clear()
later = [Thing()]  # what is there already is not freed any more
kept = Kind(later[0], called.append)
later.clear()
assert called == [kept]
assert all(weakref.getweakrefcount(thing) == 0 for thing in things)
print("good")
""",
    )


@BOTH
def test_what_holds_memory_gives_it_back(step: str) -> None:
    """With its last use: a view keeps what it looks at from growing."""
    prepared(
        step,
        """
import array, mmap, sys

class Bytes(bytes):
    pass

text = bytearray(b"abc")
held = {"view": memoryview(text)}
kinds = [mmap.mmap(-1, 4096), array.array("i", [1]), Bytes(b"abc")]
assert step() > 100
assert all(sys.getrefcount(item) < 10 for item in kinds)
held.clear()
text.append(0)
print("good")
""",
    )


@BOTH
def test_what_there_is_most_of_is_left_alone(step: str) -> None:
    """The instances of a class of the application are data, too, and in containers that are very
    large nothing is looked at: neither is to delay the start."""
    prepared(
        step,
        """
import sys
from nogilserve.prepare.lasting import MOST, Lasting

class Row:
    pass

class Thing:
    pass

rows = [Row() for _ in range(MOST)]
few = [Thing() for _ in range(1000)]
texts = [f"text {number}" for number in range(20_000)]
lasting = Lasting()
assert 1000 < step(lasting) < MOST / 2
assert lasting.with_data
assert sys.getrefcount(few[0]) > 1 << 30
assert sys.getrefcount(rows[0]) < 10
assert sys.getrefcount(texts[0]) < 10
print("good")
""",
    )


@BOTH
def test_links_of_a_chain_are_freed_when_they_are_taken_out(step: str) -> None:
    """As caches have them: each link goes on referring to the one that came after it."""
    prepared(
        step,
        """
import gc

class Link:
    __slots__ = ("before", "after", "__weakref__")

class Chain:
    def __init__(self):
        self.root = Link()
        self.root.before = self.root.after = self.root

    def add(self):
        link = Link()
        link.before, link.after = self.root.before, self.root
        link.before.after = link.after.before = link

    def take_out(self):
        link = self.root.after
        link.before.after, link.after.before = link.after, link.before

chain = Chain()
chain.add()
assert step() > 100
gc.freeze()
for _ in range(1000):
    chain.add()
    chain.take_out()
gc.collect()
assert sum(type(item) is Link for item in gc.get_objects()) == 1
print("good")
""",
    )


def test_what_the_application_has_frozen_is_prepared_as_well() -> None:
    """The collector does not show it."""
    assert (
        python(
            """
import gc, sys
import nogilserve

class App:
    def __call__(self, environ, start_response):
        raise AssertionError("nobody asks")

app = App()
gc.freeze()
with nogilserve.Server(app, prepare="defer"):
    assert sys.getrefcount(app) > 1 << 30
    assert gc.get_freeze_count() > 1000
gc.freeze()
with nogilserve.Server(app, prepare="freeze,defer"):
    assert gc.get_freeze_count() > 1000
print("good")
"""
        )
        == "good\n"
    )


def test_a_python_without_ctypes() -> None:
    """It serves, and says what it cannot do."""
    out = python(
        """
import sys
sys.modules["_ctypes"] = None
from nogilserve.prepare import Plan, Preparation
preparation = Preparation(Plan(frozenset({"freeze", "defer", "immortal"})))
preparation.run([], int, None)
assert preparation.done["frozen"] > 1000
assert "deferred" not in preparation.done
print(*preparation.done["left"], sep="\\n")
preparation.undo()
"""
    )
    assert [line.partition(":")[0] for line in out.splitlines()] == ["defer", "immortal"]


# ---- the interpreter


@immortal
def test_the_thread_is_known_by_what_it_makes() -> None:
    """The number that `threading` gives it is another one on ARM, and with gevent."""
    prepared(
        "immortalize",
        """
import sys, threading

class Thing:
    pass

theirs = []
thread = threading.Thread(target=lambda: theirs.append(Thing()))
thread.start()
thread.join()
mine = Thing()
threading.get_ident = lambda: 1
assert step() > 1000
assert sys._is_immortal(mine) and not sys._is_immortal(theirs[0])
print("good")
""",
    )


@immortal
def test_what_is_changed_or_used_again_where_nobody_else_has_it() -> None:
    """Iterators that give the same tuple each time, text that grows in place, buffers that are
    shared until they are written: with what is immortal they take a copy, in both orders."""
    prepared(
        "immortalize",
        """
import collections, copy, functools, gc, io, itertools, marshal, pickle, sys
from nogilserve.prepare.deferring import defer

items = [object() for _ in range(6)]
table = {f"key {number}": item for number, item in enumerate(items)}
makers = [
    lambda: zip(items, range(6)), lambda: enumerate(items), lambda: enumerate(items, 10**30),
    lambda: iter(table.items()), lambda: reversed(table.items()), lambda: iter(items),
    lambda: iter(collections.OrderedDict(table).items()), lambda: itertools.product(items, items),
    lambda: itertools.combinations(items, 3), lambda: itertools.permutations(items, 3),
    lambda: itertools.combinations_with_replacement(items, 3), lambda: itertools.pairwise(items),
    lambda: itertools.zip_longest(items, range(3)), lambda: itertools.batched(items, 2),
    lambda: itertools.accumulate(range(9)), lambda: itertools.tee(items)[0],
    lambda: (number for number in range(9)), lambda: map(lambda *both: both, items, items),
    lambda: iter(range(10**9, 10**9 + 6)), lambda: iter(tuple(items)),
]

def begun(make):
    iterator = make()
    next(iterator)
    return iterator, list(make())[1:]

class Box:
    pass

def boxed():
    box = Box()
    box.text, box.octets = f"text {len(sys.argv)}", b"octets %d" % len(sys.argv)
    box.number, box.fraction = 10**30 + len(sys.argv), 1.5 * len(sys.argv)
    box.both = (box.text, box.number)
    box.stream, box.letters = io.BytesIO(box.octets + b"x"), io.StringIO("abc")
    box.array, box.queue = bytearray(b"abc"), collections.deque([1, 2])
    box.partial = functools.partial(dict, a=1)
    box.cache = functools.lru_cache(maxsize=3)(lambda number: [number])
    for number in range(5):
        box.cache(number)
    box.error = ValueError(box.text)
    return box

for steps in ([step, defer], [defer, step]):
    running = [begun(make) for make in makers]
    box, same = boxed(), boxed()
    for each in steps:
        assert each() > 100
    assert sys._is_immortal(box) and sys._is_immortal(box.both) and sys._is_immortal(box.text)
    for iterator, rest in running:
        assert list(iterator) == rest, iterator
    text, octets, number, fraction, both = box.text, box.octets, box.number, box.fraction, box.both
    for _ in range(100):
        text += "x"
        octets += b"x"
        number += 1
        fraction *= -1
        both += (1,)
    assert (box.text, box.octets, box.number) == (same.text, same.octets, same.number)
    assert (box.fraction, box.both) == (same.fraction, same.both)
    box.stream.write(b"zz")
    assert box.stream.getvalue() == b"zz" + same.octets[2:] + b"x"
    box.letters.seek(0, 2)
    box.letters.write("d")
    assert box.letters.getvalue() == "abcd"
    box.array += b"d"
    del box.array[:2]
    box.queue.extend(range(1000))
    box.queue.clear()
    assert functools.partial(box.partial, c=3)(d=4) == {"a": 1, "c": 3, "d": 4}
    assert [box.cache(number) for number in range(10)] == [[number] for number in range(10)]
    assert box.cache.cache_info().currsize == 3
    box.cache.cache_clear()
    assert sys.intern(box.text) == same.text
    setattr(box, box.text, 2)
    assert getattr(box, same.text) == 2
    box.__dict__ = dict(box.__dict__)  # the old one is released later
    for _ in range(3):
        try:
            raise box.error
        except ValueError as error:
            assert error is box.error
    assert copy.deepcopy(box.both) == pickle.loads(pickle.dumps(box.both)) == same.both
    assert marshal.loads(marshal.dumps(box.both)) == same.both
    gc.collect()
    gc.freeze()
    gc.collect()
    gc.unfreeze()
    gc.collect()
    assert box.both == same.both
print("good")
""",
    )


@immortal
def test_what_waits_for_its_counts_to_be_added_up() -> None:
    """An object that another thread has dropped waits for the one that has made it. If it becomes
    immortal before, it has very many references afterwards, and is not freed."""
    prepared(
        "immortalize",
        """
import ctypes, gc, sys, threading, weakref
from nogilserve.prepare.deferring import _function
from nogilserve.prepare.immortal import _overflown

class Thing:
    def __init__(self, number):
        self.number = number

make, enable = _overflown(), _function()

def numbers_of_those_that_waited(deferred, collected):
    dropped = [Thing(number) for number in range(1000)]
    kept = list(dropped)
    alive = [weakref.ref(thing) for thing in dropped]
    waited = []

    def drop():
        while dropped:
            dropped.pop()
        for thing in kept:
            if ctypes.c_ssize_t.from_address(id(thing) + 16).value & 3 == 2 and make(id(thing)):
                waited.append(thing.number)
                if deferred:
                    enable(id(thing))
        if collected:
            gc.collect()

    def use():
        for _ in range(100):
            assert sum(thing.number for thing in list(kept)) == 999 * 500

    for work in ([drop], [use] * 3):  # nothing is added up while this thread waits for the first
        threads = [threading.Thread(target=each) for each in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    kept.clear()
    gc.collect()
    assert all(alive[number]().number == number for number in waited)
    return waited

for deferred in (False, True):
    for collected in (False, True):
        while not numbers_of_those_that_waited(deferred, collected):
            pass  # this thread was there too soon
print("good")
""",
    )


@immortal
@pytest.mark.parametrize("order", ["immortalize defer freeze", "defer immortalize freeze"])
def test_while_threads_use_all_of_it(order: str) -> None:
    """Attributes, methods, classes, text, dictionaries, weak references, collections."""
    calls = "".join(f"    {name}()\n" for name in order.replace("freeze", "gc.freeze").split())
    prepared(
        "immortalize",
        """
import gc, sys, threading, weakref
from nogilserve.prepare.deferring import defer
immortalize = step

class Thing:
    def __init__(self, number):
        self.parts = [number, {f"text {number}": number}]
        self.text = f"text {number}"
        self.me = weakref.ref(self)
    def method(self):
        return self.parts

def closure(value):
    def inner():
        return value
    return inner

shared = {"now": Thing(0), "call": closure(Thing(0))}
stop = threading.Event()
wrong = []
turns = [0] * 4

def use(index):
    number = 0
    while not stop.is_set():
        thing = shared["now"]
        method = thing.method
        first, second = method()
        text = thing.text
        if second[text] != first or thing.me() is not thing or sys.intern(text) != f"text {first}":
            wrong.append(thing)
        if not isinstance(shared["call"](), Thing):
            wrong.append(shared)
        number += 1
        if index == 0:
            shared["now"] = Thing(number)
        elif index == 1:
            thing.__dict__ = dict(thing.__dict__)
            shared["call"] = closure(thing)
        elif index == 2 and number % 50 == 0:
            shared["now"] = type("Made", (Thing,), {"number": number})(number)
        elif index == 3 and number % 100 == 0:
            gc.collect()
        turns[index] = number

threads = [threading.Thread(target=use, args=(index,)) for index in range(4)]
for thread in threads:
    thread.start()
for turn in range(10):
    before = list(turns)
    shared["now"] = Thing(turn)
    shared["call"] = closure(Thing(turn))
CALLS
    if turn % 2:
        gc.unfreeze()
        gc.collect()
    while not all(now > then for now, then in zip(turns, before)):
        pass
stop.set()
for thread in threads:
    thread.join()
assert not wrong
print("good")
""".replace("CALLS", calls),
    )
