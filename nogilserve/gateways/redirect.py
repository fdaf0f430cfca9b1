"""Plain HTTP beside TLS: clients are told the URL in HTTPS, and nothing else.

Also there: the answers to a certificate authority that wants to see a token (RFC 8555 §8.3).
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol
from urllib.parse import quote

from nogilserve.errors import ClientDisconnected, ResponseError
from nogilserve.gateways.failures import PLAIN
from nogilserve.messages import AsyncExchange, Exchange, Headers, Request, WebSocketExchange

__all__ = ["AsyncRedirectGateway", "Https", "RedirectGateway", "redirected"]

CHALLENGES: Final = "/.well-known/acme-challenge/"
_SAFE: Final = "%/:?#[]@!$&'()*+,;=-._~"
_NO_HOST: Final = b"The request names no host, so there is nowhere to lead to.\n"


class Https:
    """Where HTTPS is. Any thread: the port is written before the first connection."""

    def __init__(self, port: int) -> None:
        """`port`: 0 if it is not known yet."""
        self.port = port


Said = tuple[str, Headers, bytes]


def redirected(request: Request, port: int) -> Said:
    """The answer to a request (RFC 9110 §15.4.9): 308 keeps method and body, which HTTP/1.0 does
    not know."""
    authority = request.authority
    host = authority.rpartition("]")[0] + "]" if "]" in authority else authority.partition(":")[0]
    if not host:
        return "400 Bad Request", [PLAIN], _NO_HOST
    path = "/" if request.path == "*" else request.path
    query = f"?{request.query}" if request.query else ""
    where = f"https://{host}{'' if port in (0, 443) else f':{port}'}{path}{query}"
    status = "308 Permanent Redirect" if request.minor else "301 Moved Permanently"
    return status, [("Location", quote(where, safe=_SAFE))], b""


def _token(request: Request) -> str:
    """The path, if somebody asks for a token."""
    if request.method in ("GET", "HEAD") and request.path.startswith(CHALLENGES):
        return request.path
    return ""


def _send(exchange: Exchange | AsyncExchange, said: Said) -> None:
    status, headers, body = said
    exchange.prepare(status, headers)
    exchange.send_whole(body)


def _challenge(answer: bytes) -> Said:
    return "200 OK", [("Content-Type", "application/octet-stream")], answer


class RedirectGateway:
    """In front of a core's gateway. Immutable."""

    def __init__(
        self,
        https: Https,
        inner: Callable[[Exchange], None],
        answers: Callable[[str], bytes | None] | None = None,
    ) -> None:
        """`answers`: to who asks for a token, by path; may block for a moment."""
        self._https = https
        self._inner = inner
        self._answers = answers

    def run(self, exchange: Exchange) -> None:
        """Answer, or pass on what did not come over plain HTTP. Never raises."""
        if not exchange.redirects:
            self._inner(exchange)
            return
        request = exchange.request
        answer = None
        if self._answers is not None and (path := _token(request)):
            answer = self._answers(path)
        said = redirected(request, self._https.port) if answer is None else _challenge(answer)
        try:
            _send(exchange, said)
        except (ClientDisconnected, ResponseError):
            exchange.abort()


class AsyncGateway(Protocol):
    """What runs requests on an event loop."""

    def http(self, exchange: AsyncExchange) -> Coroutine[Any, Any, None]:
        """One request."""

    def websocket(self, exchange: WebSocketExchange) -> Coroutine[Any, Any, None]:
        """One WebSocket connection."""


class AsyncRedirectGateway:
    """In front of a loop's gateway. Immutable."""

    def __init__(
        self,
        https: Https,
        inner: AsyncGateway,
        answers: Callable[[str], bytes | None] | None = None,
    ) -> None:
        """As of RedirectGateway; `answers` is called by a thread of the loop's executor."""
        self._https = https
        self._inner = inner
        self._answers = answers

    def http(self, exchange: AsyncExchange) -> Coroutine[Any, Any, None]:
        """Answer, or pass on what did not come over plain HTTP."""
        return self._redirect(exchange) if exchange.redirects else self._inner.http(exchange)

    def websocket(self, exchange: WebSocketExchange) -> Coroutine[Any, Any, None]:
        """As `http`: a handshake is a request, after all."""
        if exchange.http.redirects:
            return self._redirect(exchange.http)
        return self._inner.websocket(exchange)

    async def _redirect(self, exchange: AsyncExchange) -> None:
        request = exchange.request
        answer = None
        if self._answers is not None and (path := _token(request)):
            import asyncio  # not where threads serve: it takes time and memory

            answer = await asyncio.to_thread(self._answers, path)
        said = redirected(request, self._https.port) if answer is None else _challenge(answer)
        try:
            _send(exchange, said)
        except (ClientDisconnected, ResponseError):
            exchange.abort()
