"""An exchange without a socket, for tests of gateways."""

import io
from collections.abc import Callable
from typing import Any, BinaryIO

from nogilserve.errors import ClientDisconnected, ResponseError
from nogilserve.gateways.wsgi import WsgiApplication, WsgiGateway
from nogilserve.messages import Headers, Request

__all__ = ["Recorder", "ask", "run"]


def ask(
    method: str = "GET",
    path: str = "/",
    query: str = "",
    headers: Headers | None = None,
    body: int = 0,
    minor: int = 1,
) -> Request:
    """A request as a protocol makes it."""
    target = f"{path}?{query}" if query else path
    fields = [("host", "localhost"), *(headers or [])]
    return Request(method, target, path, query, minor, fields, "localhost", body, True, False, "")


class Recorder:
    """Fills `messages.Exchange` and keeps what a gateway did, in order. Owner: the test.

    Like the engine it holds the head back until the first piece of the body, so that
    `head_sent` is True only once bytes are out.
    """

    def __init__(
        self,
        request: Request | None = None,
        body: bytes = b"",
        *,
        client: tuple[str, str] | None = ("192.0.2.7", "50123"),
        gone_after: int | None = None,
    ) -> None:
        self.request = request or ask()
        self.scheme = "http"
        self.tls = None
        self.redirects = False
        self.client = client
        self.server = ("127.0.0.1", "8000")
        self.received = len(body)
        self.body = body
        self.gone_after = gone_after
        """After this many pieces the client is gone."""
        self.on_data: Callable[[bytes], None] | None = None
        """Called with every piece that is passed on."""
        self.head_sent = False
        self.status = ""
        self.headers: Headers = []
        self.length: int | None = None
        self.whole: bytes | None = None
        """The body that came with `send_whole`."""
        self.pieces: list[bytes] = []
        self.files: list[tuple[int, int]] = []
        self.hints: list[Headers] = []
        self.ended = False
        self.aborted = False
        self.request_id = "id-of-the-request"
        self._started = False

    @property
    def sent(self) -> bytes:
        """The whole body that was sent."""
        return self.whole if self.whole is not None else b"".join(self.pieces)

    def header(self, name: str) -> str:
        """The value of a field of the response, "" where it is missing."""
        return dict(self.headers).get(name, "")

    def open_body(self) -> BinaryIO:
        return io.BytesIO(self.body)

    def send_early_hints(self, headers: Headers) -> None:
        self.hints.append(headers)

    def prepare(self, status: str, headers: Headers) -> None:
        if self.head_sent:
            raise ResponseError("the response was already started")
        if not isinstance(status, str):
            raise ResponseError(f"illegal status {status!r}")
        self.status, self.headers = status, list(headers)

    @property
    def declared_length(self) -> int | None:
        value = self.header("Content-Length")
        return int(value) if value else None

    def send_whole(self, body: bytes) -> None:
        if self.gone_after == 0:
            raise ClientDisconnected("gone")
        self.whole = body
        self.head_sent = self.ended = True

    def send_head(self, length: int | None) -> None:
        assert not self._started, "the head was sent twice"
        if not self.status:
            raise ResponseError("the response has no status yet")
        self._started = True
        self.length = length

    def send_data(self, data: bytes) -> None:
        assert self._started, "body before the head"
        if self.gone_after is not None and len(self.pieces) >= self.gone_after:
            raise ClientDisconnected("gone")
        self.head_sent = True
        self.pieces.append(data)
        if self.on_data is not None:
            self.on_data(data)

    def send_file(self, file: BinaryIO, offset: int, count: int) -> None:
        assert self._started, "body before the head"
        self.head_sent = True
        self.files.append((offset, count))

    def send_end(self) -> None:
        assert self._started, "the end before the head"
        self.head_sent = self.ended = True

    def abort(self) -> None:
        self.aborted = True


def run(
    app: WsgiApplication,
    request: Request | None = None,
    body: bytes = b"",
    *,
    debug: bool = False,
    **options: Any,
) -> Recorder:
    """Run `app` for one request through a gateway of its own."""
    exchange = Recorder(request, body, **options)
    WsgiGateway(app, "tests:app", debug=debug).run(exchange)
    return exchange
