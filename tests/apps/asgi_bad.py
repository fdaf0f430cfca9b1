"""Routes that break ASGI or HTTP on purpose, and those that raise.

The server must answer each with a 500, or end the connection once bytes are out, log which rule
was broken, and go on serving.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from .asgi_state import PLAIN, STATE, Query, Receive, Route, Scope, Send, reply, start

BODY = "http.response.body"


async def nothing(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Return without an answer."""


async def only_start(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Return with the head alone; `length` states that there would be a body."""
    headers = [(b"content-length", query["length"].encode())] if "length" in query else []
    await send(start(headers=headers))


async def unfinished(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Return after a piece that said more would come."""
    await send(start())
    await send({"type": BODY, "body": b"first", "more_body": True})


async def start_twice(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Two heads."""
    await send(start())
    await send(start(201))
    await send({"type": BODY, "body": b"twice"})


async def start_late(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """A second head after bytes of the body."""
    await send(start())
    await send({"type": BODY, "body": b"sent,", "more_body": True})
    await send(start(201))


async def after_end(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """A piece after the last one; it must never be taken for the next response."""
    await send(start(headers=[*PLAIN, (b"content-length", b"5")]))
    await send({"type": BODY, "body": b"whole"})
    try:
        await send({"type": BODY, "body": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nSPLIT"})
        STATE.count("after-end ignored")
    except Exception:
        STATE.count("after-end raised")
        raise


async def length(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Content-Length `says`, but `sends` bytes come, in pieces of `piece` (0: all at once)."""
    await send(start(headers=[(b"content-length", query["says"].encode())]))
    body = b"l" * int(query["sends"])
    step = int(query["piece"]) or len(body) or 1
    for at in range(0, len(body), step):
        await send({"type": BODY, "body": body[at : at + step], "more_body": True})
    await send({"type": BODY})


async def status(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """The status `value`, whatever it is; a number where it looks like one."""
    value: Any = query["value"]
    if value.lstrip("-").isdigit():
        value = int(value)
    await send(start(value))
    await send({"type": BODY, "body": b"body"})


async def header(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """The header `name` with `value`, whatever they are."""
    field = (query["name"].encode("latin-1"), query["value"].encode("latin-1"))
    await send(start(headers=[*PLAIN, field]))
    await send({"type": BODY, "body": b"body"})


MESSAGES: dict[str, list[Any]] = {
    "none": [None],
    "text": ["http.response.start"],
    "no-type": [{"status": 200, "headers": []}],
    "unknown-type": [{"type": "http.response.unknown"}],
    "type-bytes": [{"type": b"http.response.start", "status": 200}],
    "body-first": [{"type": BODY, "body": b"no head"}],
    "trailers-first": [{"type": "http.response.trailers", "headers": []}],
    "websocket": [{"type": "websocket.accept"}],
    "lifespan": [{"type": "lifespan.startup.complete"}],
    "no-status": [{"type": "http.response.start", "headers": []}],
    "status-none": [start(None)],  # type: ignore[arg-type]
    "status-float": [start(200.5)],  # type: ignore[arg-type]
    "status-bool": [start(True)],
    "headers-dict": [{"type": "http.response.start", "status": 200, "headers": {"a": "b"}}],
    "headers-number": [{"type": "http.response.start", "status": 200, "headers": 5}],
    "name-str": [start(headers=[("x-a", b"b")])],  # type: ignore[list-item]
    "value-str": [start(headers=[(b"x-a", "b")])],  # type: ignore[list-item]
    "value-none": [start(headers=[(b"x-a", None)])],  # type: ignore[list-item]
    "value-int": [start(headers=[(b"content-length", 4)])],  # type: ignore[list-item]
    "triple": [start(headers=[(b"x-a", b"b", b"c")])],  # type: ignore[list-item]
    "single": [start(headers=[b"x-a"])],  # type: ignore[list-item]
    "two-lengths": [start(headers=[(b"content-length", b"4"), (b"content-length", b"5")])],
    "body-str": [start(), {"type": BODY, "body": "text"}],
    "body-none": [start(), {"type": BODY, "body": None}],
    "body-int": [start(), {"type": BODY, "body": 4}],
    "hint-late": [start(), {"type": "http.response.early_hint", "links": [b"</a>"]}],
    "hint-split": [{"type": "http.response.early_hint", "links": [b"</a>\r\nX-Split: 1"]}],
    "path-missing": [start(), {"type": "http.response.pathsend", "path": "/no/such/file"}],
    "path-folder": [start(), {"type": "http.response.pathsend", "path": "/"}],
    "zerocopy-bad": [start(), {"type": "http.response.zerocopysend", "file": -1}],
    "trailers-unannounced": [
        start(),
        {"type": BODY, "body": b"body", "more_body": True},
        {"type": "http.response.trailers", "headers": [(b"x-a", b"b")]},
    ],
}


async def message(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Messages that no server may take: `case` of MESSAGES. Then a proper end."""
    for wrong in MESSAGES[query["case"]]:
        await send(wrong)
    await send({"type": BODY, "body": b"body"})


class Unprintable(Exception):
    """An exception that cannot even be shown."""

    def __str__(self) -> str:
        raise RuntimeError("torture: no text")

    __repr__ = __str__


def _recurse() -> None:
    _recurse()


async def _cancel_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(10)


def _raising(kind: type[BaseException], *arguments: Any) -> Callable[[], Awaitable[None]]:
    async def fail() -> None:
        raise kind(*arguments)

    return fail


async def _overflow() -> None:
    _recurse()


KINDS: dict[str, Callable[[], Awaitable[None]]] = {
    "plain": _raising(RuntimeError, "torture: plain"),
    "exit": _raising(SystemExit, "torture: exit"),
    "interrupt": _raising(KeyboardInterrupt),
    "generator": _raising(GeneratorExit),
    "stop": _raising(StopAsyncIteration),
    "memory": _raising(MemoryError),
    "cancelled": _raising(asyncio.CancelledError),
    "timeout": _raising(TimeoutError, "torture: timeout"),
    "group": _raising(ExceptionGroup, "torture: group", [ValueError("a"), KeyError("b")]),
    "unprintable": _raising(Unprintable),
    "recursion": _overflow,
    "cancel-itself": _cancel_itself,
}


async def raises(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Raise the `case` of KINDS before anything was sent."""
    await KINDS[query["case"]]()


async def raise_before(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Raise before the head, with the `mark` of the request."""
    raise RuntimeError(f"torture: raised before the head {query.get('mark', '')}")


async def raise_after_start(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Raise when the head was given and no byte of the body."""
    await send(start())
    raise RuntimeError("torture: raised after the head")


async def raise_mid_body(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Raise in the middle of a body; `length` states how long it would be."""
    headers = [(b"content-length", query["length"].encode())] if "length" in query else []
    await send(start(headers=headers))
    await send({"type": BODY, "body": b"first", "more_body": True})
    if "late" in query:
        await asyncio.sleep(0.01)
    raise RuntimeError(f"torture: raised in the middle {query.get('mark', '')}")


async def raise_after_end(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """A complete response, then an exception."""
    await reply(send, b"fine")
    raise RuntimeError("torture: raised after the end")


async def body_on(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """A body where the `status` has none; passed on, it would be read as a response."""
    await send(start(int(query["status"]), []))
    await send({"type": BODY, "body": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nSPLIT"})


async def orphan(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """A task of the request that goes on sending after the application has returned."""
    later = asyncio.Event()

    async def go_on() -> None:
        await later.wait()
        try:
            await send({"type": BODY, "body": b"SPLIT"})
        except Exception:
            STATE.count("orphan raised")
        STATE.count("orphan done")

    ORPHANS.add(asyncio.ensure_future(go_on()))
    await reply(send, b"parent\n")
    asyncio.get_running_loop().call_later(0.01, later.set)


ORPHANS: set[asyncio.Future[None]] = set()
"""Keeps the tasks alive; any loop adds, nobody takes out."""

BAD: dict[str, Route] = {
    "nothing": nothing,
    "only-start": only_start,
    "unfinished": unfinished,
    "start-twice": start_twice,
    "start-late": start_late,
    "after-end": after_end,
    "length": length,
    "status": status,
    "header": header,
    "message": message,
    "raises": raises,
    "raise-before": raise_before,
    "raise-after-start": raise_after_start,
    "raise-mid-body": raise_mid_body,
    "raise-after-end": raise_after_end,
    "body-on": body_on,
    "orphan": orphan,
}
