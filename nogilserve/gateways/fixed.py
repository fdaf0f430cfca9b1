"""Answers that need no application: redirects, fixed responses, and that there is nothing.

Both gateways do the same for their engine; what they say is decided by a pure function of the
request.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from nogilserve.errors import ClientDisconnected
from nogilserve.gateways.failures import PLAIN
from nogilserve.gateways.prefix import raw_rest
from nogilserve.messages import AsyncExchange, Exchange, Headers, Request, WebSocketExchange

__all__ = ["AsyncFixedGateway", "FixedGateway", "Said", "fixed", "redirect", "status_line"]

_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
_SAFE: Final = "%/:?#[]@!$&'()*+,;=-._~"
_NO_BODY: Final = frozenset({204, 205, 304})


@dataclass(frozen=True, slots=True)
class Said:
    """A response. Immutable."""

    status: str
    headers: Headers
    body: bytes


type Answer = Callable[[Request, str], Said]
"""What to say to a request that came by a scheme."""


def status_line(status: int) -> str:
    """ "404 Not Found"; a status without a name has an empty reason (RFC 9112 §4)."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} "


def fixed(status: int, text: str, fields: Headers = []) -> Answer:  # noqa: B006
    """Always the same."""
    body = b"" if status in _NO_BODY else text.encode()
    kind = [PLAIN] if body else []
    said = Said(status_line(status), [*kind, *fields], body)
    return lambda _request, _scheme: said


def redirect(target: str, status: int, below: str) -> Answer:
    """Send clients to `target`, with its placeholders filled in (RFC 9110 §15.4).

    `below`: the path that {rest} leaves away, decoded.
    """
    line = status_line(status)
    prefix = len(below.rstrip("/").encode())
    # With nothing but the client's own path in front, //elsewhere would be another host.
    bare = target.startswith(("{path}", "{uri}", "{rest}"))

    def answer(request: Request, scheme: str) -> Said:
        place = _PLACEHOLDER.sub(lambda match: _value(match[1], request, scheme, prefix), target)
        if bare:
            place = "/" + place.lstrip("/\\")
        return Said(line, [("Location", quote(place, safe=_SAFE)), PLAIN], b"")

    return answer


def _value(name: str, request: Request, scheme: str, prefix: int) -> str:
    path = request.path
    if name == "scheme":
        return scheme
    if name == "host":
        host, bracket, _ = request.authority.partition("]")
        return host + bracket if bracket else host.partition(":")[0]
    if name == "path":
        return path
    if name == "query":
        return request.query
    if name == "uri":
        return f"{path}?{request.query}" if request.query else path
    return raw_rest(path, prefix)  # "rest"


class FixedGateway:
    """For the thread engine. Immutable."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def run(self, exchange: Exchange) -> None:
        """Answer. Never raises."""
        try:
            _send(exchange, self._answer(exchange.request, exchange.scheme))
        except ClientDisconnected:
            exchange.abort()


class AsyncFixedGateway:
    """For event loops. Immutable."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def http(self, exchange: AsyncExchange) -> None:
        """Answer. Never raises."""
        try:
            _send(exchange, self._answer(exchange.request, exchange.scheme))
        except ClientDisconnected:
            exchange.abort()

    async def websocket(self, exchange: WebSocketExchange) -> None:
        """Answer the handshake in the same way: it is a request, after all."""
        await self.http(exchange.http)


def _send(exchange: Exchange | AsyncExchange, said: Said) -> None:
    exchange.prepare(said.status, said.headers)
    exchange.send_whole(said.body)
