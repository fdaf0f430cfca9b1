"""A WSGI and an ASGI application whose every answer can be checked against its request."""

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

__all__ = ["BLOCK", "application", "asgi", "block", "meeting"]

Environ = dict[str, Any]
Start = Callable[..., Any]

BLOCK: Final = 8192
SECONDS: Final = 20.0


def block(nonce: str, number: int) -> bytes:
    """One piece of a body that belongs to one request and one place in it."""
    seed = f"{nonce}:{number}:".encode()
    return (seed * (BLOCK // len(seed) + 1))[:BLOCK]


class Meeting:
    """Requests that wait until so many are inside: proves that every thread still works."""

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count)


meetings: dict[int, Meeting] = {}
meetings_lock = threading.Lock()


def meeting(count: int) -> threading.Barrier:
    """The barrier for that many requests."""
    with meetings_lock:
        return meetings.setdefault(count, Meeting(count)).barrier


def application(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """/KIND/NONCE/NUMBER"""
    kind, nonce, number = environ["PATH_INFO"][1:].split("/")
    amount = int(number)
    if kind == "upload":
        body = environ["wsgi.input"].read()
        answer = f"{nonce} {len(body)} {hashlib.sha256(body).hexdigest()}"
        return whole(start_response, nonce, answer.encode())
    if kind == "ignore":  # leaves the request's body unread
        return whole(start_response, nonce, nonce.encode())
    if kind == "stream":
        start_response("200 OK", [("X-Nonce", nonce)])
        return (block(nonce, n) for n in range(amount))
    if kind == "trickle":
        start_response("200 OK", [("X-Nonce", nonce)])
        return trickle(nonce, amount)
    if kind == "big":
        return whole(start_response, nonce, b"".join(block(nonce, n) for n in range(amount)))
    if kind == "slow":
        time.sleep(amount / 1000)
    elif kind == "cpu":
        for _ in range(amount):
            hashlib.sha256(b"x" * 1000).digest()
    elif kind == "meet":
        meeting(amount).wait(SECONDS)
    elif kind == "error":
        raise RuntimeError("on purpose")
    elif kind == "broken":
        start_response("200 OK", [("X-Nonce", nonce), ("Content-Length", "1000")])
        return [nonce.encode()]
    return whole(start_response, nonce, nonce.encode())


def whole(start_response: Start, nonce: str, body: bytes) -> list[bytes]:
    """An answer with its length."""
    start_response("200 OK", [("X-Nonce", nonce), ("Content-Length", str(len(body)))])
    return [body]


def trickle(nonce: str, amount: int) -> Iterator[bytes]:
    """Pieces with pauses in between."""
    for number in range(amount):
        yield block(nonce, number)
        time.sleep(0.001)


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The same with ASGI, and an echo for WebSocket connections."""
    if scope["type"] == "websocket":
        await echo(receive, send)
    elif scope["type"] == "http":
        kind, nonce, number = scope["path"][1:].split("/")
        await answer(kind, nonce, int(number), receive, send)


async def answer(kind: str, nonce: str, amount: int, receive: Any, send: Any) -> None:
    """One response."""
    pieces = amount if kind in ("stream", "trickle", "big") else 0
    body = nonce.encode()
    if kind == "upload":
        received = await read(receive)
        body = f"{nonce} {len(received)} {hashlib.sha256(received).hexdigest()}".encode()
    elif kind == "big":
        pieces, body = 0, b"".join(block(nonce, n) for n in range(amount))
    elif kind == "slow":
        await asyncio.sleep(amount / 1000)
    elif kind == "cpu":
        for _ in range(amount):
            hashlib.sha256(b"x" * 1000).digest()
    elif kind == "error":
        raise RuntimeError("on purpose")
    fields = [(b"x-nonce", nonce.encode())]
    if kind not in ("stream", "trickle"):
        length = 1000 if kind == "broken" else len(body)
        fields.append((b"content-length", b"%d" % length))
    else:
        body = b""
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    for place in range(pieces):
        piece = {"type": "http.response.body", "body": block(nonce, place), "more_body": True}
        await send(piece)
        if kind == "trickle":
            await asyncio.sleep(0.001)
    await send({"type": "http.response.body", "body": body})


async def read(receive: Any) -> bytes:
    """The body; empty where the client has left."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces)


async def echo(receive: Any, send: Any) -> None:
    """What comes goes back."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        if text is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})
