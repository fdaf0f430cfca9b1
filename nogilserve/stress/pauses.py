"""Watches the application's own code in the subject: `sys.monitoring` stops at each instruction
that touches what threads share, between the reading and the writing of `count += 1`, too.

Only there, and only in requests: everything else runs as it always does.
"""

import gc
import inspect
import os
import site
import sys
import sysconfig
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import nogilserve
from nogilserve.stress.shared import Code, changed_attributes, rebound_names, touches
from nogilserve.stress.turns import CURRENT, Touch

__all__ = ["Pauses"]

_TOOLS: Final = (4, 3, 5, 2)


class Pauses:
    """Any thread: `_lock` guards what is added; the tables are looked up without it, which finds
    a whole entry or none."""

    def __init__(self, modules: Callable[[], Sequence[types.ModuleType]]) -> None:
        """`modules`: those to be watched of what is imported by now."""
        self.files: set[str] = set()
        """Whose functions are watched; only grows."""
        self._modules = modules
        self._lock = threading.Lock()
        self._tool: int | None = None
        self._tables: dict[int, dict[int, Touch]] = {}
        self._kept: list[types.CodeType] = []
        """Keeps the code alive that the tables name by identity."""
        self._foreign: set[str] = set()
        """Files that are not watched."""
        self._folders = _installed_folders()

    @property
    def places(self) -> int:
        """How many there are to stop at."""
        with self._lock:
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
        monitoring.register_callback(tool, events.PY_START, self._begin)
        with self._lock:
            self._watch(tool)
        monitoring.set_events(tool, events.PY_START)
        return True

    def stop(self) -> None:
        """Watch no more."""
        if self._tool is not None:
            sys.monitoring.set_events(self._tool, 0)
            for code in self._kept:
                sys.monitoring.set_local_events(self._tool, code, 0)
            sys.monitoring.free_tool_id(self._tool)
            self._tool = None

    def _watch(self, tool: int) -> None:
        """Watch the functions of modules that are not watched yet. The lock is held."""
        new = {
            str(file)
            for module in self._modules()
            if (file := vars(module).get("__file__")) and not _is_being_imported(module)
        } - self.files
        if not new:
            return
        codes = list(_functions_of(new))
        rebound, attributes = rebound_names(codes), changed_attributes(codes)
        for code in codes:
            table = touches(code, rebound, attributes)
            if table:
                self._kept.append(code[0])
                self._tables[id(code[0])] = table
                sys.monitoring.set_local_events(tool, code[0], sys.monitoring.events.INSTRUCTION)
        self.files |= new

    def _begin(self, code: types.CodeType, _offset: int) -> object:
        """A function is called for the first time: perhaps its module has been imported late, as
        Django's views are."""
        file = code.co_filename
        if file not in self.files and file not in self._foreign:
            if not code.co_flags & inspect.CO_OPTIMIZED:
                return None  # a module or class being made: its functions are not there yet
            with self._lock:
                if file.startswith(("<", *self._folders)):
                    self._foreign.add(file)
                elif self._tool is not None:
                    self._watch(self._tool)
                    if file not in self.files:
                        return None
        return sys.monitoring.DISABLE

    def _at(self, code: types.CodeType, offset: int) -> object:
        table = self._tables.get(id(code))
        touch = table.get(offset) if table is not None else None
        if touch is None:
            return sys.monitoring.DISABLE
        turn = CURRENT.get()
        if turn is not None:
            turn.at(touch)
        return None


def _functions_of(files: set[str]) -> Iterator[Code]:
    """Every function of these files, those within functions, too."""
    seen: set[int] = set()
    objects: list[Any] = gc.get_objects()
    for function in objects:
        if type(function) is types.FunctionType and function.__code__.co_filename in files:
            for code in _with_inner(function.__code__):
                if id(code) not in seen:
                    seen.add(id(code))
                    yield code, function.__globals__


def _with_inner(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _with_inner(constant)


def _is_being_imported(module: types.ModuleType) -> bool:
    return bool(getattr(vars(module).get("__spec__"), "_initializing", False))


def _installed_folders() -> list[str]:
    """Where the code is that is nobody's own, and ours."""
    paths = sysconfig.get_paths()
    folders = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {*site.getsitepackages(), site.getusersitepackages()}
    folders.add(str(Path(nogilserve.__file__).parent))
    return [folder + os.sep for folder in folders]
