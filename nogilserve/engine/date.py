"""The Date field line of responses."""

from time import gmtime
from typing import Final

__all__ = ["date_line"]

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)


def date_line(wall: float) -> bytes:
    """The Date field line (RFC 9110 §6.6.1) for seconds since the epoch."""
    t = gmtime(wall)
    return (
        f"Date: {_DAYS[t.tm_wday]}, {t.tm_mday:02} {_MONTHS[t.tm_mon - 1]} {t.tm_year} "
        f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT\r\n"
    ).encode("ascii")
