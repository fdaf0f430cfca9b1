"""The rules of the house that no other tool checks: who may import what, and how modules look.

The rules are tables; docs/development.md explains them. Imports count wherever they stand: at
the top, inside functions, under TYPE_CHECKING, relative or absolute.
"""

import ast
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Imports go to a lower rank, or stay in their own room. The longest prefix decides.
RANKS = {
    "errors": 0,
    "values": 0,
    "config": 1,
    "messages": 1,
    "perloop": 1,
    "stacks": 1,
    "lend": 1,
    "protocols": 2,
    "gateways": 2,
    "apps": 2,
    "sockets": 2,
    "engine": 3,
    "tls": 4,
    "prepare": 3,
    "sites": 3,
    "sites.tenants": 4,
    "observe": 4,
    "runtimes": 5,
    "supervise": 6,
    "caddyfile": 5,
    "doctor": 6,
    "initial": 6,
    "stress": 6,
    "cli": 7,
    "embed": 7,
    "testing": 8,
    "__main__": 8,
}

# Of the package, these rooms may import only what is named (besides themselves).
ONLY = {
    "errors": set[str](),
    "values": set[str](),
    "messages": {"errors"},
    "perloop": {"errors"},
    "lend": set[str](),
    "config": {"errors", "messages", "values"},
    "protocols": {"errors", "messages"},
    "gateways": {"errors", "messages", "stacks"},
    "apps": {"errors", "config", "messages"},
    "sockets": {"errors", "config", "messages"},
    "engine.scheduler": {"errors"},
    "observe": {"errors", "config", "messages", "stacks"},
}

# What these rooms must not know, in the package or in the standard library.
NEVER = {
    "protocols": "socket ssl select selectors threading asyncio time logging",
    "gateways": "socket ssl select selectors nogilserve.protocols h11",
    "engine": "nogilserve.gateways",
    "engine.scheduler": "http h11 socket ssl",
    "engine.connection": "ssl",
    "runtimes": "http h11 nogilserve.protocols",
    "supervise": "nogilserve.protocols nogilserve.gateways nogilserve.engine.connection",
    "config": "socket logging importlib",
    "observe": "nogilserve.engine.connection",
    "messages": "socket threading asyncio time",
}

# Third-party code has one home each; everything else third-party is refused.
HOMES = {
    "h11": ["protocols.http1"],
    "wsproto": ["protocols.websocket"],
    "websockets": ["protocols.websocket"],
    "hpack": ["protocols.http2"],
    "watchfiles": ["supervise.watch"],
    "cryptography": ["tls.certs", "tls.acme"],
    "acme": ["tls.acme"],
    "josepy": ["tls.acme"],
    "requests": ["tls.acme"],
    "redis": ["tls.storage.remote"],
    "opentelemetry": ["gateways.tracing"],
    "prometheus_client": ["observe.metrics"],
    "psutil": ["observe.status", "doctor", "supervise.recycle"],
    "pytest": ["testing"],
    "uvloop": ["runtimes"],
    "brotli": ["gateways.compression.codecs"],
    "compression": ["gateways.compression.codecs"],  # of the standard library from 3.14 on
}

STANDARD = sys.stdlib_module_names
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "base"}
LONGEST = 600


def within(name: str, prefix: str) -> bool:
    """Whether the dotted `name` is `prefix` or lies below it."""
    return name == prefix or name.startswith(prefix + ".")


def longest(table: dict[str, int], name: str) -> str:
    """The key of `table` that covers `name` most closely, "" if none does."""
    return max((key for key in table if within(name, key)), key=len, default="")


class Module:
    """A source file of the package: its name inside the package, its tree, its size."""

    def __init__(self, path: Path, package: Path) -> None:
        parts = path.relative_to(package).with_suffix("").parts
        self.is_package = parts[-1] == "__init__"
        self.name = ".".join(parts[:-1] if self.is_package else parts)
        self.package = package.name
        with tokenize.open(path) as file:
            self.source = file.read()
        self.tree = ast.parse(self.source, str(path))

    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and absolute dotted name of everything imported; `from a import b` is "a.b"."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node.lineno, alias.name
            elif isinstance(node, ast.ImportFrom):
                origin = self.origin(node)
                for alias in node.names:
                    yield node.lineno, f"{origin}.{alias.name}".removesuffix(".*")
            elif isinstance(node, ast.Call) and (name := dynamic_import(node)):
                yield node.lineno, name

    def origin(self, node: ast.ImportFrom) -> str:
        """The absolute module that a `from … import` names."""
        if not node.level:
            return node.module or ""
        here = [self.package, *self.name.split(".")] if self.name else [self.package]
        up = node.level - self.is_package
        return ".".join([*here[: len(here) - up], *([node.module] if node.module else [])])


def dynamic_import(call: ast.Call) -> str:
    """The constant name given to `__import__` or `import_module`, "" for any other call."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name not in ("__import__", "import_module") or not call.args:
        return ""
    value = call.args[0]
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def judge_own(module: Module, target: str) -> Iterator[str]:
    """Objections to importing `target`, a name inside the package."""
    if not module.name or not target:  # the package itself: its version, for everybody
        return
    here, there = longest(RANKS, module.name), longest(RANKS, target)
    if not there:
        if target != "__version__":
            yield f"imports {target}, which has no rank in the table"
        return
    if here == there:
        return
    if RANKS[here] <= RANKS[there]:
        yield f"imports {target}: {here} must not look up at {there} (or across)"
    for room, allowed in ONLY.items():
        if within(module.name, room) and there not in allowed and not within(target, room):
            names = ", ".join(sorted(allowed)) or "nothing"
            yield f"imports {target}: {room} may know only {names}"


def judge(module: Module) -> Iterator[str]:
    """Every objection to a module, one sentence each."""
    if module.name and not longest(RANKS, module.name):
        yield "has no rank in the table"
        return
    for line, name in module.imports():
        if within(name, module.package):
            objections = list(judge_own(module, name[len(module.package) + 1 :]))
        else:
            objections = list(judge_foreign(module, name.split(".")[0]))
        generic = (
            name.replace(module.package, "nogilserve", 1) if within(name, module.package) else name
        )
        objections += [
            f"imports {name}: {room} must not know {banned}"
            for room, names in NEVER.items()
            if within(module.name, room)
            for banned in names.split()
            if within(generic, banned)
        ]
        if within(name, "asyncio") and not may_know_asyncio(module.name):
            objections.append("imports asyncio, which of the engine only engine.loop knows")
        yield from (f"line {line} {objection}" for objection in objections)
    yield from judge_looks(module)


def may_know_asyncio(name: str) -> bool:
    """Whether a module may: the threads of the engine have no event loop."""
    return within(name, "engine.loop") or not within(name, "engine")


def judge_foreign(module: Module, top: str) -> Iterator[str]:
    """Objections to importing a top-level module from outside the package."""
    if top in STANDARD:
        return
    homes = HOMES.get(top, [])
    if not any(within(module.name, home) for home in homes):
        yield f"imports {top}, whose home is {' or '.join(homes) or 'nowhere in the package'}"


def judge_looks(module: Module) -> Iterator[str]:
    """Objections to a module's name, size and docstring."""
    last = module.name.split(".")[-1]
    if last in VAGUE:
        yield f'is named "{last}", which says nothing'
    if not ast.get_docstring(module.tree) and not last.startswith("_"):
        yield "has no docstring"
    lines = module.source.count("\n")
    if lines > LONGEST:
        yield f"has {lines} lines, more than {LONGEST}"


def objections(package: Path) -> list[str]:
    """What is wrong in a package folder, as "module: sentence"."""
    modules = [Module(path, package) for path in sorted(package.rglob("*.py"))]
    return [f"{module.name or '__init__'}: {text}" for module in modules for text in judge(module)]


def sleeps(folder: Path) -> list[str]:
    """Where Python files below `folder` call something named sleep."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call):
                called = node.func
                if getattr(called, "attr", getattr(called, "id", "")) == "sleep":
                    found.append(f"{path.relative_to(folder)}:{node.lineno}")
    return found


def test_package_follows_the_rules() -> None:
    """Every module of nogilserve keeps to the tables above."""
    found = objections(ROOT / "nogilserve")
    assert not found, "\n".join(found)


def test_tests_do_not_sleep() -> None:
    """A test waits for a condition, never for a time; what applications under test do is theirs."""
    found = [place for place in sleeps(ROOT / "tests") if not place.startswith("apps/")]
    assert found == []


# Planted violations: file, its text, and a piece of the objection that must be raised.
PLANTED = [
    ("protocols/a.py", "import socket", "protocols must not know socket"),
    ("protocols/b.py", "def f():\n    from time import monotonic", "must not know time"),
    ("protocols/c.py", "from ..engine import core", "protocols must not look up at engine"),
    ("protocols/d.py", "from nogilserve.config import Config", "protocols may know only errors"),
    ("protocols/e.py", "from .. import gateways", "look up at gateways (or across)"),
    ("protocols/http2/f.py", "import h11", "whose home is protocols.http1"),
    ("gateways/g.py", "import h11", "whose home is protocols.http1"),
    ("gateways/h.py", "import importlib\nimportlib.import_module('nogilserve.cli')", "up at cli"),
    ("engine/scheduler.py", "from nogilserve.messages import Request", "engine.scheduler may know"),
    (
        "engine/i.py",
        "from nogilserve.gateways.wsgi import run",
        "must not know nogilserve.gateways",
    ),
    (
        "runtimes/j.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..supervise import master",
        "runtimes must not look up at supervise",
    ),
    ("supervise/k.py", "from nogilserve import protocols", "must not know nogilserve.protocols"),
    ("supervise/l.py", "import tornado", "whose home is nowhere in the package"),
    ("errors.py", "from nogilserve import messages", "errors must not look up at messages"),
    ("apps.py", "from .engine.core import Core", "apps must not look up at engine"),
    ("attic/m.py", "", "has no rank"),
    ("engine/n.py", "from nogilserve.attic import m", "which has no rank"),
    ("engine/helpers.py", "", 'is named "helpers"'),
    ("engine/o.py", "\n" * 601, "more than 600"),
    ("engine/p.py", "import asyncio", "only engine.loop knows"),
]


@pytest.mark.parametrize(("name", "source", "objection"), PLANTED, ids=[row[0] for row in PLANTED])
def test_planted_violation_is_found(tmp_path: Path, name: str, source: str, objection: str) -> None:
    """Each kind of violation is reported, and nothing else is."""
    package = tmp_path / "nogilserve"
    path = package / name
    path.parent.mkdir(parents=True)
    path.write_text(f'"""Planted."""\n{source}\n')
    found = objections(package)
    assert any(objection in text for text in found), found


def test_missing_docstring_is_found(tmp_path: Path) -> None:
    """A public module has to say what it is for; a private one may keep silent."""
    (tmp_path / "cli.py").write_text("import os\n")
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "_detail.py").write_text("import os\n")
    assert objections(tmp_path) == ["cli: has no docstring"]


def test_allowed_imports_are_let_through(tmp_path: Path) -> None:
    """What the tables allow raises no objection."""
    package = tmp_path / "nogilserve"
    allowed = {
        "cli.py": "from nogilserve import __version__\nfrom .supervise.master import Master",
        "supervise/master.py": "from ..runtimes import threads\nfrom ..config import Config",
        "runtimes/threads.py": "import socket\nfrom ..engine.core import Core",
        "engine/core.py": "import select\nfrom . import scheduler\nfrom ..protocols import http1",
        "engine/scheduler.py": "import threading\nfrom collections import deque",
        "protocols/http1/full.py": "import h11\nfrom ...messages import Limits\nfrom . import fast",
        "gateways/wsgi.py": "import sys\nfrom ..errors import ResponseError",
    }
    for name, source in allowed.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(f'"""Fine."""\n{source}\n')
    assert objections(package) == []


def test_sleep_in_a_test_is_found(tmp_path: Path) -> None:
    """However it is spelled, a call of sleep is reported with its place."""
    (tmp_path / "test_a.py").write_text("import time, asyncio\ntime.sleep(1)\n")
    (tmp_path / "test_b.py").write_text("from time import sleep\n\nsleep(1)\n")
    assert sleeps(tmp_path) == ["test_a.py:2", "test_b.py:3"]
