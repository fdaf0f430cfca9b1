"""The stacks of all threads of an interpreter, on standard error."""

import contextlib
import importlib
import signal
import sys
import threading
from typing import Any, Final

from nogilserve.apps.interpreter import IN_SUBINTERPRETER

__all__ = ["catch_stacks_signal", "write_stacks"]

_SIGNAL: Final[int] = signal.SIGRTMAX - 3 if hasattr(signal, "SIGRTMAX") else 0
"""By which threads of subinterpreters are asked for stacks; 0 where there is none to spare."""

# A subinterpreter cannot load it.
_faulthandler: Final[Any] = None if IN_SUBINTERPRETER else importlib.import_module("faulthandler")


def catch_stacks_signal() -> None:
    """Make `write_stacks` work in subinterpreters that are made later. Main interpreter only."""
    if _SIGNAL:
        _faulthandler.register(_SIGNAL, all_threads=True, chain=False)


def write_stacks() -> None:
    """Write them. Any thread.

    faulthandler shows the threads of the interpreter whose thread runs it. Subinterpreters
    cannot load it, but its signal handler works in their threads, too.
    """
    if _faulthandler is not None:
        with contextlib.suppress(OSError, ValueError):
            _faulthandler.dump_traceback(all_threads=True)
    elif _SIGNAL:
        # In a thread of this interpreter's own: the first one belongs to the main interpreter.
        thread = threading.Thread(target=_signal_itself, name="stacks")
        thread.start()
        thread.join()
    else:
        sys.stderr.write("(stacks cannot be read in a subinterpreter on this system)\n")


def _signal_itself() -> None:
    signal.pthread_kill(threading.get_ident(), _SIGNAL)
