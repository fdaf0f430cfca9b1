"""A WSGI application whose every answer can be checked against its request."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

__all__ = ["BLOCK", "application", "block", "meeting"]

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
