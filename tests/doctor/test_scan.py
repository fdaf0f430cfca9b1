"""The scan for unlocked module-level containers and counters: what it reports, and what not."""

import textwrap

import pytest

from nogilserve.doctor.scan import scan

HEAD = """
import threading
from collections import Counter, defaultdict
from weakref import WeakValueDictionary
cache = {}
seen: set[str] = set()
rows = [None]
hits = Counter()
total = 0
constant = ("a", "b")
lock = threading.Lock()
"""


def found(text: str) -> list[tuple[str, str, bool]]:
    """Name, function and whether changes get lost."""
    return [(each.name, each.function, each.loses) for each in scan(HEAD + textwrap.dedent(text))]


@pytest.mark.parametrize(
    "body",
    [
        "cache[request] = 1",
        "cache[request] = other = 1",
        "del cache[request]",
        "if cache.pop(request):\n        return 1",
        "for x in cache.pop(request):\n        return x",
        "with cache.pop(request):\n        return 1",
        "with seconds, blocks, clock():\n        cache[request] = 1",
        "request.x, cache[request] = 1, 2",
        "cache[request][1] = 2",
        "cache[request].append(2)",
        "return [cache.pop(each) for each in request]",
        "cache.setdefault(request, 1)",
        "return cache.pop(request)",
        "if request not in cache:\n        cache.update(a=1)",
        "for x in request:\n        cache.clear()",
        "try:\n        return cache[request]\n    except KeyError:\n        cache[request] = 1",
        "with open(request) as file:\n        cache[request] = file",
        "match request:\n        case 1:\n            cache[1] = 1",
    ],
)
def test_changes_of_a_container(body: str) -> None:
    """However it is written."""
    assert found(f"def view(request):\n    {body}\n") == [("cache", "view", False)]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("hits[request] += 1", "hits"),
        ("global total\n    total += 1", "total"),
        ("cache[request] |= {1}", "cache"),
    ],
)
def test_changes_that_get_lost(body: str, name: str) -> None:
    """Augmented assignment reads, computes and writes back."""
    assert found(f"def view(request):\n    {body}\n") == [(name, "view", True)]


@pytest.mark.parametrize(
    "body",
    [
        "with lock:\n        cache[request] = 1",
        "with locks.of(request), other:\n        cache[request] = 1",
        "with self.cacheLock, _MUTEX_LOCK:\n        cache[request] = 1",
        "with table_rlock:\n        cache[request] = 1",
        "with lock:\n        if request:\n            hits[1] += 1",
        "cache = {}\n    cache[request] = 1",
        "total = 0\n    total += 1",
        "return cache[request], cache.get(1), len(seen)",
        "unknown[request] = 1",
        "request.cache[1] = 1",
        "constant.index(1)",
    ],
)
def test_what_is_fine(body: str) -> None:
    """Locked, local, only read, or not a container of this module."""
    assert found(f"def view(request):\n    {body}\n") == []


def test_parameter_hides_the_global() -> None:
    """A parameter of the same name is another thing."""
    assert found("def view(request, cache):\n    cache[1] = 1\n") == []


@pytest.mark.parametrize(
    "head",
    [
        "@app.route('/')\ndef view():",
        "@router.get('/')\nasync def view(item):",
        "@app.middleware('http')\nasync def view(r, call_next):",
        "@login_required\ndef view(r):",
        "def view(request):",
        "def view(environ, start_response):",
        "async def view(scope, receive, send):",
    ],
)
def test_what_counts_as_a_view(head: str) -> None:
    """By a decorator or by the first parameter."""
    assert found(f"{head}\n    seen.add(1)\n") == [("seen", "view", False)]


def test_methods_of_view_classes() -> None:
    """Class-based views, with or without a request."""
    text = """
        class Items(MethodView):
            def get(self, item):
                cache[item] = 1
            def helper(self, item):
                seen.add(item)
        class Page(Something):
            def show(self, request):
                rows.append(request)
        class Store:
            def get(self, item):
                cache[item] = 1
    """
    assert found(text) == [("cache", "get", False), ("rows", "show", False)]


def test_functions_that_a_view_leads_to() -> None:
    """Called, passed on, depended on or as a method; but not what only runs at import."""
    text = """
        def register(function):
            seen.add(function)
        register(print)
        def load(key):
            deeper(key)
        def deeper(key):
            cache[key] = 1
        def dependency():
            hits["x"] += 1
        def task():
            rows.append(1)
        @app.get("/")
        async def view(a=Depends(dependency)):
            load(1)
            run(task)
    """
    assert found(text) == [
        ("cache", "deeper", False),
        ("hits", "dependency", True),
        ("rows", "task", False),
    ]


def test_each_is_reported_once_for_a_function() -> None:
    """With its first line."""
    (first,) = scan(HEAD + "def view(request):\n    cache[1] = 1\n    cache[2] = 2\n")
    assert (first.name, first.line) == ("cache", HEAD.count("\n") + 2)


def test_containers_below_if_and_try() -> None:
    """They are of the module all the same; what a function makes is not."""
    text = """
        try:
            store = WeakValueDictionary()
        except Exception:
            pass
        if True:
            table = defaultdict(list)
        def view(request):
            own = {}
            store[1], table[2] = 1, 2
            table[3] = own[1] = 1
    """
    assert [name for name, *_ in found(text)] == ["store", "table"]


@pytest.mark.parametrize("source", ["def", "\0", "", "x = 1"])
def test_text_without_anything(source: str) -> None:
    """Neither broken text nor an empty one is an error."""
    assert scan(source) == []
