"""The forms of messages for `logging`, see `logformat`."""

import logging
import os

from nogilserve.observe.logformat import TIME, json_line

__all__ = ["JsonFormatter", "TextFormatter", "formatter"]


class TextFormatter(logging.Formatter):
    """A line of text, with the number of the generation whose it is."""

    def __init__(self, generation: int, tenant: str) -> None:
        """0 and "" for none."""
        whose = f"generation {generation}: " if generation else ""
        whose += f"{tenant}: " if tenant else ""
        form = f"%(asctime)s [%(levelname)s] {whose.replace('%', '%%')}%(message)s"
        super().__init__(form, TIME)


class JsonFormatter(logging.Formatter):
    """One object a line: with pid, generation, tenant."""

    def __init__(self, generation: int, tenant: str) -> None:
        """0 and "" for none."""
        super().__init__()
        self._whose: dict[str, object] = {"pid": os.getpid()}
        if generation:
            self._whose["generation"] = generation
        if tenant:
            self._whose["tenant"] = tenant

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        detail = self.formatException(record.exc_info) if record.exc_info else ""
        return json_line(
            record.created,
            record.levelname.lower(),
            record.name,
            self._whose,
            record.getMessage(),
            detail,
        )


def formatter(form: str, generation: int = 0, tenant: str = "") -> logging.Formatter:
    """That of --log-format: "text" or "json"."""
    kind = JsonFormatter if form == "json" else TextFormatter
    return kind(generation, tenant)
