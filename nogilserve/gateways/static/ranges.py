"""Byte ranges (RFC 9110 §14), bounded so that no request costs more than it is worth."""

import re
from typing import Final

__all__ = ["MOST", "Span", "content_range", "parse_ranges"]

Span = tuple[int, int]
"""First byte, and the one after the last."""

MOST: Final = 16
"""Ranges in one request; of a request for more the whole is sent (§14.2 lets us ignore it)."""
_LONGEST: Final = 512
"""Characters of a Range field that are looked at."""
_CLOSE: Final = 80
"""Bytes between two ranges that cost less than the frame of a part of their own (§15.3.7)."""

_RANGE: Final = re.compile(r"[ \t]*(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))[ \t]*")


def parse_ranges(value: str, size: int) -> list[Span] | None:
    """The ranges asked for of something of `size` bytes, as they are to be sent.

    Empty: none of them is there (416). None: the field is to be ignored, because it cannot be read,
    asks for too much, or is about another unit than bytes. Ranges that overlap or nearly touch
    are joined, and then all are in ascending order; else the order is the client's.
    """
    unit, equals, listed = value.partition("=")
    if not equals or unit.strip(" \t").lower() != "bytes" or len(value) > _LONGEST:
        return None
    # §5.6.1.2: empty elements of a list are skipped.
    items = [item for item in listed.split(",") if item.strip(" \t")]
    if not 0 < len(items) <= MOST:
        return None
    spans: list[Span] = []
    for item in items:
        match = _RANGE.fullmatch(item)
        if match is None:
            return None
        first, last, suffix = match.groups()
        if suffix is not None:
            # The end of nothing is nothing, which Content-Range cannot say: the whole is sent.
            if not size and int(suffix):
                return None
            span = (max(size - int(suffix), 0), size)
        else:
            if last and int(last) < int(first):
                return None  # §14.1.1: invalid, and with it the field
            span = (int(first), min(int(last) + 1, size) if last else size)
        if span[0] < span[1]:
            spans.append(span)
    return _joined(spans)


def _joined(spans: list[Span]) -> list[Span]:
    if len(spans) < 2:
        return spans
    ordered = sorted(spans)
    joined = [ordered[0]]
    for start, stop in ordered[1:]:
        last = joined[-1]
        if start <= last[1] + _CLOSE:
            joined[-1] = (last[0], max(last[1], stop))
        else:
            joined.append((start, stop))
    return spans if len(joined) == len(spans) else joined


def content_range(span: Span | None, size: int) -> str:
    """The value of Content-Range (§14.4); None: of a 416."""
    return f"bytes */{size}" if span is None else f"bytes {span[0]}-{span[1] - 1}/{size}"
