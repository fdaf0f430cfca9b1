"""The last errors that were logged, with their tracebacks, for whoever looks."""

import logging
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

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        try:
            text = self.format(record)
        except Exception:
            self.handleError(record)
            return
        self._kept.append(
            {
                "at": record.created,
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
