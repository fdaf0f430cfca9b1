"""An ASGI application with one path for each corner of the specification.

`/NAME` keeps the rules, `/bad/NAME` breaks them on purpose, `/ws/NAME` are WebSockets. `NAME` may
be followed by more path, which the route ignores.
"""

import asyncio
import contextvars
import hashlib
import threading
import time
import zlib

from .asgi_bad import BAD
from .asgi_state import (
    PLAIN,
    STATE,
    Query,
    Receive,
    Route,
    Scope,
    Send,
    body_of,
    opened,
    query_of,
    reply,
    reply_json,
    start,
)
from .asgi_torture_body import BODIES
from .asgi_torture_ws import SOCKETS

LEFT: contextvars.ContextVar[str] = contextvars.ContextVar("LEFT", default="")
MAX_SECONDS = 60.0


async def hello(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """The ordinary response."""
    await reply(send, b"hello\n")


async def scope_dump(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """The scope as JSON, and what in it has the wrong type."""
    wrong = [f"{key} is no str" for key in scope if type(key) is not str]
    if type(scope) is not dict:
        wrong.append(f"the scope is a {type(scope)}")
    for name, value in scope["headers"]:
        if type(name) is not bytes or type(value) is not bytes or name != name.lower():
            wrong.append(f"header {name!r}: {value!r}")
    wanted: dict[str, type] = {
        "type": str,
        "http_version": str,
        "method": str,
        "scheme": str,
        "path": str,
    }
    wanted |= {"raw_path": bytes, "query_string": bytes, "root_path": str, "asgi": dict}
    wrong += [key for key, kind in wanted.items() if type(scope[key]) is not kind]
    await reply_json(send, {"scope": scope, "wrong": wrong})


async def lifespan_state(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """What the lifespan left for the requests; a value added here must not be seen by others."""
    state = dict(scope.get("state", {}))
    if "state" in scope:
        scope["state"]["left by a request"] = True
    await reply_json(send, state)


async def context(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """What an earlier request left in a context variable: nothing, if all is well."""
    before = LEFT.get()
    LEFT.set(query.get("leave", "something"))
    await asyncio.sleep(0)
    await reply(send, f"before={before} now={LEFT.get()}".encode())


async def tasks(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Half a dozen tasks of one request: one answers, the others share its context."""
    LEFT.set(query["leave"])

    async def look() -> str:
        await asyncio.sleep(0.001)
        return LEFT.get()

    async with asyncio.TaskGroup() as group:
        made = [group.create_task(look()) for _ in range(5)]
    await reply_json(send, [task.result() for task in made])


async def sleep(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Wait `ms` milliseconds without holding the loop."""
    await asyncio.sleep(int(query["ms"]) / 1000)
    await reply(send, b"slept\n")


def _hold_the_loop(seconds: float) -> None:
    time.sleep(seconds)


async def block(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Hold the loop for `ms` milliseconds, as no application should; `key` is counted first."""
    STATE.count(f"entered {query.get('key', 'block')}")
    _hold_the_loop(int(query["ms"]) / 1000)
    await reply(send, b"blocked\n")


async def meet(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Answer only when `n` requests are in here at once; all know the meeting by `key`."""
    if STATE.count(f"met {query['key']}") >= int(query["n"]):
        STATE.gate(query["key"]).set()
    await reply(send, b"met\n" if await opened(query["key"]) else b"alone\n")


async def release(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Open the gate `key`."""
    STATE.gate(query["key"]).set()
    await reply(send, b"released\n")


async def thread(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """The identity of the thread, and so of the loop, that runs this."""
    await reply(send, str(threading.get_ident()).encode())


async def status(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """A response with this `code`, which has no body."""
    await send(start(int(query["code"]), []))
    await send({"type": "http.response.body"})


async def cookies(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Repeated fields, a date and a server name of the application's own."""
    extra = (
        (b"set-cookie", b"a=1; Path=/"),
        (b"Set-Cookie", b"b=2, c"),
        (b"server", b"mine"),
        (b"date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
        (b"x-latin", "caf\u00e9".encode("latin-1")),
    )
    await reply(send, b"cookies", extra=extra)


async def hints(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Two interim responses before the final one."""
    kind = "http.response.early_hint"
    await send({"type": kind, "links": [b"</a.css>; rel=preload"]})
    await send({"type": kind, "links": [b"</b.css>; rel=preload", b"</c.js>; rel=preload"]})
    await reply(send, b"hinted")


async def trailers(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """A body with trailers behind it, in two messages."""
    names = [(b"trailer", b"x-sum, x-more")]
    await send(start(headers=[*PLAIN, *names], trailers=True))
    await send({"type": "http.response.body", "body": b"with ", "more_body": True})
    await send({"type": "http.response.body", "body": b"trailers"})
    kind = "http.response.trailers"
    await send({"type": kind, "headers": [(b"x-sum", b"13")], "more_trailers": True})
    await send({"type": kind, "headers": [(b"x-more", b"yes")]})


async def nonce(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Query, header and body of the request in the response, after some uneven work.

    How the body is sent (whole, in pieces) follows from the nonce, so that all are mixed.
    """
    mine = query["nonce"].encode()
    header = dict(scope["headers"]).get(b"x-nonce", b"")
    body = await body_of(receive)
    chance = zlib.crc32(mine)
    if chance % 5 == 0:
        await asyncio.sleep((chance >> 8) % 4 / 1000)
    elif chance % 5 == 1:
        sum(range((chance >> 8) % 20_000))
    elif chance % 5 == 2:
        await asyncio.sleep(0)
    text = b"|".join([mine, header, body, mine])
    if chance % 2:
        await reply(send, text, extra=((b"x-nonce", header),))
        return
    await send(start(headers=[*PLAIN, (b"x-nonce", header)]))
    for at in range(0, len(text), 7):
        piece = text[at : at + 7]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


async def upload(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Size and SHA-256 of the body as JSON, read piece by piece.

    `key` counts what came of it: `entered`, then `complete` or `disconnect`. With `gate`, the
    first piece is read and then nothing before that gate is open.
    """
    key = query.get("key", "upload")
    digest = hashlib.sha256()
    size = pieces = largest = 0
    STATE.count(f"entered {key}")
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            STATE.count(f"disconnect {key}")
            return
        piece = message.get("body", b"")
        digest.update(piece)
        size += len(piece)
        pieces += 1
        largest = max(largest, len(piece))
        more = message.get("more_body", False)
        if pieces == 1 and "gate" in query:
            await opened(query["gate"])
    STATE.count(f"complete {key}")
    found = {"size": size, "sha256": digest.hexdigest(), "pieces": pieces, "largest": largest}
    await reply_json(send, found)


async def background(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Answer, then go on until the gate `key` is open: what frameworks' background tasks do."""
    await reply(send, b"answered\n")
    STATE.count(f"background {query['key']}")
    if await opened(query["key"]):
        STATE.count(f"finished {query['key']}")


async def counts(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """All counters as JSON."""
    await reply_json(send, STATE.counts())


LEGAL: dict[str, Route] = {
    "hello": hello,
    "scope": scope_dump,
    "state": lifespan_state,
    "context": context,
    "tasks": tasks,
    "sleep": sleep,
    "block": block,
    "meet": meet,
    "release": release,
    "thread": thread,
    "status": status,
    "cookies": cookies,
    "hints": hints,
    "trailers": trailers,
    "nonce": nonce,
    "upload": upload,
    "background": background,
    "counts": counts,
    **BODIES,
}


async def missing(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """For paths that are no route."""
    await reply(send, b"no such route\n", 404)


async def lifespan(receive: Receive, send: Send, state: Scope) -> None:
    """Start and stop without objection; `state` gets something to find again."""
    await receive()
    state["answer"] = 42
    state["loop"] = threading.get_ident()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Pick the route by the type of the scope and the first segments of the path."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send, scope.get("state", {}))
        return
    first, _, rest = scope["path"].removeprefix("/").partition("/")
    if scope["type"] == "websocket":
        route = SOCKETS[rest.split("/")[0]]
    elif first == "bad":
        route = BAD[rest]
    elif scope["path"] in ("*", ""):
        route = scope_dump
    else:
        route = LEGAL.get(first, missing)
    await route(scope, receive, send, query_of(scope))
