"""What is different about signals on Windows."""

import signal
import sys
from typing import Final

__all__ = ["STOPPING", "wakeful"]

STOPPING: Final[tuple[signal.Signals, ...]] = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGBREAK") if hasattr(signal, name)
)
"""Signals that ask a server to stop. SIGBREAK is CTRL_BREAK of a Windows console, which can also
be sent to another process; SIGTERM cannot be caught there."""

_NAP: Final = 0.25
"""Seconds after which a waiting thread of Windows looks for signals."""


def wakeful(seconds: float | None) -> float | None:
    """How long to wait in one piece, where a signal is to be noticed within that time.

    On Windows a handler only runs when the main thread has waited to the end.
    """
    if sys.platform == "win32":
        return _NAP if seconds is None else min(seconds, _NAP)
    return seconds
