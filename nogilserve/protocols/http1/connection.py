"""The server side of an HTTP/1.x connection, sans-IO: bytes in, requests out; responses in,
bytes out.

One request at a time: next_request, read_body until b"", the response, next_cycle. Requests that
were pipelined behind it wait in the buffer (RFC 9112 §9.3.2). Nothing here knows sockets,
threads, clocks or applications.
"""

from collections.abc import Sequence
from typing import Final

from nogilserve.errors import ProtocolError, ResponseError
from nogilserve.messages import Headers, Limits, Request
from nogilserve.protocols.http1 import response
from nogilserve.protocols.http1.receiver import Receiver
from nogilserve.protocols.http1.tables import KnownHead, Tables

__all__ = ["Http1Connection"]

# What may follow in the response.
_NOTHING_SENT: Final = 0
_NO_BODY: Final = 1
_COUNTED: Final = 2
_CHUNKED: Final = 3
_UNTIL_CLOSE: Final = 4
_ENDED: Final = 5

# What kind of head was prepared.
_NONE: Final = 0
_ORDINARY: Final = 1
_SPECIAL: Final = 2


class Http1Connection(Receiver):
    """One connection of one client.

    Owner: whoever owns the connection: its core, and while a request runs the thread that runs
    it. Never used by two threads at once. An idle one holds no buffer and no request.

    Every method that sends returns the bytes to write. A response is prepare(), then whole(), or
    head(), data() or account() as often as needed, and end().
    """

    __slots__ = (
        "_code",
        "_continued",
        "_fields",
        "_known",
        "_mode",
        "_prepared",
        "_response_left",
        "declared_length",
        "head_sent",
        "prepared_head",
    )

    def __init__(self, limits: Limits, tables: Tables | None = None) -> None:
        Receiver.__init__(self, limits, tables)
        self._continued = False
        """Whether 100 was sent for the current request."""
        self._prepared = _NONE
        self.prepared_head = ""
        """Status line and field lines of the prepared head, without Content-Length."""
        self._known: KnownHead | None = None
        """What is kept of an ordinary head that was prepared before."""
        self._code = 0
        self._fields: response.Fields | None = None
        """The fields of a special head."""
        self.declared_length: int | None = None
        """Content-Length among the prepared fields."""
        self._mode = _NOTHING_SENT
        self._response_left = 0
        """Bytes that a counted response still has to send."""
        self.head_sent = False
        """Whether a final response head was made for the current request."""

    def prepare(self, status: str, headers: Headers) -> None:
        """Check and keep the head of the response to come; `status` is like "200 OK".

        May be called again until the head is sent. Raises ResponseError, and then nothing has
        changed.
        """
        if self.head_sent:
            raise ResponseError("the response was already started")
        tables = self._tables
        try:
            key = None
            hope = tables.hope
            if hope > 0 and type(headers) is list:
                key = (status, *headers)
                known = tables.heads.get(key)
                if known is not None:
                    if hope < 64:
                        tables.hope = hope + 1
                    self._known = known
                    self.prepared_head = known.text
                    self.declared_length = known.declared
                    self._prepared = _ORDINARY
                    return
                tables.hope = hope - 1
            text = tables.status_lines[status]
            kinds = tables.kinds
            declared = None
            for name, value in headers:
                kind = kinds[name]
                if kind > 1 or not (value.isascii() and value.isprintable()):
                    break
                if kind == 0:
                    # Joined, not formatted: a subclass of str may format differently.
                    text = "".join((text, name, ": ", value, "\r\n"))
                elif declared is None and value.isdigit() and len(value) < 16:
                    declared = int(value)
                else:
                    break
            else:
                self._known = None if key is None else tables.remember_head(key, text, declared)
                self.prepared_head = text
                self.declared_length = declared
                self._prepared = _ORDINARY
                return
        except (KeyError, TypeError, ValueError, AttributeError):
            # An unusual status or field, or a wrong one: looked at closely below.
            pass
        text, code = response.status_line(status)
        fields = response.compose_fields(headers, tables.kinds)
        tables.learn(fields.lines)
        self.prepared_head = text + fields.text
        self._code = code
        self._fields = fields
        self.declared_length = fields.length
        self._prepared = _SPECIAL

    @property
    def known_head(self) -> KnownHead | None:
        """The head that was prepared, if it is kept: for prepare_known()."""
        return self._known if self._prepared == _ORDINARY else None

    def prepare_known(self, head: KnownHead) -> None:
        """As prepare(), for what known_head was once, on any connection of the core."""
        if self.head_sent:
            raise ResponseError("the response was already started")
        self._known = head
        self.prepared_head = head.text
        self.declared_length = head.declared
        self._prepared = _ORDINARY

    def whole(self, body: bytes, common: bytes) -> bytes:
        """The prepared response with its whole body. `common`: our Date and Server lines with
        their CRLFs; a line is left out when the application sends that field itself.

        Raises ResponseError, and then nothing counts as sent.
        """
        request = self._request
        size = len(body)
        declared = self.declared_length
        if (
            self._prepared == 1
            and (declared is None or declared == size)
            and self.keep_alive
            and request is not None
            and request.ordinary
        ):
            self.head_sent = True
            self._prepared = 0
            self._mode = _ENDED
            known = self._known
            if known is not None:
                # One attribute, read once: another thread may send the same head.
                last = known.last
                if last[0] == size:
                    return b"".join((last[1], common, b"\r\n", body))
            first = f"{self.prepared_head}Content-Length: {size}\r\n".encode("latin-1")
            if known is not None:
                known.last = (size, first)
            return b"".join((first, common, b"\r\n", body))
        head = self.head(size, common)
        # No ResponseError can come from here on: head() has compared the lengths.
        return head + self.data(body) + self.end()

    def head(self, length: int | None, common: bytes) -> bytes:
        """Start the prepared response. Its body is framed by the application's Content-Length,
        else by `length` (bytes of the body, if known), else chunked, for HTTP/1.0 until the
        close. `common`: as of whole().

        Raises ResponseError, and then nothing counts as sent.
        """
        request = self._current()
        if self.head_sent:
            raise ResponseError("the response was already started")
        if self._prepared == _NONE:
            raise ResponseError("the response has no status yet")
        declared = self.declared_length
        fields = None
        code = 200
        if self._prepared == _SPECIAL:
            fields, code = self._fields, self._code
        if code in {204, 304} or request.method == "HEAD":
            mode = _NO_BODY
            if code == 204:
                declared = None  # RFC 9110 §8.6: MUST NOT be sent
            elif declared is None and code != 304 and length:
                # What GET would say. An empty body says nothing about GET's.
                declared = length
        else:
            if declared is None:
                declared = length
            elif length is not None and length != declared:
                raise ResponseError(
                    f"Content-Length is {declared}, but the body has {length} bytes"
                )
            mode = _COUNTED
            if declared is None:
                mode = _CHUNKED if request.minor else _UNTIL_CLOSE
        text = self.prepared_head
        if declared is not None:
            text += f"Content-Length: {declared}\r\n"
        elif mode == _CHUNKED:
            text += "Transfer-Encoding: chunked\r\n"
        text += self._connection_field(request, mode)
        self.head_sent = True
        self._prepared = _NONE
        self._fields = None
        self._mode = mode
        self._response_left = declared or 0
        if fields is not None:
            common = fields.common(common)
        return b"%b%b\r\n" % (text.encode("latin-1"), common)

    def _connection_field(self, request: Request, mode: int) -> str:
        """The Connection field (RFC 9112 §9.3), and what it says carried out."""
        if mode == _UNTIL_CLOSE:
            self.keep_alive = False
        elif request.expect_continue and not self._continued and not self._body_begun(request):
            # Whether the client will send the body after all cannot be known (RFC 9110 §10.1.1).
            self.keep_alive = False
        if not self.keep_alive:
            return "Connection: close\r\n"
        return "" if request.minor else "Connection: keep-alive\r\n"

    def withdraw(self) -> None:
        """What head() returned was not sent, and will not be: another head may be prepared."""
        self.head_sent = False
        self._mode = _NOTHING_SENT

    def data(self, chunk: bytes) -> bytes:
        """A piece of the body, framed; b"" where the response has no body.

        Raises ResponseError when it is more than Content-Length said, or not the time for it.
        """
        mode = self._mode
        if mode == _CHUNKED:
            return b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunk else b""
        if mode == _COUNTED:
            self._count(len(chunk))
            return chunk
        if mode == _UNTIL_CLOSE:
            return chunk
        if mode == _NO_BODY:
            return b""
        raise self._out_of_order()

    def frame(self, size: int) -> tuple[bytes, bytes] | None:
        """As data(), for a piece of `size` bytes that is not to be copied: what to send before
        and after it. None when the response has no body, so that nothing is to be sent.
        """
        mode = self._mode
        if mode == _CHUNKED:
            return (b"%x\r\n" % size, b"\r\n") if size else (b"", b"")
        if mode == _COUNTED:
            self._count(size)
        elif mode == _NO_BODY:
            return None
        elif mode != _UNTIL_CLOSE:
            raise self._out_of_order()
        return b"", b""

    def account(self, count: int) -> bool:
        """Count `count` bytes that the engine sends by itself. False when the response has no
        body, so that nothing is to be sent. Needs a Content-Length.

        Raises ResponseError when it is more than Content-Length said, or not the time for it.
        """
        mode = self._mode
        if mode == _COUNTED:
            self._count(count)
            return True
        if mode == _NO_BODY:
            return False
        if mode in {_CHUNKED, _UNTIL_CLOSE}:
            raise ResponseError("raw bytes in a response without Content-Length")
        raise self._out_of_order()

    def _count(self, count: int) -> None:
        left = self._response_left - count
        if left < 0:
            self.keep_alive = False
            raise ResponseError(f"body is {-left} bytes longer than Content-Length")
        self._response_left = left

    def _out_of_order(self) -> ResponseError:
        if self._mode == _ENDED:
            return ResponseError("body after the end of the response")
        return ResponseError("body before the start of the response")

    def end(self, trailers: Sequence[tuple[str, str]] = ()) -> bytes:
        """The body is complete. `trailers` are sent where the framing has room for them.

        Raises ResponseError when Content-Length said more; the connection must then be closed.
        """
        mode = self._mode
        if mode in {_NOTHING_SENT, _ENDED}:
            raise self._out_of_order()
        text = response.trailer_fields(trailers) if trailers else ""
        self._mode = _ENDED
        if mode == _CHUNKED:
            return f"0\r\n{text}\r\n".encode("latin-1")
        if mode == _COUNTED and self._response_left:
            self.keep_alive = False
            raise ResponseError(f"body is {self._response_left} bytes shorter than Content-Length")
        return b""

    def interim(self, status: int, headers: Headers) -> bytes:
        """An interim response, 101 apart (RFC 9110 §15.2); b"" for HTTP/1.0 clients."""
        request = self._current()
        if self.head_sent:
            raise ResponseError("interim response after the final one")
        line = response.interim_line(status)
        fields = response.compose_fields(headers, self._tables.kinds)
        if not request.minor:
            return b""
        if status == 100:
            self._continued = True
        return f"{line}{fields.text}\r\n".encode("latin-1")

    def switch(self, protocol: str, headers: Headers, common: bytes) -> bytes:
        """101: from here on the connection speaks `protocol` (RFC 9110 §7.8). What the client
        has sent behind its request is then had from take_trailing()."""
        self._current()
        if self.head_sent:
            raise ResponseError("the response was already started")
        fields = response.compose_fields([("X", protocol), *headers], self._tables.kinds)
        text = fields.text.replace("X: ", "Connection: upgrade\r\nUpgrade: ", 1)
        self.head_sent = True
        self._mode = _ENDED
        self.keep_alive = False
        head = f"HTTP/1.1 101 Switching Protocols\r\n{text}".encode("latin-1")
        return b"%b%b\r\n" % (head, fields.common(common))

    def error(self, exc: ProtocolError, common: bytes) -> bytes:
        """The complete answer to a ProtocolError, after which the connection is closed; b"" when
        a response has already begun, so that there is no room for it."""
        self.keep_alive = False
        if self.head_sent:
            return b""
        self.head_sent = True
        self._mode = _ENDED
        line, body = response.error_body(exc.status, exc.message)
        line += "".join(f"{name}: {value}\r\n" for name, value in exc.headers)
        fields = (
            f"{line}Content-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n"
        )
        if self._request is not None and self._request.method == "HEAD":
            body = b""
        return b"%b%b\r\n%b" % (fields.encode("latin-1"), common, body)

    def next_cycle(self) -> bool:
        """The response has ended: whether another request may follow. If not, close."""
        if not self.keep_alive or self._mode != _ENDED or self._body_left:
            self.keep_alive = False
            return False
        if self._chunks is not None:
            if not self._chunks.complete:
                self.keep_alive = False
                return False
            self._chunks = None
        self._request = None
        self._known = None
        self._fields = None
        self._continued = False
        self._mode = _NOTHING_SENT
        self.head_sent = False
        self.declared_length = None
        self.prepared_head = ""
        return True

    def _current(self) -> Request:
        if self._request is None:
            raise RuntimeError("there is no request to respond to")
        return self._request
