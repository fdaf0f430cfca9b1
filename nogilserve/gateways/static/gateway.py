"""Static files in front of an application: the same answers on threads and on event loops.

Neither class changes after it was made. What raises is logged like an application's failure.
"""

import asyncio
import errno
import io
import logging
import os
from collections.abc import Callable, Coroutine
from typing import Any, BinaryIO, Final, Protocol, cast

from nogilserve.errors import ClientDisconnected
from nogilserve.gateways.failures import PLAIN, STATUS, failure_text, log_failure
from nogilserve.gateways.static.answer import Answer, plain
from nogilserve.gateways.static.lookup import Replaced
from nogilserve.gateways.static.recent import SMALL
from nogilserve.gateways.static.site import Site
from nogilserve.messages import AsyncExchange, Exchange, Request, WebSocketExchange

__all__ = ["AsyncStaticGateway", "StaticGateway"]

_log = logging.getLogger("nogilserve.error")

_SCARCE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_TRIES: Final = 5
"""Looks at a file that is being exchanged while it is looked at."""
_UNSETTLED: Final = plain("503 Service Unavailable", ("Retry-After", "1"))
_NOWAIT: Final = getattr(os, "RWF_NOWAIT", 0) if hasattr(os, "preadv") else 0


class StaticGateway:
    """For the thread engine. Owner: its core; calls may overlap, nothing in it changes."""

    def __init__(self, site: Site, inner: Callable[[Exchange], None]) -> None:
        """`inner` runs the application."""
        self._site = site
        self._inner = inner
        self._prefixes = site.prefixes

    def run(self, exchange: Exchange) -> None:
        """Serve a file, or run the application. Never raises."""
        if not exchange.request.path.startswith(self._prefixes):
            self._inner(exchange)
            return
        try:
            answer, fd = _look(self._site, exchange.request)
            if answer is not None:
                self._send(exchange, answer, fd)
                return
        except ClientDisconnected:
            exchange.abort()
            return
        except BaseException as exc:
            _failed(exchange, exc)
            return
        self._inner(exchange)

    def _send(self, exchange: Exchange, answer: Answer, fd: int) -> None:
        if fd < 0:
            body = self._site.list(answer) if answer.title else answer.body
            _send_without_file(exchange, answer, body)
            return
        with io.FileIO(fd, "rb") as file:
            if answer.length <= SMALL:
                body = _assembled(answer, file)
                if answer.entry is not None:
                    answer.entry.keep(body)
                exchange.prepare(answer.status, answer.headers)
                exchange.send_whole(body)
                return
            exchange.prepare(answer.status, answer.headers)
            exchange.send_head(answer.length)
            for part in answer.parts:
                if part.before:
                    exchange.send_data(part.before)
                start, stop = part.span
                exchange.send_file(cast(BinaryIO, file), start, stop - start)
            if answer.after:
                exchange.send_data(answer.after)
            exchange.send_end()


class AsyncApplication(Protocol):
    """What an event loop's gateway does."""

    def http(self, exchange: AsyncExchange) -> Coroutine[Any, Any, None]:
        """One request."""

    def websocket(self, exchange: WebSocketExchange) -> Coroutine[Any, Any, None]:
        """One WebSocket connection."""


class AsyncStaticGateway:
    """For event loops. Owner: one loop.

    On the loop files are looked up and opened, and read as far as the system has them in
    memory; directories and the rest are read by the loop's threads.
    """

    def __init__(self, site: Site, inner: AsyncApplication) -> None:
        """`inner` runs the application."""
        self._site = site
        self._inner = inner
        self._prefixes = site.prefixes
        self.websocket = inner.websocket
        """WebSockets are the application's."""

    def http(self, exchange: AsyncExchange) -> Coroutine[Any, Any, None]:
        """Serve a file, or run the application. The coroutine never raises, but for a
        cancellation."""
        if not exchange.request.path.startswith(self._prefixes):
            return self._inner.http(exchange)
        return self._serve(exchange)

    async def _serve(self, exchange: AsyncExchange) -> None:
        try:
            answer, fd = _look(self._site, exchange.request)
            if answer is not None:
                await self._send(exchange, answer, fd)
                return
        except ClientDisconnected:
            exchange.abort()
            return
        except BaseException as exc:
            _failed(exchange, exc)
            if isinstance(exc, asyncio.CancelledError):
                raise
            return
        await self._inner.http(exchange)

    async def _send(self, exchange: AsyncExchange, answer: Answer, fd: int) -> None:
        if fd < 0:
            listed = answer.title
            body = await asyncio.to_thread(self._site.list, answer) if listed else answer.body
            _send_without_file(exchange, answer, body)
            return
        with io.FileIO(fd, "rb") as file:
            if answer.length <= SMALL:
                whole = _in_memory(answer, fd)
                if whole is None:
                    whole = await asyncio.to_thread(_assembled, answer, file)
                if answer.entry is not None:
                    answer.entry.keep(whole)
                exchange.prepare(answer.status, answer.headers)
                exchange.send_whole(whole)
                return
            exchange.prepare(answer.status, answer.headers)
            exchange.send_head(answer.length)
            for part in answer.parts:
                if part.before:
                    exchange.send_data(part.before)
                start, stop = part.span
                await exchange.send_file(cast(BinaryIO, file), start, stop - start)
            if answer.after:
                exchange.send_data(answer.after)
            exchange.send_end()


def _look(site: Site, request: Request) -> tuple[Answer | None, int]:
    """What to answer, and a descriptor of the file to send or -1. None: the application is to."""
    for attempt in range(_TRIES):
        try:
            answer = site.answer(request, fresh=attempt > 0)
            if answer is None or not answer.parts or request.method == "HEAD":
                return answer, -1
            assert answer.source is not None
            return answer, answer.source.open()
        except Replaced:
            continue
        except OSError as exc:
            return _refusal(exc), -1
    return _UNSETTLED, -1


def _refusal(exc: OSError) -> Answer:
    """The answer where the system does not let us look or open. Raises what is no such case."""
    if isinstance(exc, PermissionError):
        return plain("403 Forbidden")
    if exc.errno in _SCARCE:
        _log.error("a static file cannot be served: %s", exc)
        return _UNSETTLED
    raise exc


def _send_without_file(exchange: Exchange | AsyncExchange, answer: Answer, body: bytes) -> None:
    exchange.prepare(answer.status, answer.headers)
    if answer.parts:  # of a HEAD request
        exchange.send_head(answer.length)
        exchange.send_end()
    else:
        exchange.send_whole(body)


def _assembled(answer: Answer, file: io.FileIO) -> bytes:
    """The whole body of an answer from a file. Raises OSError when the file has become shorter."""
    pieces: list[bytes] = []
    for part in answer.parts:
        start, stop = part.span
        file.seek(start)
        data = file.read(stop - start) if stop > start else b""
        if len(data) != stop - start:
            raise OSError("the file has become shorter while it was being read")
        pieces += (part.before, data)
    pieces.append(answer.after)
    return b"".join(pieces)


def _in_memory(answer: Answer, fd: int) -> bytes | None:
    """The whole body if it can be had without waiting for a disk."""
    pieces: list[bytes] = []
    for part in answer.parts:
        start, stop = part.span
        data = bytearray(stop - start)
        try:
            count = os.preadv(fd, [data], start, _NOWAIT) if _NOWAIT else -1
        except OSError:  # not in memory, or the file system cannot tell
            count = -1
        if count != len(data):
            return None
        pieces += (part.before, bytes(data))
    pieces.append(answer.after)
    return b"".join(pieces)


def _failed(exchange: Exchange | AsyncExchange, exc: BaseException) -> None:
    """Log it; answer if still possible."""
    request = exchange.request
    where = f"[{exchange.request_id}] {request.method} {request.target}"
    log_failure(where, "static files", exc)
    try:
        if exchange.head_sent:
            exchange.abort()
        else:
            exchange.prepare(STATUS[500], [PLAIN])
            exchange.send_whole(failure_text(exchange.request_id, ""))
    except ClientDisconnected:
        exchange.abort()
    finally:
        exc.__traceback__ = None  # no cycle with this frame
