"""From a request and what is known of a file to the answer. Pure: no file system, no clock."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nogilserve.gateways.static.conditions import (
    FIELDS,
    entity_tag,
    http_date,
    may_continue,
    precondition,
)
from nogilserve.gateways.static.lookup import Located
from nogilserve.gateways.static.ranges import Span, content_range, parse_ranges
from nogilserve.messages import Headers, Request

if TYPE_CHECKING:
    from nogilserve.gateways.static.recent import Entry

__all__ = ["ALLOWED", "Answer", "Asked", "Facts", "answer_file", "asked", "plain"]

ALLOWED: Final = "GET, HEAD, OPTIONS"

_PLAIN: Final = ("Content-Type", "text/plain; charset=utf-8")
_NO_SNIFFING: Final = ("X-Content-Type-Options", "nosniff")
_BYTES: Final = ("Accept-Ranges", "bytes")
_VARY: Final = ("Vary", "Accept-Encoding")

_READ_FIELDS: Final = frozenset((*FIELDS, "accept", "accept-encoding", "if-range", "range"))


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a request decides. Immutable."""

    method: str
    fields: dict[str, str]
    """Those that count here, by lower-case name; repeated ones joined (RFC 9110 §5.3)."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a file, or of a compressed one that is sent in its place. Immutable."""

    size: int
    mtime_ns: int
    modified: int
    """Last-Modified in seconds since the epoch: never in the future (RFC 9110 §8.8.2.1)."""
    content_type: str
    coding: str = ""
    """Content-Encoding, "" for none."""
    varies: bool = False
    """Accept-Encoding has a say in which file is sent."""
    cache: str = ""
    """Cache-Control, "" for none."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the body: `before`, then bytes of the file. Immutable."""

    before: bytes
    span: Span


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send: `body`, or `parts` of a file and then `after`, or the listing of a folder.

    Immutable.
    """

    status: str
    headers: Headers
    body: bytes = b""
    parts: tuple[Part, ...] = ()
    after: bytes = b""
    source: Located | None = None
    """The file of `parts`, or the folder to list."""
    title: str = ""
    """Of the listing: the path of the folder as a client writes it."""
    entry: "Entry | None" = None
    """Where the content is to be kept once it was read."""

    @property
    def length(self) -> int:
        """Bytes that `parts` and `after` make."""
        parts = sum(len(part.before) + part.span[1] - part.span[0] for part in self.parts)
        return parts + len(self.after)


def asked(request: Request) -> Asked:
    """The part of a request that decides."""
    fields: dict[str, str] = {}
    for name, value in request.headers:
        if name in _READ_FIELDS:
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return Asked(request.method, fields)


def plain(status: str, *headers: tuple[str, str]) -> Answer:
    """A status with its own words for a body."""
    return Answer(status, [_PLAIN, *headers], f"{status}\n".encode())


def answer_file(question: Asked, facts: Facts, boundary: str = "") -> Answer:
    """The answer for a file that is there; who sends it adds `source`.

    `boundary` separates several ranges; by default it is made up.
    """
    modified = facts.modified
    tag = entity_tag(facts.mtime_ns, facts.size, facts.coding)
    # RFC 9110 §15.4.5: these belong into a 304 just as into the 200.
    validators: Headers = [("ETag", tag), ("Last-Modified", http_date(modified))]
    if facts.cache:
        validators.append(("Cache-Control", facts.cache))
    if facts.varies:
        validators.append(_VARY)
    fields = question.fields
    if fields:
        verdict = precondition(question.method, fields, tag, modified)
        if verdict == 304:
            return Answer("304 Not Modified", validators)
        if verdict == 412:
            return plain("412 Precondition Failed", validators[0])
    about = [_BYTES, _NO_SNIFFING]
    if facts.coding:
        about.append(("Content-Encoding", facts.coding))
    wanted = fields.get("range")
    # §14.2: Range means nothing but for GET.
    if wanted is not None and question.method == "GET":
        usable = may_continue(fields.get("if-range"), tag, modified)
        spans = parse_ranges(wanted, facts.size) if usable else None
        if spans is not None:
            return _ranges(facts, spans, [*validators, *about], boundary)
    headers = [("Content-Type", facts.content_type), *validators, *about]
    return Answer("200 OK", headers, parts=(Part(b"", (0, facts.size)),))


def _ranges(facts: Facts, spans: list[Span], headers: Headers, boundary: str) -> Answer:
    size = facts.size
    if not spans:
        return plain("416 Range Not Satisfiable", ("Content-Range", content_range(None, size)))
    kind = facts.content_type
    if len(spans) == 1:
        # §15.3.7.2: MUST NOT be multipart where one range was asked for.
        about = [("Content-Type", kind), ("Content-Range", content_range(spans[0], size))]
        return Answer("206 Partial Content", about + headers, parts=(Part(b"", spans[0]),))
    boundary = boundary or os.urandom(12).hex()
    parts = []
    for index, span in enumerate(spans):
        text = (
            f"{'\r\n' if index else ''}--{boundary}\r\nContent-Type: {kind}\r\n"
            f"Content-Range: {content_range(span, size)}\r\n\r\n"
        )
        parts.append(Part(text.encode("latin-1"), span))
    about = [("Content-Type", f"multipart/byteranges; boundary={boundary}")]
    after = f"\r\n--{boundary}--\r\n".encode("latin-1")
    return Answer("206 Partial Content", about + headers, parts=tuple(parts), after=after)
