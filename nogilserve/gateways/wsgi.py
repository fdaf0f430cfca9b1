"""WSGI (PEP 3333): runs an application for one exchange at a time.

A gateway belongs to one core; its thread-local looking parts (the environ template, the error
stream) are its own, so that the ordinary request touches nothing that two threads share.
"""

import io
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, BinaryIO, Final
from urllib.parse import unquote_to_bytes

from nogilserve import __version__
from nogilserve.errors import ClientDisconnected, ProtocolError, ResponseError, TruncatedBody
from nogilserve.gateways.failures import PLAIN, STATUS, failure_text, log_failure
from nogilserve.gateways.prefix import below, wire_text
from nogilserve.messages import CHUNKED, Exchange, Headers, Request

__all__ = ["FileWrapper", "PrefixedWsgiGateway", "WsgiApplication", "WsgiGateway"]

_log = logging.getLogger("nogilserve.error")

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_UNUSUAL: Final = {
    # RFC 3875 §4.1.3 and §4.1.2: these two go without HTTP_.
    "content-type": "CONTENT_TYPE",
    "content-length": "CONTENT_LENGTH",
}

_KEYS: Final = {
    "host": "HTTP_HOST",
    "user-agent": "HTTP_USER_AGENT",
    "accept": "HTTP_ACCEPT",
    "accept-encoding": "HTTP_ACCEPT_ENCODING",
    "accept-language": "HTTP_ACCEPT_LANGUAGE",
    "authorization": "HTTP_AUTHORIZATION",
    "cache-control": "HTTP_CACHE_CONTROL",
    "connection": "HTTP_CONNECTION",
    "cookie": "HTTP_COOKIE",
    "if-modified-since": "HTTP_IF_MODIFIED_SINCE",
    "if-none-match": "HTTP_IF_NONE_MATCH",
    "origin": "HTTP_ORIGIN",
    "pragma": "HTTP_PRAGMA",
    "referer": "HTTP_REFERER",
    "x-forwarded-for": "HTTP_X_FORWARDED_FOR",
    "x-forwarded-host": "HTTP_X_FORWARDED_HOST",
    "x-forwarded-proto": "HTTP_X_FORWARDED_PROTO",
    "x-requested-with": "HTTP_X_REQUESTED_WITH",
    "x-request-id": "HTTP_X_REQUEST_ID",
    **_UNUSUAL,
}
"""Field names that clients send all day, so that their keys need not be made each time."""

_PER_REQUEST: Final = (
    "REQUEST_METHOD",
    "PATH_INFO",
    "QUERY_STRING",
    "RAW_URI",
    "REQUEST_URI",
    "SERVER_PROTOCOL",
    "SERVER_NAME",
    "SERVER_PORT",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "wsgi.url_scheme",
    "wsgi.input",
    "wsgi.early_hints",
)

_DROPPED: Final = frozenset({"proxy", "transfer-encoding"})
"""`Proxy` would become HTTP_PROXY, which programs take for configuration (CVE-2016-5385). The
body is decoded already, so Transfer-Encoding does not concern the application (PEP 3333)."""


class FileWrapper:
    """`wsgi.file_wrapper`: the body is a file, sent by the system where it is a real one."""

    def __init__(self, filelike: BinaryIO, blksize: int = 65536) -> None:
        self.filelike = filelike
        self.blksize = blksize

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.filelike.read(self.blksize), b"")

    def close(self) -> None:
        """Close the file, if it can be."""
        close = getattr(self.filelike, "close", None)
        if close is not None:
            close()


class ErrorStream(io.TextIOBase):
    """`wsgi.errors`: standard error, whatever that is when it is written to. Any thread."""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()

    def close(self) -> None:
        """PEP 3333 lets nobody close it."""


class _Response:
    """What `start_response` was told. Owner: the thread that runs the request."""

    __slots__ = ("begun", "exchange", "started")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.started = False
        """start_response was called."""
        self.begun = False
        """The head is on its way: it leaves with the first bytes of the body."""

    def start(
        self, status: str, headers: Headers, exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """`start_response` (PEP 3333): checked and remembered here, so that the traceback of a
        mistake leads to the application's line; sent with the first piece of the body.
        """
        if exc_info is not None:
            try:
                if self.exchange.head_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # no cycle through this frame
        elif self.started:
            raise ResponseError("start_response was called a second time without exc_info")
        self.exchange.prepare(status, headers)
        self.started = True
        return self

    def __call__(self, data: bytes) -> None:
        """The imperative `write` callable of PEP 3333: hardly anybody calls it, so that not even
        a bound method is made for it.
        """
        self.pass_on(data, alone=False)

    def pass_on(self, data: object, *, alone: bool) -> None:
        """A piece of the body, with the head before the first one that is not empty.

        `alone`: it is the whole body.
        """
        if type(data) is not bytes:
            raise _not_bytes(data)
        if not data:
            return
        if not self.begun:
            self.send_head(len(data) if alone else None)
        self.exchange.send_data(data)

    def send_head(self, length: int | None) -> None:
        """Send what start_response was told."""
        if not self.started:
            raise ResponseError("the application has not called start_response")
        self.exchange.send_head(length)
        self.begun = True


class WsgiGateway:
    """Owner: its core; the calls of one gateway may overlap in several threads, each with an
    exchange of its own. Nothing here is changed after `__init__`.
    """

    def __init__(
        self, app: WsgiApplication, name: str, *, debug: bool = False, multiprocess: bool = False
    ) -> None:
        """`multiprocess`: there are further copies of the application (PEP 3333)."""
        self._app = app
        self._name = name
        self._debug = debug
        # With every key that each request sets: a copy then has room for its fields, too, and
        # need not grow.
        self._template: dict[str, Any] = dict.fromkeys(_PER_REQUEST, "") | {
            "SERVER_SOFTWARE": f"nogilserve/{__version__}",
            "SCRIPT_NAME": "",
            "wsgi.version": (1, 0),
            "wsgi.errors": ErrorStream(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": multiprocess,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": FileWrapper,
        }

    def run(self, exchange: Exchange) -> None:
        """Run the application for `exchange`. Never raises."""
        response = _Response(exchange)
        try:
            result = self._app(self._environ(exchange), response.start)
            if type(result) is list and response.started and not response.begun:
                # Complete as it is, and a list has no close().
                body = result[0] if len(result) == 1 else _joined(result)
                if type(body) is not bytes:
                    raise _not_bytes(body)
                exchange.send_whole(body)
            else:
                self._stream(response, result)
        except ClientDisconnected:
            exchange.abort()
        except BaseException as exc:
            self._failed(response, exc)

    def _environ(self, exchange: Exchange) -> dict[str, Any]:
        request = exchange.request
        made = request.made_of_it
        if made is not None:
            environ = made.copy()
        else:
            environ = self._from_head(request)
            if request.kept:
                request.made_of_it = environ.copy()
        environ["SERVER_NAME"], environ["SERVER_PORT"] = exchange.server
        client = exchange.client
        if client is not None:
            environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = client
        else:
            del environ["REMOTE_PORT"]
        environ["wsgi.url_scheme"] = exchange.scheme
        environ["wsgi.input"] = exchange.open_body()
        environ["wsgi.early_hints"] = exchange.send_early_hints
        if request.body == CHUNKED and exchange.received:
            # The body is here, so its length is known: frameworks read nothing without one.
            environ["CONTENT_LENGTH"] = str(exchange.received)
        return environ

    def _from_head(self, request: Request) -> dict[str, Any]:
        """The environ of a request as far as its head alone makes it."""
        section = request.section
        if section is None:
            environ = self._of_fields(request)
        else:
            made = section.made_of_it
            if made is None or made[0] is not self:
                section.made_of_it = made = (self, self._of_fields(request))
            environ = made[1].copy()
        path = request.path
        if "%" in path:
            path = unquote_to_bytes(path).decode("latin-1")
        environ["REQUEST_METHOD"] = request.method
        environ["PATH_INFO"] = path
        environ["QUERY_STRING"] = request.query
        environ["RAW_URI"] = environ["REQUEST_URI"] = request.target
        environ["SERVER_PROTOCOL"] = ("HTTP/1.0", "HTTP/1.1", "HTTP/2")[request.minor]
        return environ

    def _of_fields(self, request: Request) -> dict[str, Any]:
        """The environ as far as the field lines make it."""
        environ = self._template.copy()
        keys = _KEYS
        for name, value in request.headers:
            key = keys.get(name)
            if key is None:
                # X_Foo and X-Foo would be the same key: one could pass for the other.
                if "_" in name or name in _DROPPED:
                    continue
                key = "HTTP_" + name.upper().replace("-", "_")
            if key in environ:
                value = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + value
            environ[key] = value
        return environ

    def _stream(self, response: _Response, result: Iterable[bytes]) -> None:
        """Pass on an iterable piece by piece, as it is produced; close() whatever happens."""
        try:
            if type(result) is FileWrapper and self._send_file(response, result):
                return
            alone = hasattr(type(result), "__len__") and _is_single(result)
            try:
                try:
                    pieces = iter(self._pieces(response, result))
                except TypeError:
                    raise ResponseError(
                        f"the application returned {_named(result)}; it must return an iterable of "
                        "bytes"
                    ) from None
                exchange = response.exchange
                whole = False
                for piece in pieces:
                    if whole:
                        if piece:
                            raise ResponseError("the body is longer than Content-Length")
                    elif (
                        not response.begun
                        and piece
                        and type(piece) is bytes
                        and len(piece) == exchange.declared_length
                    ):
                        # As frameworks answer: an iterator over the one piece there is.
                        exchange.send_whole(piece)
                        whole = response.begun = True
                    else:
                        response.pass_on(piece, alone=alone)
                if whole:
                    return
                if not response.begun:
                    response.send_head(0)
                exchange.send_end()
            except ResponseError as exc:
                exc.add_note(f"while sending what the application returned: {_describe(result)}")
                raise
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    @staticmethod
    def _pieces(response: _Response, result: Iterable[bytes]) -> Iterable[bytes]:
        """The pieces of a body; of a file no more than Content-Length (PEP 3333)."""
        left = response.exchange.declared_length if type(result) is FileWrapper else None
        if left is None:
            return result
        return _first(left, result)

    def _send_file(self, response: _Response, wrapper: FileWrapper) -> bool:
        """Have the system send a real file from its position to its end. False: it is none."""
        if response.begun:
            return False
        file = _real_file(wrapper.filelike)
        if file is None:
            return False
        try:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return False
            offset = file.tell()
        except (OSError, ValueError):
            return False
        count = max(status.st_size - offset, 0)
        declared = response.exchange.declared_length
        if declared is not None:
            count = min(count, declared)  # "must not transmit more" (PEP 3333)
        response.send_head(count if declared is None else None)
        response.exchange.send_file(file, offset, count)
        response.exchange.send_end()
        return True

    def _failed(self, response: _Response, exc: BaseException) -> None:
        """The application, or what it answered, is at fault: log it, answer if still possible."""
        exchange = response.exchange
        request = exchange.request
        where = f"[{exchange.request_id}] {request.method} {request.target}"
        try:
            if isinstance(exc, TruncatedBody):
                _log.info("%s: %s", where, exc)
                cause = exc.__cause__
                status = cause.status if isinstance(cause, ProtocolError) else 400
                answer = STATUS.get(status, STATUS[400])
                body = f"{exc}\n".encode("utf-8", "replace")
            else:
                trace = log_failure(where, self._name, exc)
                answer = STATUS[500]
                body = failure_text(exchange.request_id, trace if self._debug else "")
            if exchange.head_sent:
                exchange.abort()
            else:
                exchange.prepare(answer, [PLAIN])
                exchange.send_whole(body)
        except ClientDisconnected:
            exchange.abort()
        finally:
            # Frames, exception and exchange refer to each other: without this every failure
            # leaves a cycle for the garbage collector, which stops all threads.
            exc.__traceback__ = None


class PrefixedWsgiGateway(WsgiGateway):
    """A gateway below a path prefix: SCRIPT_NAME, and PATH_INFO without it (PEP 3333).

    A class of its own, so that the others pay nothing for it.
    """

    def __init__(
        self,
        app: WsgiApplication,
        name: str,
        root_path: str,
        *,
        debug: bool = False,
        multiprocess: bool = False,
    ) -> None:
        super().__init__(app, name, debug=debug, multiprocess=multiprocess)
        self._prefix = self._template["SCRIPT_NAME"] = wire_text(root_path)

    def _environ(self, exchange: Exchange) -> dict[str, Any]:
        environ = super()._environ(exchange)
        environ["PATH_INFO"] = below(self._prefix, environ["PATH_INFO"])
        return environ


def _real_file(filelike: Any) -> BinaryIO | None:
    """The file behind `filelike` if reading it gives what its descriptor holds, else None.

    Having a fileno() proves nothing: that of a gzip file is the compressed file's.
    """
    file: Any = getattr(filelike, "file", filelike)  # tempfile's wrapper
    raw = file.raw if type(file) in {io.BufferedReader, io.BufferedRandom} else file
    return file if type(raw) is io.FileIO else None


def _first(left: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The first `left` bytes of `pieces`."""
    for piece in pieces:
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            return


def _is_single(result: Any) -> bool:
    """Whether that is a single piece: only then is the whole length known (PEP 3333)."""
    try:
        return len(result) == 1
    except (TypeError, AttributeError, NotImplementedError):
        return False


def _not_bytes(piece: object) -> ResponseError:
    return ResponseError(f"the body must be made of bytes, not {type(piece).__name__}")


def _joined(pieces: list[Any]) -> bytes:
    for piece in pieces:
        if type(piece) is not bytes:
            raise _not_bytes(piece)
    return b"".join(pieces)


def _named(result: object) -> str:
    return "None" if result is None else f"a {type(result).__qualname__}"


def _describe(result: object) -> str:
    """What an application returned, with its line where it is a generator."""
    code = getattr(result, "gi_code", None)
    if code is None:
        return _named(result)
    frame = getattr(result, "gi_frame", None)
    line = frame.f_lineno if frame is not None else code.co_firstlineno
    return f"generator {code.co_qualname}, {code.co_filename}:{line}"
