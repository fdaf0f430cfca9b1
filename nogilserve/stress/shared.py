"""Which instructions of the application's functions touch what threads share.

Found in the bytecode, with the module's globals at hand: names that a function rebinds, and names
bound to something that can be changed. Attributes and items are not known to be shared; they count
where they are changed outside of a constructor.
"""

import contextvars
import dis
import enum
import functools
import logging
import pathlib
import re
import threading
import types
from collections.abc import Iterable
from typing import Any, Final

from nogilserve.stress.turns import Touch

__all__ = ["Code", "changed_attributes", "rebound_names", "touches"]

type Code = tuple[types.CodeType, dict[str, Any]]
"""With the globals it runs with."""

_CHANGES: Final = re.compile(
    "add|append(left)?|clear|discard|extend(left)?|insert|pop(item|left)?|remove|reverse|"
    "setdefault|sort|subtract|update|appendleft|rotate|write|writelines|put(_nowait)?"
)
_FIXED: Final = (
    *(str, bytes, int, float, complex, bool, tuple, frozenset, range, type(None), type),
    *(types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType),
    *(types.GenericAlias, types.UnionType, functools.partial, enum.Enum, re.Pattern),
    *(logging.Logger, pathlib.PurePath, contextvars.ContextVar, threading.local),
    *(type(threading.Lock()), type(threading.RLock()), threading.Semaphore, threading.Condition),
    *(threading.Event, threading.Barrier),
)
"""Values that do not change, or that exist to be shared."""
_PER_REQUEST: Final = frozenset({"LocalProxy", "LocalStack", "Local", "Translations"})
"""Types of other packages whose instances stand for something of the running request."""
_PLAIN: Final = (dict, list, set, bytearray)
_MAKERS: Final = frozenset({"__init__", "__new__", "__post_init__", "__set_name__"})


def rebound_names(codes: Iterable[Code]) -> set[tuple[int, str]]:
    """The names that functions rebind, each with the identity of its module's globals."""
    return {
        (id(names), each.argval)
        for code, names in codes
        for each in dis.get_instructions(code)
        if each.opname in ("STORE_GLOBAL", "DELETE_GLOBAL")
    }


def changed_attributes(codes: Iterable[Code]) -> set[str]:
    """The names of attributes that are changed other than while their object is made."""
    found = set()
    for code, _ in codes:
        instructions = list(dis.get_instructions(code))
        for number, each in enumerate(instructions):
            changes = (
                code.co_name not in _MAKERS
                if each.opname in ("STORE_ATTR", "DELETE_ATTR")
                else each.opname == "LOAD_ATTR" and _changes_next(instructions, number)
            )
            if changes:
                found.add(each.argval)
    return found


def _changes_next(instructions: list[dis.Instruction], number: int) -> bool:
    """Whether what this instruction loads is changed by what directly follows."""
    for following in instructions[number + 1 : number + 2]:
        if following.opname in ("LOAD_ATTR", "LOAD_METHOD") and _CHANGES.fullmatch(
            str(following.argval)
        ):
            return True
    return False


def touches(code: Code, rebound: set[tuple[int, str]], attributes: set[str]) -> dict[int, Touch]:
    """The offsets of the instructions of a function that touch what threads share."""
    body, names = code
    found: dict[int, Touch] = {}
    line = body.co_firstlineno
    last = ""
    last_line = 0

    def note(offset: int, name: str, kind: str) -> None:
        found[offset] = Touch(name, kind, body.co_filename, line, body.co_qualname)

    instructions = list(dis.get_instructions(body))
    for number, each in enumerate(instructions):
        line = each.line_number or line
        name = str(each.argval)
        operation = each.opname
        if operation in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            note(each.offset, name, "writes")
        elif operation in ("LOAD_GLOBAL", "LOAD_NAME"):
            if (id(names), name) in rebound:
                note(each.offset, name, "reads")
            elif _may_change(names.get(name)):
                note(each.offset, name, _how(names.get(name), instructions, number))
            else:
                continue
            last, last_line = name, line
        elif operation in ("STORE_SUBSCR", "DELETE_SUBSCR"):
            note(each.offset, last if last_line == line else "[…]", "writes")
        elif operation in ("STORE_ATTR", "DELETE_ATTR"):
            if body.co_name not in _MAKERS:
                note(each.offset, f".{name}", "writes")
        elif operation == "LOAD_ATTR" and name in attributes:
            if body.co_name not in _MAKERS:
                changes = _changes_next(instructions, number)
                note(each.offset, f".{name}", "writes" if changes else "reads")
        elif operation == "STORE_DEREF" and name in body.co_freevars:
            note(each.offset, name, "writes")
    return found


def _may_change(value: object) -> bool:
    return not (isinstance(value, _FIXED) or type(value).__name__ in _PER_REQUEST)


def _how(value: object, instructions: list[dis.Instruction], number: int) -> str:
    if _changes_next(instructions, number):
        return "writes"
    return "reads" if isinstance(value, _PLAIN) else "uses"
