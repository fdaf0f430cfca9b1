"""A simple scan of source code: module-level containers and counters that views change unlocked.

It reads one module at a time and runs nothing. A function counts as a view by its decorators, by
the name of its first parameter or by its class, and so does what such a function mentions of the
same module. It does not see locks that are taken elsewhere, or changes through another name.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Written", "scan"]


@dataclass(frozen=True, slots=True)
class Written:
    """A change that a view makes to something that all threads share. Immutable."""

    name: str
    """Of the variable, "cache"."""
    line: int
    function: str
    loses: bool
    """It reads, computes and writes back, as `count += 1` does: changes get lost."""


_CONTAINERS: Final = re.compile(
    "bytearray|defaultdict|deque|dict|list|set|ChainMap|Counter|LRUCache|OrderedDict|TTLCache|"
    "WeakKeyDictionary|WeakSet|WeakValueDictionary"
)
_CHANGES: Final = re.compile(
    "add|append(left)?|clear|discard|extend(left)?|insert|pop(item|left)?|remove|reverse|"
    "setdefault|sort|subtract|update"
)
_DECORATORS: Final = re.compile(
    "(after|before|teardown)_request|api_(route|view)|context_processor|csrf_exempt|delete|"
    "errorhandler|exception_handler|get|head|login_required|middleware|never_cache|on|options|"
    "patch|permission_required|post|put|require_(GET|POST|http_methods|safe)|route|trace|"
    "view(_config)?|websocket(_route)?"
)
_FIRST: Final = frozenset({"environ", "req", "request", "scope", "websocket"})
_METHODS: Final = re.compile(
    r"(on_)?(get|post|put|patch|delete|head|options|trace)|dispatch|receive"
)
_CLASSES: Final = re.compile(r"View|Resource|Handler|Endpoint|Consumer|Controller|Page")
_LOCKS: Final = re.compile(
    "(?<![A-Za-z])r?lock|Lock|LOCK|[Mm]utex|[Gg]uard|[Ss]emaphore|[Cc]ondition"
)

type _Function = ast.FunctionDef | ast.AsyncFunctionDef


def scan(source: str) -> list[Written]:
    """What the views of a module change, in the order of lines; [] for text that is no Python."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    shared = set(_containers(tree.body))
    functions = [*_functions(tree, None)]
    by_name: dict[str, list[_Facts]] = {}
    for facts in functions:
        facts.look(shared)
        by_name.setdefault(facts.node.name, []).append(facts)
    pending = [facts for facts in functions if facts.is_view]
    reached: list[_Facts] = []
    while pending:
        facts = pending.pop()
        if facts in reached:
            continue
        reached.append(facts)
        pending += [other for name in facts.mentions for other in by_name.get(name, ())]
    found: dict[tuple[str, str, bool], Written] = {}
    for each in (each for facts in reached for each in facts.found):
        found.setdefault((each.name, each.function, each.loses), each)
    return sorted(found.values(), key=lambda each: (each.line, each.name))


def _containers(body: list[ast.stmt]) -> Iterator[str]:
    """The module-level names that are bound to containers; also below `if` and `try`."""
    for statement in body:
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if statement.value is not None and _is_container(statement.value):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
        for block in ("body", "orelse", "finalbody"):
            if isinstance(statement, ast.If | ast.Try | ast.With):
                yield from _containers(getattr(statement, block, []))


def _is_container(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return _CONTAINERS.fullmatch(_last(value.func)) is not None
    return isinstance(
        value, ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp
    )


def _last(node: ast.expr) -> str:
    """The last part of a dotted name, "" for anything else."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _functions(node: ast.AST, inside: ast.ClassDef | None) -> Iterator["_Facts"]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield _Facts(child, inside)
        yield from _functions(child, child if isinstance(child, ast.ClassDef) else None)


@dataclass(eq=False)
class _Facts:
    """A function, what it mentions and what it changes. Owner: the scan."""

    node: _Function
    inside: ast.ClassDef | None
    found: list[Written] = field(default_factory=list)
    mentions: set[str] = field(default_factory=set)

    @property
    def is_view(self) -> bool:
        """Whether requests seem to end up here."""
        for decorator in self.node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            # get, on … mean something as methods of an application only.
            if _DECORATORS.fullmatch(_last(called)) and (
                isinstance(called, ast.Attribute) or "_" in _last(called)
            ):
                return True
        names = [each.arg for each in (*self.node.args.posonlyargs, *self.node.args.args)]
        if names[:1] == ["self"]:
            names = names[1:]
        if names and names[0] in _FIRST:
            return True
        bases = self.inside.bases if self.inside else []
        return bool(
            _METHODS.fullmatch(self.node.name)
            and any(_CLASSES.search(_last(base)) for base in bases)
        )

    def look(self, shared: set[str]) -> None:
        """Fill `found` and `mentions`; `shared` are the module's containers."""
        declared = {
            name
            for each in ast.walk(self.node)
            if isinstance(each, ast.Global)
            for name in each.names
        }
        local = {each.arg for each in ast.walk(self.node.args) if isinstance(each, ast.arg)}
        for each in ast.walk(self.node):
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
                local.add(each.id)
            if isinstance(each, ast.Name | ast.Attribute) and isinstance(each.ctx, ast.Load):
                self.mentions.add(_last(each))
        self._walk(self.node.body, (shared - local) | (shared & declared), declared)

    def _walk(self, body: list[ast.stmt], shared: set[str], declared: set[str]) -> None:
        for statement in body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue  # has facts of its own
            if isinstance(statement, ast.With | ast.AsyncWith) and any(
                _LOCKS.search(ast.unparse(item.context_expr)) for item in statement.items
            ):
                continue
            blocks = [getattr(statement, name, []) for name in ("body", "orelse", "finalbody")]
            blocks += [each.body for each in getattr(statement, "handlers", [])]
            blocks += [each.body for each in getattr(statement, "cases", [])]
            for block in blocks:
                self._walk(block, shared, declared)
            if not any(blocks):
                self._judge(statement, shared, declared)
            else:  # the condition, the iterable, the contexts
                for child in ast.iter_child_nodes(statement):
                    if isinstance(child, ast.expr | ast.withitem):
                        self._look_at(child, shared, loses=False)

    def _judge(self, statement: ast.stmt, shared: set[str], declared: set[str]) -> None:
        loses = isinstance(statement, ast.AugAssign)
        if (
            isinstance(statement, ast.AugAssign)
            and isinstance(statement.target, ast.Name)
            and statement.target.id in declared
        ):
            self._note(statement.target.id, statement, loses=True)
        self._look_at(statement, shared, loses=loses)

    def _look_at(self, node: ast.AST, shared: set[str], *, loses: bool) -> None:
        """Every `name[…] = …` and `name.append(…)` in a statement or an expression."""
        for each in ast.walk(node):
            if isinstance(each, ast.Subscript) and not isinstance(each.ctx, ast.Load):
                self._note_if(shared, each.value, each, loses=loses)
            elif (
                isinstance(each, ast.Call)
                and isinstance(each.func, ast.Attribute)
                and _CHANGES.fullmatch(each.func.attr)
            ):
                self._note_if(shared, each.func.value, each, loses=False)

    def _note_if(self, shared: set[str], changed: ast.expr, node: ast.expr, *, loses: bool) -> None:
        while isinstance(changed, ast.Subscript):  # a container in a container
            changed = changed.value
        if isinstance(changed, ast.Name) and changed.id in shared:
            self._note(changed.id, node, loses=loses)

    def _note(self, name: str, node: ast.stmt | ast.expr, *, loses: bool) -> None:
        self.found.append(Written(name, node.lineno, self.node.name, loses))
