"""Where the threads of this interpreter are.

Walking the frames of a thread that runs meanwhile is safe with a GIL, and on free-threaded CPython
from 3.14 on; 3.13 crashes. There faulthandler is asked, which stops all threads while it looks.
"""

import _thread
import linecache
import os
import re
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from typing import Any, Final

__all__ = ["Place", "Stack", "stacks", "text_of", "threads", "unreadable"]

Place = tuple[str, int, str]
"""File, line, function."""
Stack = list[Place]
"""The outermost call first."""

_DEEPEST: Final = 300
_STOPPING: Final = hasattr(sys, "_is_gil_enabled") and sys.version_info < (3, 14)
_HEAD: Final = re.compile(r"(?:Current t|T)hread 0x([0-9a-f]+)")
_LINE: Final = re.compile(r'  File "(.*)", line (\d+) in (.*)')
_ROOM: Final = 1 << 21


def unreadable() -> str:
    """Why stacks cannot be read in this interpreter, "" where they can."""
    if not _thread.daemon_threads_allowed():
        return "stacks cannot be read in subinterpreters; --runtime processes or threads shows them"
    return ""


def stacks() -> dict[int, Stack]:
    """Of all threads, by identifier; empty where they are `unreadable`."""
    if unreadable():
        return {}
    if _STOPPING and not sys._is_gil_enabled():  # noqa: SLF001
        return dict(_by_faulthandler())
    found = {}
    for ident, frame in sys._current_frames().items():  # noqa: SLF001
        stack: Stack = []
        at: Any = frame
        while at is not None and len(stack) < _DEEPEST:
            code = at.f_code
            stack.append((code.co_filename, at.f_lineno or 0, code.co_qualname))
            at = at.f_back
        stack.reverse()
        found[ident] = stack
    return found


def _by_faulthandler() -> Iterator[tuple[int, Stack]]:
    import faulthandler  # which subinterpreters cannot load

    # Not a pipe: nobody could empty it while all threads stand still.
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file, all_threads=True)
        text = os.pread(file.fileno(), _ROOM, 0).decode("utf-8", "replace")
    for block in text.split("\n\n"):
        head = _HEAD.match(block)
        if head is not None:
            lines = _LINE.findall(block)
            yield int(head[1], 16), [(file, int(line), name) for file, line, name in lines[::-1]]


def text_of(thread: int, innermost: int = _DEEPEST) -> str:
    """The innermost frames of a thread as a traceback shows them; why not, where that cannot be.

    `thread`: its identifier. Reads source files.
    """
    if why := unreadable():
        return f"  ({why})"
    stack = stacks().get(thread)
    if stack is None:
        return "  (the thread has ended)"
    linecache.checkcache()
    frames = [traceback.FrameSummary(file, line, name) for file, line, name in stack[-innermost:]]
    return "".join(traceback.format_list(frames)).rstrip()


def threads() -> list[dict[str, Any]]:
    """All threads with their stacks, as plain data."""
    known = {thread.ident: thread for thread in threading.enumerate()}
    found = stacks()
    return [
        {
            "name": known[ident].name if ident in known else f"thread {ident:#x}",
            "key": ident,
            "native": known[ident].native_id if ident in known else None,
            "stack": [list(place) for place in found.get(ident, ())],
        }
        for ident in (found or known)
        if ident is not None
    ]
