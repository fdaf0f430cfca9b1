"""The log of a master: the lines that `words` has other processes write, without `logging`, which
takes two megabytes with what it imports.
"""

import os
import sys
import threading
import time
from contextlib import suppress
from typing import Final

from nogilserve.observe.logformat import json_line, text_line

__all__ = ["LEVELS", "PlainLog", "log"]

LEVELS: Final = ("critical", "error", "warning", "info", "debug")
"""The gravest first."""


class PlainLog:
    """To standard error. Any thread: a line leaves whole."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._most = LEVELS.index("warning")
        self._json = False

    def configure(self, level: str, form: str = "") -> None:
        """Write what is at least that grave, in a form of --log-format ("": as before)."""
        self._most = LEVELS.index(level)
        self._json = form == "json" if form else self._json

    def say(self, level: str, text: str, *values: object, detail: str = "") -> None:
        """Write a line, and what is to follow it."""
        if LEVELS.index(level) > self._most:
            return
        message = text % values if values else text
        now = time.time()
        if self._json:
            whose = {"pid": os.getpid()}
            line = json_line(now, level, "nogilserve", whose, message, detail)
        else:
            line = text_line(now, level, message) + (f"\n{detail}" if detail else "")
        with self._lock, suppress(OSError, ValueError):  # nobody is there to be told
            if sys.stderr is not None:
                sys.stderr.write(f"{line}\n")
                sys.stderr.flush()

    def info(self, text: str, *values: object) -> None:
        """Write it."""
        self.say("info", text, *values)

    def warning(self, text: str, *values: object) -> None:
        """Write it."""
        self.say("warning", text, *values)

    def error(self, text: str, *values: object) -> None:
        """Write it."""
        self.say("error", text, *values)

    def failure(self, text: str) -> None:
        """Tell of the exception that is being handled, with its traceback."""
        import traceback  # imports much, and is for errors of ours

        self.say("critical", text, detail=traceback.format_exc().rstrip())


log: Final = PlainLog()
"""That of this process."""
