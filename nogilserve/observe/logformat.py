"""How messages of the server look: lines of text, or an object of JSON a line."""

import json
import re
import time
from collections.abc import Mapping
from typing import Final

__all__ = ["TIME", "json_line", "text_line"]

TIME: Final = "%Y-%m-%d %H:%M:%S %z"
_ID: Final = re.compile(r"(?:\[([^\]\s]{1,128})\]|request ([^\s:]{1,128}):) ")
"""How a message about a request begins."""


def text_line(seconds: float, level: str, message: str) -> str:
    """ "2026-11-22 13:30:00 +0000 [INFO] …"."""
    return f"{time.strftime(TIME, time.localtime(seconds))} [{level.upper()}] {message}"


def json_line(
    seconds: float, level: str, logger: str, whose: Mapping[str, object], message: str, detail: str
) -> str:
    """One object: time (UTC), level, logger, `whose`, request_id, message; what follows the
    message's first line, and `detail`, such as a traceback, is "detail"."""
    message, _, more = message.partition("\n")
    detail = f"{more}\n{detail}" if more and detail else more or detail
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    line: dict[str, object] = {
        "time": f"{moment}.{int(seconds % 1 * 1e6):06}Z",
        "level": level,
        "logger": logger,
        **whose,
    }
    if match := _ID.match(message):
        line["request_id"] = match[1] or match[2]
        message = message[match.end() :]
    line["message"] = message
    if detail:
        line["detail"] = detail
    return json.dumps(line)
