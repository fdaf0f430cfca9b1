"""What the calls of an ASGI application have in common, whatever they are about."""

import asyncio
import contextlib
import inspect
import threading
import traceback
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from concurrent.futures import Future, InvalidStateError
from functools import partial
from http import HTTPStatus
from sys import intern
from typing import Any, Final
from weakref import WeakSet

from nogilserve.errors import ClientDisconnected, ResponseError
from nogilserve.messages import AsyncExchange, Headers

__all__ = [
    "STATUS_TEXT",
    "Application",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "at_home",
    "leave_home",
    "only_gone",
    "payload",
    "prepare_without_connection_fields",
    "response_headers",
    "status_text",
    "unexpected",
    "waiting_in",
]

_GONE: Final = frozenset(("ClientDisconnect", "WebSocketDisconnect", "WebSocketDisconnected"))
"""Exceptions that frameworks raise in place of an OSError of `send`."""

_CONNECTION_FIELDS: Final = frozenset(
    (
        *("connection", "keep-alive", "proxy-connection", "te"),
        *("trailers", "transfer-encoding", "upgrade"),
    )
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

# Interned, so immortal: every loop uses them.
STATUS_TEXT: Final = {
    status.value: intern(f"{status.value} {status.phrase}") for status in HTTPStatus
}


def status_text(status: object) -> str:
    """ "200 OK" for 200. Raises ResponseError for what is no number."""
    if isinstance(status, int):
        return STATUS_TEXT.get(status) or f"{int(status)} "
    raise ResponseError(f"the status must be an int, not {type(status).__name__}")


def response_headers(message: Message) -> Headers:
    """The field lines of a message as text. Raises ResponseError for what are no pairs of bytes."""
    try:
        return [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in message.get("headers", ())
        ]
    except (AttributeError, TypeError, ValueError):
        raise ResponseError(
            f"headers must be pairs of bytes, not {message.get('headers')!r:.200}"
        ) from None


def prepare_without_connection_fields(
    exchange: AsyncExchange, status: str, headers: Headers
) -> None:
    """Prepare a response without what is about the connection, which is the server's business
    (RFC 9110 §7.6.1): applications that were written for other servers send such fields, to no
    effect there either. One that asks for the connection's end gets it. Raises as `prepare`.
    """
    kept = [(name, value) for name, value in headers if name.lower() not in _CONNECTION_FIELDS]
    exchange.prepare(status, kept)
    if any(name.lower() == "connection" and "close" in value.lower() for name, value in headers):
        exchange.end_after()


def only_gone(exc: BaseException) -> bool:
    """Whether an exception says no more than that the client is gone: ours, a group of such, or
    what a framework has made of it (Starlette's ClientDisconnect)."""
    if isinstance(exc, ClientDisconnected):
        return True
    if isinstance(exc, BaseExceptionGroup):
        return all(only_gone(part) for part in exc.exceptions)
    cause = exc.__cause__
    if cause is None and type(exc).__name__ in _GONE:
        cause = exc.__context__
    return cause is not None and only_gone(cause)


def payload(message: Message, key: str = "body") -> bytes:
    """The bytes of a message. Raises ResponseError for what are none."""
    data = message.get(key, b"")
    if type(data) is bytes:
        return data
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    raise ResponseError(f"{key!r} must be bytes, not {type(data).__name__}")


def unexpected(message: Message, expected: str) -> ResponseError:
    """The application's mistake of sending a message at the wrong time."""
    return ResponseError(f"the application sent {message.get('type')!r}, expected {expected}")


async def at_home[T](
    loop: asyncio.AbstractEventLoop, call: Callable[[], Coroutine[Any, Any, T]]
) -> T:
    """Run a coroutine on the loop that the connection belongs to, from another loop. Raises
    ClientDisconnected when that has ended, or ends meanwhile."""
    return await asyncio.wrap_future(_visits.begin(loop, call()))


class _Visits:
    """Calls on other event loops that are not done yet.

    Any thread. No call waits for ever: it is noted after it was handed over, and a loop that ends
    fails what is noted. A call that was handed over too late to be run is noted after that, and
    finds the loop among those that have ended.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: dict[AbstractEventLoop, dict[Future[Any], Coroutine[Any, Any, Any]]] = {}
        self._ended: WeakSet[AbstractEventLoop] = WeakSet()

    def begin[T](self, loop: AbstractEventLoop, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Hand a coroutine over to `loop`."""
        try:
            future = asyncio.run_coroutine_threadsafe(work, loop)
        except RuntimeError:  # closed
            work.close()
            raise _too_late() from None
        with self._lock:
            ended = loop in self._ended
            if not ended:
                self._begun.setdefault(loop, {})[future] = work
        if ended:
            _give_up(future, work)
        else:
            future.add_done_callback(partial(self._done, loop))
        return future

    def _done(self, loop: AbstractEventLoop, future: "Future[Any]") -> None:
        with self._lock:
            begun = self._begun.get(loop)
            if begun is not None:
                begun.pop(future, None)

    def end(self, loop: AbstractEventLoop) -> None:
        """The loop runs nothing any more: fail what waits for it."""
        with self._lock:
            self._ended.add(loop)
            left = self._begun.pop(loop, {})
        for future, work in left.items():
            _give_up(future, work)


_visits: Final = _Visits()
leave_home: Final = _visits.end
"""To be called when a loop has ended, before it is closed."""


def _give_up(future: "Future[Any]", work: Coroutine[Any, Any, Any]) -> None:
    if inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
        work.close()
    with contextlib.suppress(InvalidStateError):  # done or cancelled meanwhile
        future.set_exception(_too_late())


def _too_late() -> ClientDisconnected:
    return ClientDisconnected("the event loop of the connection has ended")


def waiting_in(task: asyncio.Task[None]) -> str:
    """Where a suspended task waits, as a traceback shows it; its own stack ends at the outermost
    coroutine."""
    frames = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None:
            code = frame.f_code
            frames.append(
                traceback.FrameSummary(code.co_filename, frame.f_lineno, code.co_qualname)
            )
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return "".join(traceback.format_list(frames)).rstrip()
