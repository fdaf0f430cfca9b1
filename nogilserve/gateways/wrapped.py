"""Exchanges that pass everything on to another one: what changes a little of it inherits the rest.

Each belongs to whoever runs the request, like the exchange inside.
"""

from collections.abc import Awaitable
from typing import Any, BinaryIO

from nogilserve.messages import AsyncExchange, Exchange, Headers, Request, TlsFacts

__all__ = ["AsyncWrapped", "Both", "Wrapped"]


class Both:
    """What both exchanges have alike. Owner: whoever runs the request."""

    __slots__ = ("_inner", "_sink")

    def __init__(self, exchange: Exchange | AsyncExchange) -> None:
        self._sink = exchange
        self._inner: Any = exchange
        """The same, as the exchange of one engine."""

    @property
    def request(self) -> Request:
        return self._sink.request

    @request.setter
    def request(self, request: Request) -> None:
        self._sink.request = request

    @property
    def scheme(self) -> str:
        return self._sink.scheme

    @scheme.setter
    def scheme(self, scheme: str) -> None:
        self._sink.scheme = scheme

    @property
    def tls(self) -> TlsFacts | None:
        return self._sink.tls

    @property
    def redirects(self) -> bool:
        return self._sink.redirects

    @property
    def head_sent(self) -> bool:
        return self._sink.head_sent

    @property
    def request_id(self) -> str:
        return self._sink.request_id

    def prepare(self, status: str, headers: Headers) -> None:
        self._sink.prepare(status, headers)

    def send_early_hints(self, headers: Headers) -> None:
        self._sink.send_early_hints(headers)

    def send_whole(self, body: bytes) -> None:
        self._sink.send_whole(body)

    def send_head(self, length: int | None) -> None:
        self._sink.send_head(length)

    def send_data(self, data: bytes) -> None:
        self._sink.send_data(data)

    def abort(self) -> None:
        self._sink.abort()


class Wrapped(Both):
    """Implements `messages.Exchange`. Owner: the thread that runs the request."""

    __slots__ = ()
    _inner: Exchange

    @property
    def client(self) -> tuple[str, str] | None:
        return self._inner.client

    @client.setter
    def client(self, client: tuple[str, str] | None) -> None:
        self._inner.client = client

    @property
    def server(self) -> tuple[str, str]:
        return self._inner.server

    @server.setter
    def server(self, server: tuple[str, str]) -> None:
        self._inner.server = server

    @property
    def received(self) -> int:
        return self._inner.received

    @received.setter
    def received(self, received: int) -> None:
        self._inner.received = received

    @property
    def declared_length(self) -> int | None:
        return self._inner.declared_length

    def open_body(self) -> BinaryIO:
        return self._inner.open_body()

    def send_file(self, file: BinaryIO, offset: int, count: int) -> None:
        self._inner.send_file(file, offset, count)

    def send_end(self) -> None:
        self._inner.send_end()


class AsyncWrapped(Both):
    """Implements `messages.AsyncExchange`. Owner: the event loop of the connection."""

    __slots__ = ()
    _inner: AsyncExchange

    heads = known_head = None  # who prepares a head wants to see all of it

    def prepare_known(self, head: object) -> None:
        """Never called: no heads are kept."""
        raise NotImplementedError

    @property
    def peer(self) -> tuple[str, int] | None:
        return self._inner.peer

    @peer.setter
    def peer(self, peer: tuple[str, int] | None) -> None:
        self._inner.peer = peer

    @property
    def local(self) -> tuple[str, int | None]:
        return self._inner.local

    @local.setter
    def local(self, local: tuple[str, int | None]) -> None:
        self._inner.local = local

    @property
    def gone(self) -> bool:
        return self._inner.gone

    @gone.setter
    def gone(self, gone: bool) -> None:
        self._inner.gone = gone

    @property
    def body_complete(self) -> bool:
        return self._inner.body_complete

    @property
    def crowded(self) -> bool:
        return self._inner.crowded

    @property
    def known_id(self) -> str:
        return self._inner.known_id

    def read_body(self) -> bytes | None:
        return self._inner.read_body()

    def news(self) -> Awaitable[None]:
        return self._inner.news()

    def drain(self) -> Awaitable[None]:
        return self._inner.drain()

    def end_after(self) -> None:
        self._inner.end_after()

    def send_file(self, file: BinaryIO, offset: int, count: int) -> Awaitable[None]:
        return self._inner.send_file(file, offset, count)

    def send_end(self, trailers: Headers = []) -> None:  # noqa: B006
        self._inner.send_end(trailers)
