"""Watches the application's own code in the subject: `sys.monitoring` stops at each instruction
that touches what threads share, between the reading and the writing of `count += 1`, too.

Only there, and only in requests: everything else runs as it always does.
"""

import gc
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any, Final

from nogilserve.stress.shared import Code, changed_attributes, rebound_names, touches
from nogilserve.stress.turns import CURRENT, Touch

__all__ = ["Pauses"]

_TOOLS: Final = (4, 3, 5, 2)


class Pauses:
    """Owner: the thread that made it until `start`; the tables are then only added to, by code
    that is loaded later, a whole entry at a time. Any thread."""

    def __init__(self, modules: Sequence[types.ModuleType]) -> None:
        """`modules`: whose functions are watched."""
        self.files = frozenset(
            str(file) for module in modules if (file := vars(module).get("__file__"))
        )
        self._tool: int | None = None
        self._tables: dict[int, dict[int, Touch]] = {}
        self._kept: list[types.CodeType] = []
        """Keeps the code alive that the tables name by identity."""

    @property
    def places(self) -> int:
        """How many there are to stop at."""
        return sum(map(len, self._tables.values()))

    def start(self) -> bool:
        """Begin to watch; False where other tools, such as debuggers, leave no room for this."""
        monitoring = sys.monitoring
        free = [tool for tool in _TOOLS if monitoring.get_tool(tool) is None]
        if not free:
            return False
        self._tool = tool = free[0]
        monitoring.use_tool_id(tool, "nogilserve stress")
        events = monitoring.events
        monitoring.register_callback(tool, events.INSTRUCTION, self._at)
        codes = list(self._codes())
        rebound, attributes = rebound_names(codes), changed_attributes(codes)
        for code in codes:
            table = touches(code, rebound, attributes)
            if table:
                self._kept.append(code[0])
                self._tables[id(code[0])] = table
                monitoring.set_local_events(tool, code[0], events.INSTRUCTION)
        return True

    def stop(self) -> None:
        """Watch no more."""
        if self._tool is not None:
            for code in self._kept:
                sys.monitoring.set_local_events(self._tool, code, 0)
            sys.monitoring.free_tool_id(self._tool)
            self._tool = None

    def _codes(self) -> Iterator[Code]:
        """Every function of the watched files, those within functions, too."""
        seen: set[int] = set()
        functions: list[Any] = gc.get_objects()
        for function in functions:
            if type(function) is types.FunctionType and self._is_own(function.__code__):
                for code in _with_inner(function.__code__):
                    if id(code) not in seen:
                        seen.add(id(code))
                        yield code, function.__globals__

    def _is_own(self, code: types.CodeType) -> bool:
        return code.co_filename in self.files

    def _at(self, code: types.CodeType, offset: int) -> object:
        table = self._tables.get(id(code))
        touch = table.get(offset) if table is not None else None
        if touch is None:
            return sys.monitoring.DISABLE
        turn = CURRENT.get()
        if turn is not None:
            turn.at(touch)
        return None


def _with_inner(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _with_inner(constant)
