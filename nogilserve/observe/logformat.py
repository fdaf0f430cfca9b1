"""How messages of the server look: lines of text, or an object of JSON a line."""

import json
import logging
import os
import re
import time
from typing import Final

__all__ = ["JsonFormatter", "TextFormatter", "formatter"]

_ID: Final = re.compile(r"(?:\[([^\]\s]{1,128})\]|request ([^\s:]{1,128}):) ")
"""How a message about a request begins."""


class TextFormatter(logging.Formatter):
    """ "2026-11-22 13:30:00 +0000 [INFO] …", with the number of the generation whose it is."""

    def __init__(self, generation: int, tenant: str) -> None:
        """0 and "" for none."""
        whose = f"generation {generation}: " if generation else ""
        whose += f"{tenant}: " if tenant else ""
        form = f"%(asctime)s [%(levelname)s] {whose.replace('%', '%%')}%(message)s"
        super().__init__(form, "%Y-%m-%d %H:%M:%S %z")


class JsonFormatter(logging.Formatter):
    """One object a line: time (UTC), level, logger, pid, generation, tenant, request_id, message;
    what follows the message's first line, such as a traceback, is "detail"."""

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
        message, _, detail = record.getMessage().partition("\n")
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            detail = f"{detail}\n{trace}" if detail else trace
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{seconds}.{int(record.created % 1 * 1e6):06}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._whose,
        }
        if match := _ID.match(message):
            line["request_id"] = match[1] or match[2]
            message = message[match.end() :]
        line["message"] = message
        if detail:
            line["detail"] = detail
        return json.dumps(line)


def formatter(form: str, generation: int = 0, tenant: str = "") -> logging.Formatter:
    """That of --log-format: "text" or "json"."""
    kind = JsonFormatter if form == "json" else TextFormatter
    return kind(generation, tenant)
