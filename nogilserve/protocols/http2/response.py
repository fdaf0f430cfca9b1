"""What an application may say in a response, as field sections of HTTP/2.

The rules are those of HTTP/1 (`http1.response`): same fields refused, same lengths checked.
"""

from typing import Final

from nogilserve.errors import ProtocolError, ResponseError
from nogilserve.messages import Headers, Request
from nogilserve.protocols.http1.response import check_fields, check_trailers, final_status
from nogilserve.protocols.http1.tables import PHRASES, Tables
from nogilserve.protocols.http2.fieldcoding import encode_fields, encode_length

__all__ = ["Response", "ResponseTables", "promised", "refusal"]

# What may follow in the response.
_NOTHING_SENT: Final = 0
_NO_BODY: Final = 1
_COUNTED: Final = 2
_OPEN: Final = 3
_ENDED: Final = 4

_MOST_KEPT: Final = 64
_LONGEST_KEPT: Final = 512


class Head:
    """A response head that was checked and encoded. Immutable, but for `last`, which is changed
    as a whole: any thread that runs a request of the core."""

    __slots__ = ("block", "code", "date", "endless", "fields", "last", "length", "server")

    def __init__(self, status: str, headers: Headers, tables: Tables) -> None:
        """Raises ResponseError."""
        self.code: Final = final_status(status)[0]
        fields = check_fields(headers, tables.kinds)
        self.fields: Final = fields.lines
        """Without Content-Length."""
        self.length: Final = fields.length
        """Content-Length as the application gave it."""
        self.date: Final = fields.date
        """Whether the application sends its own; so for `server`."""
        self.server: Final = fields.server
        self.endless: Final = any(
            name.lower() == "content-type" and "text/event-stream" in value.lower()
            for name, value in fields.lines
        )
        """An event stream: it ends when somebody leaves."""
        self.block = self._encode(small=False)
        """Status and fields, without Content-Length."""
        self.last: tuple[int, bytes, bytes] = (-1, b"", b"")
        """The body's size, the common fields and the whole section when it was last sent."""

    def _encode(self, *, small: bool) -> bytes:
        lines = [(name.lower(), value) for name, value in self.fields]
        return encode_fields([(":status", self.code), *lines], small=small)

    def shrink(self) -> None:
        """It is worth the work: it will be sent again."""
        self.block = self._encode(small=True)


class ResponseTables:
    """What is kept of the response heads of one core. Any thread that runs a request of it: single
    operations of dictionaries, and what they hold is right in any order."""

    __slots__ = ("_common", "_heads", "_names", "_once")

    def __init__(self, names: Tables) -> None:
        """`names`: the core's, which know the usual fields."""
        self._names = names
        self._heads: dict[object, Head] = {}
        self._once: object = None
        self._common: tuple[bytes, bytes] = (b"", b"")

    def head(self, status: str, headers: Headers) -> Head:
        """The head for what an application says. Raises ResponseError."""
        key: object = None
        try:
            key = (status, *headers)
            known = self._heads.get(key)
            if known is not None:
                return known
        except TypeError:  # something that is no pair of strings
            key = None
        head = Head(status, headers, self._names)
        if key is not None and len(head.block) <= _LONGEST_KEPT:
            if key == self._once:
                if len(self._heads) >= _MOST_KEPT:
                    self._heads.clear()
                head.shrink()
                self._heads[key] = head
            self._once = key
        return head

    def common(self, lines: bytes, head: Head) -> bytes:
        """The core's Date and Server `lines` as fields, without those the application sends."""
        if head.date or head.server:
            return _encode_lines(lines, date=not head.date, server=not head.server)
        kept = self._common
        if kept[0] is lines:
            return kept[1]
        block = _encode_lines(lines, date=True, server=True)
        self._common = (lines, block)
        return block

    def interim(self, status: int, headers: Headers) -> bytes:
        """An interim response (RFC 9110 §15.2). Raises ResponseError."""
        fields = check_fields(headers, self._names.kinds)
        lines = [(name.lower(), value) for name, value in fields.lines]
        return encode_fields([(":status", str(status)), *lines])


def _encode_lines(lines: bytes, *, date: bool, server: bool) -> bytes:
    fields = [line.partition(": ") for line in lines.decode("latin-1").splitlines()]
    wanted = {"date": date, "server": server}
    return encode_fields(
        [(name.lower(), value) for name, _, value in fields if wanted.get(name.lower(), True)],
        small=True,
    )


class Response:
    """The response to one request: its head, and how long its body may be. Owner: the thread that
    runs the request. It makes field sections; frames are the connection's."""

    __slots__ = ("_left", "_mode", "_tables", "declared_length", "prepared", "started")

    def __init__(self, tables: ResponseTables) -> None:
        self._tables = tables
        self.prepared: Head | None = None
        self.declared_length: int | None = None
        """Content-Length among the prepared fields."""
        self._mode = _NOTHING_SENT
        self._left = 0
        self.started = False
        """The final head was made."""

    def prepare(self, status: str, headers: Headers) -> None:
        """Check and keep the head of the response to come; as `Http1Connection.prepare`."""
        if self.started:
            raise ResponseError("the response was already started")
        self.prepared = head = self._tables.head(status, headers)
        self.declared_length = head.length

    def whole(self, request: Request, size: int, common: bytes) -> tuple[bytes, bool]:
        """The head of a response with a body of `size` bytes, and whether that is to be sent.
        Raises ResponseError."""
        head = self.prepared
        if (
            head is not None
            and (head.length is None or head.length == size)
            and request.method != "HEAD"
            and head.code != "204"
            and head.code != "304"
            and not self.started
        ):
            self.started = True
            self._mode = _ENDED
            # One attribute, read once: another thread may send the same head.
            last = head.last
            if last[0] == size and last[1] is common:
                return last[2], True
            block = head.block + encode_length(size) + self._tables.common(common, head)
            head.last = (size, common, block)
            return block, True
        block = self.head(request, size, common)
        wanted = self.count(size)
        self.end()
        return block, wanted

    def head(self, request: Request, length: int | None, common: bytes) -> bytes:
        """The prepared head; its body has the application's Content-Length, else `length` bytes, if
        known. `common`: our Date and Server lines. Raises ResponseError."""
        if self.started:
            raise ResponseError("the response was already started")
        head = self.prepared
        if head is None:
            raise ResponseError("the response has no status yet")
        declared = head.length
        if head.code in {"204", "304"} or request.method == "HEAD":
            self._mode = _NO_BODY
            if head.code == "204":
                declared = None  # RFC 9110 §8.6: MUST NOT be sent
            elif declared is None and head.code != "304" and length:
                declared = length
        else:
            if declared is None:
                declared = length
            elif length is not None and length != declared:
                raise ResponseError(
                    f"Content-Length is {declared}, but the body has {length} bytes"
                )
            self._mode = _OPEN if declared is None else _COUNTED
        self.started = True
        self._left = declared or 0
        counted = b"" if declared is None else encode_length(declared)
        return head.block + counted + self._tables.common(common, head)

    @property
    def bodiless(self) -> bool:
        """Whether the head is all there is, so that it may end the stream."""
        return self._mode == _NO_BODY or (self._mode == _COUNTED and not self._left)

    def count(self, size: int) -> bool:
        """Whether `size` bytes of the body are to be sent. Raises ResponseError when they are too
        many, or it is not the time for them."""
        mode = self._mode
        if mode == _OPEN:
            return size > 0
        if mode == _COUNTED:
            left = self._left - size
            if left < 0:
                raise ResponseError(f"body is {-left} bytes longer than Content-Length")
            self._left = left
            return size > 0
        if mode == _NO_BODY:
            return False
        if mode == _ENDED:
            raise ResponseError("body after the end of the response")
        raise ResponseError("body before the start of the response")

    def end(self, trailers: Headers | tuple[()] = ()) -> bytes:
        """The body is complete; the field section of its trailers, b"" without. Raises
        ResponseError."""
        mode = self._mode
        if mode in {_NOTHING_SENT, _ENDED}:
            self.count(0)
        fields = check_trailers(trailers) if trailers else []
        self._mode = _ENDED
        if mode == _COUNTED and self._left:
            raise ResponseError(f"body is {self._left} bytes shorter than Content-Length")
        if not fields or mode == _NO_BODY:
            return b""
        return encode_fields([(name.lower(), value) for name, value in fields])

    def withdraw(self) -> None:
        """What head() returned was not sent: another one may be prepared."""
        self.started = False
        self._mode = _NOTHING_SENT

    def interim(self, headers: Headers, status: int = 103) -> bytes:
        """An interim response. Raises ResponseError."""
        if self.started:
            raise ResponseError("interim response after the final one")
        return self._tables.interim(status, headers)

    def told(self) -> bytes:
        """The head as HTTP/1 would write it, for the access log."""
        head = self.prepared
        if head is None:
            return b""
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.fields)
        return f"HTTP/2.0 {head.code} \r\n{lines}\r\n".encode("latin-1", "replace")


def promised(headers: Headers, field: tuple[str, str]) -> Headers:
    """`headers` with a field that every response has, unless they have one of that name."""
    wanted = field[0].lower()
    if any(name.lower() == wanted for name, _ in headers):
        return headers
    return [*headers, field]


def refusal(exc: ProtocolError) -> tuple[str, Headers, bytes]:
    """Status, fields and body that answer a ProtocolError."""
    reason = PHRASES.get(exc.status, "Error")
    body = f"{exc.status} {reason}: {exc.message}\n".encode("ascii", "backslashreplace")
    # RFC 9113 §8.2.2: what is about the connection has no place here.
    fields = [field for field in exc.headers if field[0].lower() not in {"connection", "upgrade"}]
    return f"{exc.status} {reason}", [("Content-Type", "text/plain; charset=utf-8"), *fields], body
