"""Signals that reach every process of the server: who reacts, who leaves it to the master; and what
is different on Windows."""

import signal
import sys
from types import FrameType
from typing import Final

__all__ = ["MASTERS", "STOPPING", "ignore", "leave_to_master", "wakeful"]

STOPPING: Final[tuple[signal.Signals, ...]] = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGBREAK") if hasattr(signal, name)
)
"""Signals that ask a server to stop. SIGBREAK is CTRL_BREAK of a Windows console, which can also
be sent to another process; SIGTERM cannot be caught there."""

MASTERS: Final[tuple[signal.Signals, ...]] = tuple(
    getattr(signal, name)
    for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGTTIN", "SIGTTOU")
    if hasattr(signal, name)
)
"""Those that only the master reacts to; by default some of them would end a process."""

_NAP: Final = 0.25
"""Seconds after which a waiting thread of Windows looks for signals."""


def wakeful(seconds: float | None) -> float | None:
    """How long to wait in one piece, where a signal is to be noticed within that time.

    On Windows a handler only runs when the main thread has waited to the end.
    """
    if sys.platform == "win32":
        return _NAP if seconds is None else min(seconds, _NAP)
    return seconds


def ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing. Not SIG_IGN, which programs started by the application would inherit."""


def leave_to_master(*numbers: signal.Signals) -> None:
    """Let these signals have no effect here. Main thread; the application may change it."""
    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, ignore)
