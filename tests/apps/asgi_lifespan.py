"""ASGI applications whose lifespan goes well, goes wrong, or does not exist."""

import asyncio
import contextvars
import itertools
import sys
import threading
from typing import Any

from .asgi_state import Receive, Scope, Send, opened, reply_json

FROM_STARTUP: contextvars.ContextVar[str] = contextvars.ContextVar("FROM_STARTUP", default="")


def _tell(text: str) -> None:
    print(f"torture: {text} in thread {threading.get_ident()}", file=sys.stderr, flush=True)


async def _respond(scope: Scope, send: Send) -> None:
    """The lifespan state as JSON, and what a context variable of the startup says."""
    document = dict(scope.get("state", {"no": "state"}))
    document["context"] = FROM_STARTUP.get()
    document["thread"] = threading.get_ident()
    await reply_json(send, document)


async def ok(scope: Scope, receive: Receive, send: Send) -> None:
    """Startup and shutdown both say on standard error that they ran, and where."""
    if scope["type"] != "lifespan":
        await _respond(scope, send)
        return
    assert (await receive())["type"] == "lifespan.startup"
    await asyncio.sleep(0.01)
    scope["state"]["loop"] = threading.get_ident()
    scope["state"]["items"] = []
    FROM_STARTUP.set("started")
    _tell("startup ran")
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    await asyncio.sleep(0.05)
    _tell("shutdown ran")
    await send({"type": "lifespan.shutdown.complete"})


async def failing(scope: Scope, receive: Receive, send: Send) -> None:
    """Says that its startup has failed, and why."""
    if scope["type"] != "lifespan":
        await _respond(scope, send)
        return
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "torture: the database is away"})


async def raising(scope: Scope, receive: Receive, send: Send) -> None:
    """Raises in its startup, as an application does that was told to start and could not."""
    if scope["type"] != "lifespan":
        await _respond(scope, send)
        return
    await receive()
    raise ConnectionError("torture: startup raised")


async def unsupported(scope: Scope, receive: Receive, send: Send) -> None:
    """Knows only http, and says so by an exception, as the specification allows."""
    assert scope["type"] == "http", f"torture: no {scope['type']} here"
    await _respond(scope, send)


async def returning(scope: Scope, receive: Receive, send: Send) -> None:
    """Returns from its lifespan without a word."""
    if scope["type"] != "lifespan":
        await _respond(scope, send)


async def leaving(scope: Scope, receive: Receive, send: Send) -> None:
    """Returns right after the startup, as the specification does not forbid."""
    if scope["type"] != "lifespan":
        await _respond(scope, send)
        return
    await receive()
    await send({"type": "lifespan.startup.complete"})


async def hanging(scope: Scope, receive: Receive, send: Send) -> None:
    """Its shutdown never ends."""
    if scope["type"] != "lifespan":
        await _respond(scope, send)
        return
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    _tell("shutdown began")
    await asyncio.sleep(3600)


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """Its startup waits for a gate that nobody opens: a server must stop all the same."""
    if scope["type"] != "lifespan":
        await _respond(scope, send)
        return
    await receive()
    _tell("startup began")
    await opened("never")
    await send({"type": "lifespan.startup.complete"})


async def shutdown_failed(scope: Scope, receive: Receive, send: Send) -> None:
    """Says that its shutdown has failed."""
    if scope["type"] != "lifespan":
        await _respond(scope, send)
        return
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.failed", "message": "torture: could not flush"})


async def shutdown_raises(scope: Scope, receive: Receive, send: Send) -> None:
    """Raises in its shutdown."""
    if scope["type"] != "lifespan":
        await _respond(scope, send)
        return
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    raise ConnectionError("torture: shutdown raised")


async def shutdown_noted(scope: Scope, receive: Receive, send: Send) -> None:
    """Puts nothing into its state; says when it shuts down."""
    if scope["type"] != "lifespan":
        await _respond(scope, send)
        return
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    _tell("shutdown ran")
    await send({"type": "lifespan.shutdown.complete"})


STARTS = itertools.count(1)


async def second_fails(scope: Scope, receive: Receive, send: Send) -> None:
    """Starts well the first time only."""
    if scope["type"] != "lifespan":
        await _respond(scope, send)
        return
    await receive()
    if next(STARTS) == 2:
        message = "torture: the second one fails"
        await send({"type": "lifespan.startup.failed", "message": message})
        return
    scope["state"]["mine"] = True
    _tell("startup ran")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    _tell("shutdown ran")
    await send({"type": "lifespan.shutdown.complete"})


async def ok_slow(scope: Scope, receive: Receive, send: Send) -> None:
    """As `ok`, but each request takes half a second and says so."""
    if scope["type"] != "lifespan":
        _tell("request began")
        await asyncio.sleep(0.5)
        _tell("request ended")
    await ok(scope, receive, send)


class Double:
    """An application of ASGI 2: called with the scope, then with receive and send."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, receive: Receive, send: Send) -> None:
        """The second call."""
        await ok(self.scope, receive, send)


class Instance:
    """An application that is an instance with a coroutine method."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        await ok(scope, receive, send)


class Callable3:
    """The same, but its __call__ is an ordinary function that returns a coroutine."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """ASGI 3, seen only by the names of its parameters."""
        return ok(scope, receive, send)


instance = Instance()
plain_call = Callable3()
