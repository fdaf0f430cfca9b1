"""What kind of interpreter this is."""

import _thread
from typing import Final

__all__ = ["IN_SUBINTERPRETER"]

IN_SUBINTERPRETER: Final[bool] = not _thread.daemon_threads_allowed()
"""Whether this is a subinterpreter: no daemon threads, no signal handlers, and many extension
modules refuse to be loaded. `sys._current_frames` must not be called where there are several: it
counts references to frames of all of them, which run at the same time (CPython 3.14 crashes)."""
