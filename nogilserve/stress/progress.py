"""How far it is: a bar on a terminal, a line now and then elsewhere. On standard error."""

import shutil
import sys
from time import monotonic
from typing import Final

__all__ = ["Progress"]

_BAR: Final = 24
_OFTEN: Final = 0.1
_RARELY: Final = 5.0


class Progress:
    """Owner: the driving process's thread."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown = 0.0
        self._phase = ""
        self._open = False
        """A bar stands on the current line."""

    def phase(self, name: str) -> None:
        """Something new begins."""
        self.line(name)
        self._phase = name
        self._shown = monotonic()

    def line(self, text: str) -> None:
        """A line that stays."""
        self.clear()
        print(text, file=sys.stderr, flush=True)

    def show(self, share: float, text: str) -> None:
        """How much of the phase is done (0 to 1), and what is being done."""
        now = monotonic()
        if now - self._shown < (_OFTEN if self._terminal else _RARELY):
            return
        self._shown = now
        share = min(max(share, 0.0), 1.0)
        if not self._terminal:
            print(f"  {share:4.0%}  {text}", file=sys.stderr, flush=True)
            return
        done = round(share * _BAR)
        line = f"[{'#' * done}{'.' * (_BAR - done)}] {share:4.0%} {text}"
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\x1b[K{line[:width]}", end="", file=sys.stderr, flush=True)
        self._open = True

    def clear(self) -> None:
        """Take the bar away."""
        if self._open:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._open = False
