"""What is said when an application fails: in the log with its traceback, to the client without."""

import logging
import traceback
from typing import Final

from nogilserve.errors import ResponseError

__all__ = ["PLAIN", "STATUS", "failure_text", "log_failure"]

_log = logging.getLogger("nogilserve.error")

PLAIN: Final = ("Content-Type", "text/plain; charset=utf-8")

STATUS: Final = {
    400: "400 Bad Request",
    408: "408 Request Timeout",
    413: "413 Content Too Large",
    500: "500 Internal Server Error",
    504: "504 Gateway Timeout",
}


def log_failure(where: str, name: str, exc: BaseException, explanation: str = "") -> str:
    """Log what an application did wrong; the traceback. `where` names the request, `name` the
    application; an explanation is added for errors that do not explain themselves."""
    kind = "illegal response" if isinstance(exc, ResponseError) else "exception"
    trace = "".join(traceback.format_exception(exc))
    more = f"\n{explanation}" if explanation else ""
    _log.error("%s: %s in %s\n%s%s", where, kind, name, trace.rstrip(), more)
    return trace


def failure_text(request_id: str, trace: str) -> bytes:
    """The body of a 500; `trace` is "" but in debug mode."""
    text = f"Internal Server Error\nrequest {request_id}\n"
    if trace:
        text += "\n" + trace
    return text.encode("utf-8", "replace")
