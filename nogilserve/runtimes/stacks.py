"""The stacks of all threads of this interpreter, on standard error."""

import contextlib
import sys
import threading
import traceback

__all__ = ["write_stacks"]

try:
    import faulthandler
except ImportError:  # a subinterpreter
    _c = None
else:
    _c = faulthandler


def write_stacks() -> None:
    """Write them. Needs no lock of the threads it shows, in the main interpreter not even memory.

    Subinterpreters cannot load faulthandler: there it is done in Python. Any thread.
    """
    with contextlib.suppress(OSError, ValueError):
        if _c is not None:
            _c.dump_traceback(all_threads=True)
            return
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for number, frame in sys._current_frames().items():  # noqa: SLF001
            lines = traceback.format_stack(frame)
            name = names.get(number, "")
            sys.stderr.write(f"Thread {number:#x} [{name}]:\n{''.join(lines)}\n")
