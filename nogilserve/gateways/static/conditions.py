"""Conditional requests: entity tags, dates, and the order they are looked at (RFC 9110 §13)."""

import calendar
import re
from time import gmtime, time
from typing import Final

__all__ = ["FIELDS", "entity_tag", "http_date", "may_continue", "parse_date", "precondition"]

FIELDS: Final = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
"""Names of the fields that make a request conditional; If-Range belongs to Range."""

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
_CLOCK: Final = r"([0-9]{2}):([0-9]{2}):([0-9]{2})"
_MONTH: Final = f"({'|'.join(_MONTHS)})"
_DATES: Final = (
    # RFC 9110 §5.6.7: IMF-fixdate, and the obsolete forms of RFC 850 and of asctime().
    (re.compile(rf"[A-Z][a-z]{{2}}, ([0-9]{{2}}) {_MONTH} ([0-9]{{4}}) {_CLOCK} GMT"), "dmy"),
    (re.compile(rf"[A-Z][a-z]{{5,8}}, ([0-9]{{2}})-{_MONTH}-([0-9]{{2}}) {_CLOCK} GMT"), "dmy"),
    (re.compile(rf"[A-Z][a-z]{{2}} {_MONTH} ([ 0-9][0-9]) {_CLOCK} ([0-9]{{4}})"), "asctime"),
)
_TAG: Final = re.compile(r'[ \t,]*((?:W/)?"[!\x23-\x7e\x80-\xff]*")[ \t]*(?=,|$)')


def entity_tag(mtime_ns: int, size: int, coding: str = "") -> str:
    """A strong entity tag (§8.8.3), the same on every machine that has the same file.

    It says what stat() says: who replaces a file by another of the same size and within one tick
    of the file system's clock keeps the tag.
    """
    return f'"{mtime_ns:x}-{size:x}-{coding}"' if coding else f'"{mtime_ns:x}-{size:x}"'


def http_date(seconds: float) -> str:
    """IMF-fixdate (§5.6.7)."""
    t = gmtime(seconds)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02} {_MONTHS[t.tm_mon - 1]} {t.tm_year:04} "
        f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT"
    )


def parse_date(text: str) -> int | None:
    """Seconds since the epoch of an HTTP date in any of its three forms; None for anything else."""
    for pattern, order in _DATES:
        match = pattern.fullmatch(text)
        if match is None:
            continue
        if order == "dmy":
            day, month, year, hour, minute, second = match.groups()
        else:
            month, day, hour, minute, second, year = match.groups()
        return _seconds(_year(year), month, int(day), int(hour), int(minute), int(second))
    return None


def _year(digits: str) -> int:
    year = int(digits)
    if len(digits) == 2:
        # §5.6.7: what seems to lie more than 50 years ahead is in the past.
        now = gmtime(time()).tm_year
        year += now // 100 * 100
        if year > now + 50:
            year -= 100
    return year


def _seconds(year: int, month: str, day: int, hour: int, minute: int, second: int) -> int | None:
    number = _MONTHS.index(month) + 1
    if not (year >= 1601 and 1 <= day <= calendar.monthrange(year, number)[1]):
        return None
    if hour > 23 or minute > 59 or second > 60:
        return None
    return calendar.timegm((year, number, day, hour, minute, second))


def precondition(method: str, fields: dict[str, str], tag: str, modified: int) -> int:
    """What the conditions of a request for something that exists come to: 200 (go on), 304 or 412.

    `fields`: those of `FIELDS` that the request has; `tag`: our strong entity tag; `modified`:
    seconds since the epoch. The order is that of §13.2.2.
    """
    if (match := fields.get("if-match")) is not None:
        if not _names(match, tag, strong=True):
            return 412
    elif (since := fields.get("if-unmodified-since")) is not None:
        limit = parse_date(since)
        if limit is not None and modified > limit:
            return 412
    if (none := fields.get("if-none-match")) is not None:
        if _names(none, tag, strong=False):
            return 304 if method in {"GET", "HEAD"} else 412
    elif (since := fields.get("if-modified-since")) is not None and method in {"GET", "HEAD"}:
        limit = parse_date(since)
        if limit is not None and modified <= limit:
            return 304
    return 200


def may_continue(if_range: str | None, tag: str, modified: int) -> bool:
    """Whether a Range counts: there is no If-Range, or it names exactly what we have (§13.1.5).

    A date has to be the very Last-Modified date: "not later" would join pieces of two files.
    """
    if if_range is None:
        return True
    if if_range.startswith('"'):
        return if_range == tag
    return parse_date(if_range) == modified


def _names(listed: str, tag: str, *, strong: bool) -> bool:
    """Whether a list of entity tags has ours (§8.8.3.2); what is no list of tags has nothing."""
    if listed == tag:  # the ordinary case
        return True
    if listed.strip(" \t") == "*":
        return True
    position, found = 0, False
    while position < len(listed):
        match = _TAG.match(listed, position)
        if match is None:
            return found and not listed[position:].strip(" \t,")
        candidate = match[1] if strong else match[1].removeprefix("W/")
        found = found or candidate == tag
        position = match.end()
    return found
