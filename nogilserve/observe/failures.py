"""The last errors that were logged, with their tracebacks, for whoever looks."""

import logging
import math
from collections import deque
from typing import Any, Final

__all__ = ["RecentFailures"]

_KEPT: Final = 50
_LONGEST: Final = 16000
"""Characters of a message that are kept."""


class RecentFailures(logging.Handler):
    """Keeps messages of level error and above. Any thread: logging holds the handler's lock while
    it is given a message, and so does reading."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._kept: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._last = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        try:
            text = self.format(record)
        except Exception:
            self.handleError(record)
            return
        # Records of several threads do not come in the order in which they were made; whoever asks
        # for what came after the last one that it has seen must neither miss one nor get it twice.
        self._last = max(record.created, math.nextafter(self._last, math.inf))
        self._kept.append(
            {
                "at": self._last,
                "level": record.levelname.lower(),
                "logger": record.name,
                "text": text[:_LONGEST],
            }
        )

    def since(self, moment: float) -> list[dict[str, Any]]:
        """Those after that moment, in seconds since the epoch."""
        self.acquire()
        try:
            return [item for item in self._kept if item["at"] > moment]
        finally:
            self.release()
