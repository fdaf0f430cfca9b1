"""What the calls of an ASGI application have in common, whatever they are about."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from http import HTTPStatus
from sys import intern
from typing import Any, Final

from nogilserve.errors import ResponseError
from nogilserve.messages import AsyncExchange, Headers

__all__ = [
    "STATUS_TEXT",
    "Application",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "at_home",
    "payload",
    "prepare_without_connection_fields",
    "response_headers",
    "status_text",
    "unexpected",
    "waiting_in",
]

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
    """Run a coroutine on the loop that the connection belongs to, from another loop."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(), loop))


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
