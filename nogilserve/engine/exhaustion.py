"""When the system does not let a connection be accepted, for example for want of descriptors."""

import errno
import logging
from typing import Final

__all__ = ["PAUSE", "reason_for", "report_refusal"]

_log = logging.getLogger("nogilserve.engine")

PAUSE: Final = 1.0
"""Seconds without accepting after the system refused: the socket stays readable meanwhile."""

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def reason_for(exc: OSError) -> str:
    """What such a refusal is counted under."""
    return f"accept: {errno.errorcode.get(exc.errno or 0, 'error')}"


def report_refusal(exc: OSError) -> bool:
    """Log that a connection could not be accepted. True: something has run out, and it is no use
    to try again before PAUSE is over."""
    if exc.errno not in _EXHAUSTED:
        _log.warning("cannot accept a connection: %s", exc)
        return False
    _log.error(
        "cannot accept connections: %s; trying again in %g s. Raise the limit of open files "
        "(ulimit -n, LimitNOFILE=) or lower the number of clients.",
        exc,
        PAUSE,
    )
    return True
