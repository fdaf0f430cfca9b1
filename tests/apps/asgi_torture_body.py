"""Legal routes of the ASGI torture application about bodies, files and the client's absence."""

import asyncio
import os
import tempfile
from typing import IO

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
    reply,
    reply_json,
    start,
)

BLOCK = 64 * 1024
BODY = "http.response.body"


async def whole(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """`n` bytes in one piece."""
    await reply(send, b"w" * int(query["n"]))


async def echo(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """The request body in one piece."""
    await reply(send, await body_of(receive))


async def echo_pieces(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Each piece of the body is sent back before the next one is asked for."""
    await send(start())
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            STATE.count(f"disconnect {query.get('key', 'echo')}")
            return
        more = message.get("more_body", False)
        await send({"type": BODY, "body": message.get("body", b""), "more_body": True})
    await send({"type": BODY})


async def ignore_body(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Answer without a look at the body."""
    await reply(send, b"ignored\n")


async def stream(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """`n` bytes in pieces of `piece`; `length` states the size."""
    size = int(query["n"])
    step = int(query.get("piece", BLOCK))
    headers = list(PLAIN)
    if "length" in query:
        headers.append((b"content-length", b"%d" % size))
    await send(start(headers=headers))
    sent = 0
    while sent < size:
        piece = b"s" * min(step, size - sent)
        sent += len(piece)
        await send({"type": BODY, "body": piece, "more_body": sent < size or "late" in query})
    if not size or "late" in query:
        await send({"type": BODY})


async def empty_pieces(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Empty pieces must not end a chunked body."""
    await send(start())
    for piece in (b"", b"a", b"", b"", b"b", b""):
        await send({"type": BODY, "body": piece, "more_body": True})
    await send({"type": BODY, "body": b""})


async def two_step(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """The second piece is made only after another request opened the gate `key`."""
    await send(start())
    await send({"type": BODY, "body": b"first\n", "more_body": True})
    later = b"second\n" if await opened(query["key"]) else b"nobody opened\n"
    await send({"type": BODY, "body": later})


async def flood(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Pieces without an end; `pieces KEY` counts those that send() took, `stopped KEY` the end.

    Nothing but send() is asked: it has to wait for the client, and to raise when it is gone.
    """
    key = query["key"]
    await send(start())
    piece = b"f" * int(query.get("piece", BLOCK))
    try:
        while True:
            await send({"type": BODY, "body": piece, "more_body": True})
            STATE.count(f"pieces {key}")
    except OSError as error:
        STATE.count(f"raised {isinstance(error, OSError)} {key}")
    finally:
        STATE.count(f"stopped {key}")


async def events(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """A line every 20 ms until the client is gone, which receive() tells: `stopped KEY`."""
    key = query["key"]
    await send(start())

    async def produce() -> None:
        while True:
            await send({"type": BODY, "body": b"event\n", "more_body": True})
            await asyncio.sleep(0.02)

    producer = asyncio.ensure_future(produce())
    try:
        while (await receive())["type"] != "http.disconnect":
            STATE.count(f"messages {key}")
    finally:
        producer.cancel()
        STATE.count(f"stopped {key}")


async def wait_disconnect(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Answer nothing, wait for the client to leave: `entered KEY`, then `disconnect KEY`.

    With `send` it tries to answer after that, which raises OSError or is ignored.
    """
    key = query["key"]
    await body_of(receive)
    STATE.count(f"entered {key}")
    message = await receive()
    STATE.count(f"{message['type'].removeprefix('http.')} {key}")
    if "send" in query:
        try:
            await reply(send, b"too late")
            STATE.count(f"ignored {key}")
        except OSError:
            STATE.count(f"raised OSError {key}")


async def receive_after_end(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """After the complete response receive() says at once that it is over, as often as asked."""
    await reply(send, b"over\n")
    for _ in range(2):
        message = await receive()
        STATE.count(f"{message['type']} {query['key']}")


async def concurrent_receive(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """A task waits in receive() while the response is sent: Starlette's streaming does that."""

    async def listen() -> str:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return "disconnect"

    listener = asyncio.ensure_future(listen())
    await send(start())
    for number in range(5):
        await send({"type": BODY, "body": b"%d," % number, "more_body": True})
        await asyncio.sleep(0.001)
    await send({"type": BODY, "body": b"end"})
    found = await asyncio.wait_for(listener, 10)
    STATE.count(f"{found} {query['key']}")


def _file(size: int) -> IO[bytes]:
    """A temporary file of `size` bytes of which no two neighbours are alike."""
    file = tempfile.NamedTemporaryFile(prefix="asgi-torture-", delete=False)  # noqa: SIM115
    block = bytes(range(256)) * 4096
    for at in range(0, size, len(block)):
        file.write(block[: size - at])
    file.flush()
    return file


async def pathsend(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """A file by its name; `length` states its size."""
    size = int(query["n"])
    headers = list(PLAIN)
    if "length" in query:
        headers.append((b"content-length", b"%d" % size))
    with _file(size) as file:
        try:
            await send(start(headers=headers))
            await send({"type": "http.response.pathsend", "path": file.name})
        finally:
            os.unlink(file.name)


async def zerocopy(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """Two ranges of a file by its descriptor, with ordinary bytes between them and behind."""
    size = int(query["n"])
    kind = "http.response.zerocopysend"
    with _file(size) as file:
        os.unlink(file.name)
        number = file.fileno()
        await send(start())
        half = {"type": kind, "file": number, "offset": 0, "count": size // 2, "more_body": True}
        await send(half)
        await send({"type": BODY, "body": b"between", "more_body": True})
        os.lseek(number, size // 2, os.SEEK_SET)
        await send({"type": kind, "file": number, "more_body": True})
        await send({"type": BODY, "body": b"behind"})


async def extensions(scope: Scope, receive: Receive, send: Send, query: Query) -> None:
    """The names of the extensions the server offers."""
    await reply_json(send, sorted(scope.get("extensions") or {}))


BODIES: dict[str, Route] = {
    "whole": whole,
    "echo": echo,
    "echo-pieces": echo_pieces,
    "ignore-body": ignore_body,
    "stream": stream,
    "empty-pieces": empty_pieces,
    "two-step": two_step,
    "flood": flood,
    "events": events,
    "wait-disconnect": wait_disconnect,
    "receive-after-end": receive_after_end,
    "concurrent-receive": concurrent_receive,
    "pathsend": pathsend,
    "zerocopy": zerocopy,
    "extensions": extensions,
}
