"""Which responses are compressed, and what their heads then say. Pure."""

from dataclasses import dataclass
from typing import Final

from nogilserve.gateways.static.media import worth_compressing
from nogilserve.messages import Headers

__all__ = ["SMALLEST", "Head", "read_head"]

SMALLEST: Final = 512
"""Bytes from which on a body is compressed: less would not fill a packet anyway."""

_NEVER: Final = frozenset({"204", "205", "206", "304"})
"""Statuses without a body, or with a part of one whose ranges are of what was not compressed."""


@dataclass(frozen=True, slots=True)
class Head:
    """A response head that may be compressed. Immutable."""

    status: str
    plain: Headers
    """As the application gave it, with Vary."""
    compressed: Headers
    """The same for a compressed body, without Content-Encoding."""
    length: int | None
    """Content-Length of what is not compressed."""

    def coded(self, coding: str) -> Headers:
        """Field lines of the compressed response."""
        return [*self.compressed, ("Content-Encoding", coding)]


def read_head(status: str, headers: Headers) -> Head | None:
    """What there is to say about a head; None: it is to be left as it is.

    Its fields were checked: names and values are strings, Content-Length is a number.
    """
    if status[:3] in _NEVER:
        return None
    fields = {name.lower(): value for name, value in headers}
    if not worth_compressing(fields.get("content-type", "")):
        return None
    if "content-encoding" in fields or "content-range" in fields:
        return None
    # RFC 9110 §7.7, RFC 9111 §5.2.2.6.
    if "no-transform" in fields.get("cache-control", "").lower():
        return None
    plain = _with_vary(headers)
    compressed = []
    for name, value in plain:
        kind = name.lower()
        if kind == "content-length" or kind == "accept-ranges":
            continue
        # Other bytes, so at best equivalent (RFC 9110 §8.8.3.3).
        if kind == "etag" and value.startswith('"'):
            value = "W/" + value
        compressed.append((name, value))
    length = fields.get("content-length")
    return Head(status, plain, compressed, int(length) if length is not None else None)


def _with_vary(headers: Headers) -> Headers:
    """With Accept-Encoding in Vary (RFC 9110 §12.5.5)."""
    varies = ",".join(value for name, value in headers if name.lower() == "vary").lower()
    named = {item.strip(" \t") for item in varies.split(",")}
    if named & {"*", "accept-encoding"}:
        return headers
    return [*headers, ("Vary", "Accept-Encoding")]
