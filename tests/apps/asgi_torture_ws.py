"""WebSocket routes of the ASGI torture application, `/ws/NAME`, legal ones and broken ones."""

import asyncio
import contextvars
import json
import threading
from typing import Any

from .asgi_state import STATE, Message, Query, Receive, Route, Scope, Send, opened

LEFT: contextvars.ContextVar[str] = contextvars.ContextVar("LEFT", default="")
SEND = "websocket.send"
ACCEPT: Message = {"type": "websocket.accept"}


def _note_close(message: Message, key: str) -> None:
    code, reason = message.get("code"), message.get("reason")
    STATE.count(f"closed {key} {code} {reason or ''}".rstrip())


async def _connect(receive: Receive) -> None:
    message = await receive()
    assert message == {"type": "websocket.connect"}, message


async def echo(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Send every message back as what it was; `key` gets the code of the close."""
    await _connect(receive)
    await send(ACCEPT)
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        if text is not None:
            await send({"type": SEND, "text": text})
        else:
            await send({"type": SEND, "bytes": message["bytes"]})
    assert message["type"] == "websocket.disconnect", message
    _note_close(message, query.get("key", "echo"))


async def scope_dump(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """The scope as JSON text."""
    await _connect(receive)
    await send(ACCEPT)
    text = json.dumps(scope, default=lambda v: v.decode("latin-1") if type(v) is bytes else repr(v))
    await send({"type": SEND, "text": text})
    await send({"type": "websocket.close"})


async def accept_with(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Accept with the `subprotocol` asked for, and two headers."""
    await _connect(receive)
    headers = [(b"x-accepted", b"yes"), (b"set-cookie", b"a=1")]
    chosen: Message = ACCEPT | {"headers": headers}
    if "subprotocol" in query:
        chosen["subprotocol"] = query["subprotocol"]
    await send(chosen)
    await send({"type": SEND, "text": "accepted", "bytes": None})
    await send({"type": "websocket.close", "code": 1000})


async def deny(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Close before accepting: 403."""
    await _connect(receive)
    await send({"type": "websocket.close"})


async def deny_with(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """A response of the application's own instead of the upgrade (websocket.http.response)."""
    await _connect(receive)
    headers = [(b"content-type", b"text/plain"), (b"x-denied", b"yes")]
    kind = "websocket.http.response"
    await send({"type": f"{kind}.start", "status": int(query["status"]), "headers": headers})
    await send({"type": f"{kind}.body", "body": b"go ", "more_body": True})
    await send({"type": f"{kind}.body", "body": b"away"})


async def close(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Accept, then close with `code` and `reason`; what receive() says then is counted."""
    await _connect(receive)
    await send(ACCEPT)
    farewell: Message = {"type": "websocket.close"}
    if "code" in query:
        farewell["code"] = int(query["code"])
    if "reason" in query:
        farewell["reason"] = query["reason"]
    await send(farewell)
    message = await receive()
    STATE.count(f"{message['type']} {query.get('key', 'close')}")


async def send_after_close(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """A message behind the close must not get out."""
    await _connect(receive)
    await send(ACCEPT)
    await send({"type": "websocket.close", "code": 4000})
    try:
        await send({"type": SEND, "text": "too late"})
        STATE.count(f"ignored {query['key']}")
    except Exception:
        STATE.count(f"raised {query['key']}")
        raise


async def send_after_leave(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Send when receive() has told that the client left: OSError, as the specification asks."""
    await _connect(receive)
    await send(ACCEPT)
    while (await receive())["type"] != "websocket.disconnect":
        pass
    try:
        await send({"type": SEND, "text": "too late"})
        STATE.count(f"ignored {query['key']}")
    except OSError:
        STATE.count(f"raised {query['key']}")


async def after_disconnect(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """receive() behind the disconnect: must not hang."""
    await _connect(receive)
    await send(ACCEPT)
    while (await receive())["type"] != "websocket.disconnect":
        pass
    try:
        await asyncio.wait_for(receive(), 5)
        STATE.count(f"again {query['key']}")
    except TimeoutError:
        STATE.count(f"hangs {query['key']}")
    except Exception:
        STATE.count(f"raised {query['key']}")


async def raise_before(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Raise before accepting."""
    await _connect(receive)
    raise RuntimeError(f"torture: before accept {query.get('mark', '')}")


async def raise_after(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Raise after accepting."""
    await _connect(receive)
    await send(ACCEPT)
    raise RuntimeError(f"torture: after accept {query.get('mark', '')}")


async def return_before(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Return without a decision."""


async def return_after(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Return with the connection open."""
    await _connect(receive)
    await send(ACCEPT)
    await send({"type": SEND, "text": "bye"})


WRONG: dict[str, list[Any]] = {
    "accept-twice": [ACCEPT, ACCEPT],
    "http": [ACCEPT, {"type": "http.response.start", "status": 200}],
    "both": [ACCEPT, {"type": SEND, "text": "a", "bytes": b"b"}],
    "neither": [ACCEPT, {"type": SEND}],
    "text-bytes": [ACCEPT, {"type": SEND, "text": b"bytes"}],
    "bytes-text": [ACCEPT, {"type": SEND, "bytes": "text"}],
    "unknown": [ACCEPT, {"type": "websocket.unknown"}],
    "none": [ACCEPT, None],
    "surrogate": [ACCEPT, {"type": SEND, "text": "\ud800"}],
    "code": [ACCEPT, {"type": "websocket.close", "code": 1005}],
    "code-text": [ACCEPT, {"type": "websocket.close", "code": "1000"}],
    "send-first": [{"type": SEND, "text": "no handshake"}],
    "subprotocol-split": [ACCEPT | {"subprotocol": "a\r\nX-Split: 1"}],
    "header-split": [ACCEPT | {"headers": [(b"x-a", b"b\r\nX-Split: 1")]}],
    "header-own": [ACCEPT | {"headers": [(b"sec-websocket-accept", b"b")]}],
}


async def wrong(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Messages that no server may take: `case` of WRONG."""
    await _connect(receive)
    for message in WRONG[query["case"]]:
        await send(message)
    await send({"type": "websocket.close"})


async def count(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """`n` numbered messages as fast as they go, then the close."""
    await _connect(receive)
    await send(ACCEPT)
    for number in range(int(query["n"])):
        await send({"type": SEND, "text": str(number)})
    await send({"type": "websocket.close"})


async def huge(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """One message of `n` bytes."""
    await _connect(receive)
    await send(ACCEPT)
    await send({"type": SEND, "bytes": b"h" * int(query["n"])})
    await send({"type": "websocket.close"})


async def flood(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Messages of 64 KiB until send() raises; `messages KEY` counts those it took."""
    await _connect(receive)
    await send(ACCEPT)
    try:
        while True:
            await send({"type": SEND, "bytes": b"f" * 65536})
            STATE.count(f"messages {query['key']}")
    except OSError:
        STATE.count(f"raised {query['key']}")
    finally:
        STATE.count(f"stopped {query['key']}")


async def reluctant(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Receive nothing before the gate `key` is open; then tell how many bytes came."""
    await _connect(receive)
    await send(ACCEPT)
    await opened(query["key"])
    size = 0
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "end":
            await send({"type": SEND, "text": str(size)})
        else:
            size += len(message["bytes"])


async def context(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """What another connection left in a context variable: nothing; and the thread."""
    await _connect(receive)
    before = LEFT.get()
    LEFT.set("left")
    await send(ACCEPT)
    await send({"type": SEND, "text": f"{before}|{threading.get_ident()}"})
    await send({"type": "websocket.close"})


MEMBERS: dict[Send, None] = {}
MEMBERS_LOCK = threading.Lock()
"""Guards MEMBERS: connections of all loops add and remove themselves."""


async def room(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """What one says, all hear, whatever loop they are on; the first message is the loop's."""
    await _connect(receive)
    await send(ACCEPT)
    with MEMBERS_LOCK:
        MEMBERS[send] = None
    # Only now: whoever has read it may rely on the membership.
    await send({"type": SEND, "text": str(threading.get_ident())})
    try:
        while (message := await receive())["type"] == "websocket.receive":
            with MEMBERS_LOCK:
                present = list(MEMBERS)
            for member in present:
                try:
                    await member({"type": SEND, "text": message["text"]})
                except OSError:
                    STATE.count("room: a member had left")
    finally:
        with MEMBERS_LOCK:
            del MEMBERS[send]


SOCKETS: dict[str, Route] = {
    "echo": echo,
    "scope": scope_dump,
    "accept-with": accept_with,
    "deny": deny,
    "deny-with": deny_with,
    "close": close,
    "send-after-close": send_after_close,
    "send-after-leave": send_after_leave,
    "after-disconnect": after_disconnect,
    "raise-before": raise_before,
    "raise-after": raise_after,
    "return-before": return_before,
    "return-after": return_after,
    "wrong": wrong,
    "count": count,
    "huge": huge,
    "flood": flood,
    "reluctant": reluctant,
    "context": context,
    "room": room,
}
