"""What the ASGI torture applications share: types, short ways to answer, waiting for a gate."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from .torture_state import STATE, WAIT_SECONDS

__all__ = [
    "PLAIN",
    "STATE",
    "Message",
    "Query",
    "Receive",
    "Route",
    "Scope",
    "Send",
    "body_of",
    "opened",
    "query_of",
    "reply",
    "reply_json",
    "start",
]

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Query = dict[str, str]
Route = Callable[[Scope, Receive, Send, Query], Awaitable[None]]

PLAIN: list[tuple[bytes, bytes]] = [(b"content-type", b"text/plain")]
BETWEEN_LOOKS = 0.005


def query_of(scope: Scope) -> Query:
    """The query string as a dictionary of latin-1 text; of repeated names the last counts."""
    return dict(parse_qsl(scope["query_string"].decode("latin-1"), True, encoding="latin-1"))


def start(
    status: int = 200, headers: list[tuple[bytes, bytes]] | None = None, **extra: object
) -> Message:
    """The message that starts a response."""
    fields = PLAIN if headers is None else headers
    return {"type": "http.response.start", "status": status, "headers": fields, **extra}


async def reply(
    send: Send,
    body: bytes,
    status: int = 200,
    kind: bytes = b"text/plain",
    extra: tuple[tuple[bytes, bytes], ...] = (),
) -> None:
    """A whole response that states its length."""
    fields = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *extra]
    await send(start(status, fields))
    await send({"type": "http.response.body", "body": body})


async def reply_json(send: Send, document: object) -> None:
    """A whole response of JSON; bytes become latin-1 text."""
    text = json.dumps(document, default=_plain)
    await reply(send, text.encode(), kind=b"application/json")


def _plain(value: object) -> object:
    return value.decode("latin-1") if isinstance(value, bytes) else repr(value)


async def body_of(receive: Receive) -> bytes:
    """The whole request body; ConnectionError when the client goes away before its end."""
    pieces = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("torture: http.disconnect in the middle of the body")
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces)


async def opened(key: str) -> bool:
    """Wait until the gate `key` is open; False after WAIT_SECONDS.

    By looking again and again, because who opens it lives on another event loop.
    """
    gate = STATE.gate(key)
    for _ in range(int(WAIT_SECONDS / BETWEEN_LOOKS)):
        if gate.is_set():
            return True
        await asyncio.sleep(BETWEEN_LOOKS)
    return False
