"""The receiving half of an HTTP/1.x connection: bytes in, requests and their bodies out."""

from dataclasses import replace
from typing import Final

from nogilserve.errors import ProtocolError, TruncatedBody
from nogilserve.messages import Headers, Limits, Request
from nogilserve.protocols.http1 import fast, full
from nogilserve.protocols.http1.chunked import ChunkedDecoder
from nogilserve.protocols.http1.reader import HeadReader
from nogilserve.protocols.http1.tables import Tables
from nogilserve.protocols.http1.upgrade import departure, leads_to_http2

__all__ = ["Receiver"]

_MOST_EMPTY_LINES: Final = 2
"""Empty lines tolerated before a request line; RFC 9112 §2.2 asks for at least one."""


_HOPE: Final = 8
"""Header sections that may differ from the one before, though as long, until a connection's are
compared no longer: clients that number or date their requests pay for it otherwise."""

_HTTP2: Final = b"PRI * HTTP/2.0\r\n"
_LOGGED_LINE: Final = 2048
"""Bytes kept of a request line that was refused."""


class Receiver:
    """What the client of one connection sends. Owner: as of `Http1Connection`."""

    __slots__ = (
        "_body_left",
        "_chunks",
        "_empty_lines",
        "_failed",
        "_hope",
        "_host",
        "_last_section",
        "_last_section_size",
        "_last_size",
        "_limits",
        "_longest_fast",
        "_most_body",
        "_most_fields",
        "_reader",
        "_request",
        "_start",
        "_tables",
        "buffer",
        "eof",
        "keep_alive",
        "preface",
        "refused_line",
        "upgraded",
    )

    def __init__(self, limits: Limits, tables: Tables | None = None) -> None:
        """`tables`: those of the core, whose connections all have the same limits; without them
        the connection makes its own."""
        self._limits = limits
        self._tables = Tables() if tables is None else tables
        # Limits are shared by all cores: what every request asks for is copied.
        self._longest_fast = min(limits.request_line, limits.field_size, limits.head - 4)
        self._most_fields = limits.fields
        self._most_body = limits.body
        self.buffer: bytes | bytearray = b""
        """What has come; empty when all of it was used up. Not for others to change."""
        self._start = 0
        """Offset in the buffer of what was not used up yet; less than its size, or both 0."""
        self._reader: HeadReader | None = None
        self._empty_lines = 0
        self._host = ""
        """The last Host that was found valid: a client keeps sending the same one."""
        self._last_size = 0
        """Bytes of the last head that came alone: one of the same size may be the same one."""
        self._last_section_size = 0
        """The same of the section behind the request line; …"""
        self._last_section = 0
        """… the hash of that, …"""
        self._hope = _HOPE
        """… and how often it may still come to nothing to compare them."""
        self._failed: tuple[int, str, str] | None = None
        """The ProtocolError after which nothing is read any more. Not the exception itself: that
        would be a cycle with its traceback."""
        self._request: Request | None = None
        self._body_left = 0
        """Bytes of a counted request body still to be taken."""
        self._chunks: ChunkedDecoder | None = None
        self.refused_line = ""
        """The request line of a refused head, as far as it can be told; for the log."""
        self.preface = b""
        """What the client has sent, when it is not HTTP/1 but begins as HTTP/2 does (RFC 9113
        §3.4): set together with the ProtocolError that this is to HTTP/1."""
        self.upgraded: Request | None = None
        """A request that asks to go on with HTTP/2, where it may; set in the same way."""
        self.eof = False
        """The peer has closed its sending side."""
        self.keep_alive = True
        """Whether another request may follow. The engine may set it to False at any time; before
        the response head, the client is told so."""

    def receive_data(self, data: bytes) -> None:
        """Take bytes of the peer; b"" means that it has closed its sending side."""
        if not self.buffer:
            if data:
                if self._failed is None:
                    self.buffer = data
            else:
                self.eof = True
            return
        if not data:
            self.eof = True
            return
        buffer = self.buffer
        if isinstance(buffer, bytearray):
            del buffer[: self._start]
        else:
            # Pieces are collected in a bytearray, which grows and shrinks without copying.
            self.buffer = buffer = bytearray(memoryview(buffer)[self._start :])
        self._start = 0
        buffer += data

    def receive_request(self, data: bytes) -> Request | None:
        """As receive_data(), then next_request(); quicker where `data` is a head that is kept."""
        if (
            len(data) == self._last_size
            and not self.buffer
            and self._request is None
            and self._failed is None
        ):
            request = self._tables.recent.get(data)
            if request is not None:
                self._empty_lines = 0
                if not request.keep_alive:
                    self.keep_alive = False
                self._request = request
                return request
        self.receive_data(data)
        return self.next_request()

    def next_request(self) -> Request | None:
        """The next request, or None when more bytes are needed (with `eof`: none will come).

        Raises ProtocolError when the head breaks a rule or a limit, or ends too early, and
        then again on every call.
        """
        if self._failed is not None or self._request is not None:
            raise self._not_now()
        buffer = self.buffer
        if not buffer:
            return None
        request = None
        if len(buffer) == self._last_size and isinstance(buffer, bytes):
            request = self._tables.recent.get(buffer)
        if request is not None:
            self.buffer = b""
            self._start = 0
            self._empty_lines = 0
        else:
            request = self._parse(buffer)
            if request is None:
                return None
        if not request.keep_alive:
            self.keep_alive = False
        self._request = request
        return request

    def _parse(self, buffer: bytes | bytearray) -> Request | None:
        """Take a head from the buffer: by the fast path, else by the full one."""
        start = self._start
        end = -1
        request = None
        if self._reader is None:
            end = buffer.find(b"\r\n\r\n", start)
            if start <= end <= start + self._longest_fast:
                request = self._parse_fast(buffer, start, end)
        if request is None:
            try:
                request = self._read_head()
            except ProtocolError as error:
                raise self._fail(error) from None
            if request is None:
                return None
        else:
            size = len(buffer)
            if end + 4 == size and not start and isinstance(buffer, bytes):
                if size == self._last_size and not request.body:
                    self._tables.remember(buffer, request)
                self._last_size = size
            self._use_up(end + 4)
            self._host = request.authority
            self._empty_lines = 0
        if request.body:
            self._expect_body(request)
        return request

    def _parse_fast(self, buffer: bytes | bytearray, start: int, end: int) -> Request | None:
        """The head from `start` to `end`, where its empty line is. None: it is not of the ordinary
        kind."""
        tables = self._tables
        known = None
        data = b""
        until = end
        if self._hope:
            behind = buffer.find(b"\r\n", start)
            size = end - behind
            if size == self._last_section_size and isinstance(buffer, bytes):
                data = buffer[behind:end]
                known = tables.sections.get(data)
                if known is not None:
                    self._hope = _HOPE
                    until = behind
            self._last_section_size = size
        head = buffer[start:until]
        request = fast.parse(head, tables.request_names, self._host, self._most_fields, known)
        if data and known is None:
            number = hash(data)
            if number != self._last_section:
                self._last_section = number
                self._hope -= 1
            elif request is not None and request.minor:
                tables.remember_section(data, request)
        return request

    def _not_now(self) -> Exception:
        if self._failed is not None:
            return ProtocolError(*self._failed)
        return RuntimeError("the current request is not finished: call next_cycle()")

    def _read_head(self) -> Request | None:
        """The full path: a head that is incomplete or not of the ordinary kind."""
        reader = self._reader
        if reader is None:
            if not self._skip_empty_lines():
                return None
            self._reader = reader = HeadReader(self._limits)
        start = self._start
        size = reader.advance(self.buffer, start)
        if size < 0:
            if self.eof:
                raise ProtocolError(400, "incomplete request head", "RFC 9112 §8")
            return None
        head = bytes(memoryview(self.buffer)[start : start + size])
        request = None
        if size - 4 <= self._longest_fast:
            # Perhaps it was only cut: the fast path is quicker.
            names = self._tables.request_names
            request = fast.parse(head[:-4], names, self._host, self._most_fields)
        if request is None:
            request = full.build(reader, head)
            if request.upgrade and self._limits.h2c and leads_to_http2(request):
                self.upgraded = request
                self.preface = bytes(memoryview(self.buffer)[start + size :])
                raise departure()
        self._reader = None
        self._empty_lines = 0
        self._use_up(start + size)
        return request

    def _skip_empty_lines(self) -> bool:
        """Pass over empty lines before the request line (RFC 9112 §2.2), but not for ever.
        Whether a request line has begun."""
        start = self._start
        while (rest := bytes(self.buffer[start : start + 2])) == b"\r\n":
            if self._empty_lines == _MOST_EMPTY_LINES:
                raise ProtocolError(400, "empty lines instead of a request", "RFC 9112 §2.2")
            self._empty_lines += 1
            start += 2
        self._use_up(start)
        # A lone CR may still become an empty line.
        return bool(rest) and (rest != b"\r" or self.eof)

    def _expect_body(self, request: Request) -> None:
        limits = self._limits
        most = self._most_body
        if limits.body_of is not None:
            most = limits.body_of(request.authority, request.path)
            limits = replace(limits, body=most)
        if request.body > most > 0:
            self.refused_line = f"{request.method} {request.target} HTTP/1.{request.minor}"
            raise self._fail(ProtocolError(413, "request body too large", "RFC 9110 §15.5.14"))
        if request.body > 0:
            self._body_left = request.body
        else:
            self._chunks = ChunkedDecoder(limits)

    def _use_up(self, until: int) -> None:
        if until == len(self.buffer):
            self.buffer = b""
            self._start = 0
        else:
            self._start = until

    def _fail(self, error: ProtocolError) -> ProtocolError:
        """Let nothing behind the mistake be run (RFC 9112 §2.2, CVE-2024-49768)."""
        self._failed = (error.status, error.message, error.section)
        if self._request is None and not self.refused_line:
            start = self._start
            line = bytes(memoryview(self.buffer)[start : start + _LOGGED_LINE])
            self.refused_line = line.partition(b"\r\n")[0].decode("latin-1")
            if line.startswith(_HTTP2) and self.upgraded is None:
                self.preface = bytes(memoryview(self.buffer)[start:])
        self.keep_alive = False
        self.buffer = b""
        self._start = 0
        self._reader = None
        return error

    def read_body(self) -> bytes | None:
        """A piece of the request body, decoded; b"" when it is complete, None when more bytes
        are needed.

        Raises ProtocolError for bad chunks and 413, and TruncatedBody when the peer has
        closed its sending side before the end.
        """
        if self._failed is not None:
            raise ProtocolError(*self._failed)
        left = self._body_left
        if left:
            start = self._start
            # No copy is made of bytes that are taken whole.
            piece = bytes(self.buffer[start : start + left])
            if piece:
                self._body_left = left - len(piece)
                self._use_up(start + len(piece))
                return piece
        elif self._chunks is None:
            return b""
        else:
            try:
                piece, used = self._chunks.decode(self.buffer, self._start)
            except ProtocolError as error:
                raise self._fail(error) from None
            self._use_up(used)
            if piece or self._chunks.complete:
                return piece
        if self.eof:
            self.keep_alive = False
            raise TruncatedBody("the client closed before the request body was complete")
        return None

    @property
    def body_complete(self) -> bool:
        """Whether all of the request body was taken by read_body()."""
        return not self._body_left and (self._chunks is None or self._chunks.complete)

    @property
    def body_left(self) -> int:
        """Bytes of a counted body that read_body() has not given out; 0 for a chunked one."""
        return self._body_left

    @property
    def trailers(self) -> Headers:
        """The trailer fields of the current request, once its body is complete."""
        return [] if self._chunks is None else self._chunks.trailers

    def take_trailing(self) -> bytes:
        """The bytes behind the request, for the protocol that was upgraded to. The connection
        is not used for HTTP afterwards."""
        trailing = bytes(memoryview(self.buffer)[self._start :])
        self.buffer = b""
        self._start = 0
        self.keep_alive = False
        return trailing

    def leaves(self, *, first: bool) -> bool:
        """Whether the peer speaks HTTP/2 from here on; what it has said of it is `preface`.
        `first`: nothing was asked before, else only an Upgrade may lead there."""
        return self.upgraded is not None or (first and bool(self.preface))

    @property
    def buffered(self) -> int:
        """Bytes received that were not used up yet."""
        return len(self.buffer) - self._start

    @property
    def head_started(self) -> bool:
        """Whether some bytes of an incomplete request head are waiting."""
        return self._request is None and bool(self.buffer)

    def _body_begun(self, request: Request) -> bool:
        """Whether any part of the request body has arrived."""
        if self._chunks is not None and self._chunks.begun:
            return True
        return bool(self.buffer) or -1 < self._body_left < request.body
