"""One request of an ASGI application: `receive` and `send`, and the order they are called in."""

import asyncio
import logging
import os
import stat
from asyncio import get_running_loop
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

from nogilserve.errors import ClientDisconnected, ResponseError, TruncatedBody
from nogilserve.gateways.asgi.calls import (
    STATUS_TEXT,
    Message,
    at_home,
    payload,
    prepare_without_connection_fields,
    response_headers,
    status_text,
    unexpected,
)
from nogilserve.messages import AsyncExchange, Headers

__all__ = ["HttpCall"]

_log = logging.getLogger("nogilserve.error")

_MOST_HEADS: Final = 64
"""Response heads that are kept by what the application gave for them."""

# What the application has sent.
_NOTHING: Final = 0
_START: Final = 1
"""http.response.start, which waits for the first piece of the body."""
_BODY: Final = 2
_TRAILERS: Final = 3
"""The body is complete, trailers follow."""
_COMPLETE: Final = 4


class HttpCall:
    """`receive` and `send` of one request. Owner: the loop of the connection; both may be called
    on any other event loop of the process, which then waits for this one."""

    __slots__ = ("_body_done", "_fields", "_id", "_state", "_with_trailers", "exchange", "loop")

    def __init__(self, exchange: AsyncExchange, loop: asyncio.AbstractEventLoop) -> None:
        self.exchange = exchange
        self.loop = loop
        self._state = _NOTHING
        self._body_done = False
        self._with_trailers = False
        self._fields: Headers | None = None
        """Trailer fields so far, if there are any."""
        self._id = ""

    @property
    def complete(self) -> bool:
        """The response is complete: the exchange is not this request's any more."""
        return self._state == _COMPLETE

    @property
    def request_id(self) -> str:
        """Names the request in the logs, also after its response."""
        if not self._id:
            self._id = os.urandom(6).hex() if self.complete else self.exchange.request_id
        return self._id

    # ---- receive

    async def receive(self) -> Message:
        """http.request as long as there is body, then http.disconnect when the request is over."""
        if get_running_loop() is not self.loop:
            return await at_home(self.loop, self.receive)
        exchange = self.exchange
        if not self._body_done and self._state != _COMPLETE:
            try:
                return await self._receive_body(exchange)
            except TruncatedBody:
                return {"type": "http.disconnect"}
        while not (self._state == _COMPLETE or exchange.gone):
            await exchange.news()
        return {"type": "http.disconnect"}

    async def _receive_body(self, exchange: AsyncExchange) -> Message:
        piece = exchange.read_body()
        while piece is None:
            await exchange.news()
            if self._state == _COMPLETE:
                return {"type": "http.disconnect"}
            piece = exchange.read_body()
        self._body_done = exchange.body_complete
        return {"type": "http.request", "body": piece, "more_body": not self._body_done}

    # ---- send

    async def send(self, message: Message) -> None:
        """The next message of the response. Raises ClientDisconnected (an OSError) when the client
        is gone, ResponseError for a message that is wrong or out of order."""
        if get_running_loop() is not self.loop:
            return await at_home(self.loop, partial(self.send, message))
        # The two messages of the ordinary response come first, and without further calls: looking
        # with `in` is quicker than get().
        kind = message["type"]
        if kind == "http.response.body" and self._state == 1:
            if ("more_body" in message and message["more_body"]) or self._with_trailers:  # noqa: RUF019
                payload(message)  # while its mistakes can be answered
                self.exchange.send_head(None)
                self._state = _BODY
                return await self._send_body(message)
            body = message["body"] if "body" in message else b""  # noqa: SIM401
            if type(body) is not bytes:
                body = payload(message)
            exchange = self.exchange
            self._id = exchange.known_id
            self._state = _COMPLETE
            try:
                exchange.send_whole(body)
            except BaseException:
                self._state = _START
                raise
        elif kind == "http.response.start" and self._state == 0:
            exchange = self.exchange
            heads = exchange.heads
            if heads and (head := _kept(heads, message)) is not None:
                exchange.prepare_known(head)
            else:
                self._prepare(message)
            if "trailers" in message and message["trailers"]:  # noqa: RUF019
                self._with_trailers = True
            self._state = 1
        else:
            await self._send_other(kind, message)
        return None

    def _prepare(self, message: Message) -> None:
        """Prepare the head of the response, and keep it if it is likely to come again."""
        exchange = self.exchange
        status = message["status"]
        headers = response_headers(message)
        try:
            exchange.prepare(STATUS_TEXT.get(status) or status_text(status), headers)
        except ResponseError:
            prepare_without_connection_fields(exchange, status_text(status), headers)
            return
        heads = exchange.heads
        if heads is not None and (head := exchange.known_head) is not None:
            given = message.get("headers")
            if type(given) is list and all(_is_field(pair) for pair in given):
                if len(heads) >= _MOST_HEADS:
                    heads.clear()
                heads[(status, *given)] = head

    async def _send_other(self, kind: str, message: Message) -> None:
        """What is not part of the ordinary response of one piece."""
        state = self._state
        if state == _COMPLETE:
            raise ResponseError(f"the application sent {kind!r} after the response was complete")
        if state == _NOTHING:
            if kind == "http.response.early_hint":
                links = [("Link", link.decode("latin-1")) for link in message["links"]]
                self.exchange.send_early_hints(links)
            elif kind == "http.response.debug":
                _log.debug("[%s] %s: %r", self.request_id, kind, message.get("info"))
            else:
                raise unexpected(message, "'http.response.start'")
        elif state == _TRAILERS:
            self._send_trailers(message)
        elif kind == "http.response.body":
            await self._send_body(message)
        elif kind == "http.response.pathsend" and state == _START:
            await self._send_path(message)
        elif kind == "http.response.zerocopysend":
            await self._send_descriptor(message)
        else:
            raise unexpected(message, "'http.response.body'")

    async def _send_body(self, message: Message) -> None:
        """A piece of a body whose head is on its way."""
        exchange = self.exchange
        exchange.send_data(payload(message))
        if not message.get("more_body", False):
            self._finish_body()
        elif exchange.crowded:
            await exchange.drain()

    def _finish_body(self) -> None:
        if self._with_trailers:
            self._state = _TRAILERS
        else:
            self._end()

    def _end(self) -> None:
        before, self._state = self._state, _COMPLETE
        self._id = self.exchange.known_id
        try:
            self.exchange.send_end(self._fields or [])
        except BaseException:
            self._state = before
            raise

    def _send_trailers(self, message: Message) -> None:
        if message["type"] != "http.response.trailers":
            raise unexpected(message, "'http.response.trailers'")
        self._fields = (self._fields or []) + response_headers(message)
        if not message.get("more_trailers", False):
            self._end()

    async def _send_path(self, message: Message) -> None:
        """A whole file, named by its path, as the body."""
        path = message["path"]
        try:
            file = open(path, "rb", buffering=0, opener=_open_at_once)  # noqa: SIM115
        except (OSError, TypeError, ValueError) as exc:
            raise ResponseError(f"cannot send the file {path!r}: {exc}") from exc
        with file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ResponseError(f"cannot send {path!r}: it is not a regular file")
            self.exchange.send_head(status.st_size)
            self._state = _BODY
            await self.exchange.send_file(file, 0, status.st_size)
        self._finish_body()

    async def _send_descriptor(self, message: Message) -> None:
        """A range of an open file as a piece of the body."""
        file = message["file"]
        with ExitStack() as stack:
            try:
                # A descriptor of its own: the application may close its file meanwhile.
                fd = os.dup(file if isinstance(file, int) else file.fileno())
                stack.callback(os.close, fd)
                own = stack.enter_context(open(fd, "rb", buffering=0, closefd=False))
                offset = message.get("offset")
                if offset is None:
                    offset = os.lseek(fd, 0, os.SEEK_CUR)
                count = message.get("count")
                if count is None:
                    count = max(os.fstat(fd).st_size - offset, 0)
            except (OSError, AttributeError, TypeError, ValueError) as exc:
                raise ResponseError(f"cannot send from {file!r}: {exc}") from exc
            more = message.get("more_body", False)
            if self._state == _START:
                self.exchange.send_head(None if more or self._with_trailers else count)
                self._state = _BODY
            await self.exchange.send_file(own, offset, count)
        if not more:
            self._finish_body()

    # ---- the end

    def fail(self, answer: str, headers: Headers, body: bytes) -> None:
        """Answer with an error if nothing was sent, else end the connection."""
        exchange = self.exchange
        if self.complete:
            return
        try:
            if exchange.head_sent:
                exchange.abort()
            else:
                self._state = _COMPLETE
                exchange.prepare(answer, headers)
                exchange.send_whole(body)
        except (ClientDisconnected, ResponseError):
            exchange.abort()


def _kept(heads: dict[tuple[object, ...], Any], message: Message) -> Any:
    """The head that was prepared for such a message before; None where there is none."""
    headers = message["headers"] if "headers" in message else None  # noqa: SIM401
    if type(headers) is not list:
        return None
    try:
        return heads.get((message["status"], *headers))
    except TypeError:  # a pair is a list
        return None


def _is_field(pair: object) -> bool:
    """Whether this is a pair of bytes that will stay what it is."""
    return type(pair) is tuple and all(type(part) is bytes for part in pair)


def _open_at_once(path: str, flags: int) -> int:
    """As os.open; a pipe that nobody writes to is not waited for."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
