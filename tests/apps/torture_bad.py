"""Routes that break PEP 3333 or HTTP on purpose, and those that raise.

The server must answer each with a 500, or close the connection once bytes are out, log which
rule was broken, and go on serving.
"""

import sys
from collections.abc import Iterable, Iterator
from typing import Any, cast
from wsgiref.types import StartResponse, WSGIEnvironment

from .torture_state import PLAIN, STATE, Query, Route


def no_start(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """A body without a head."""
    return [b"no head"]


def no_start_empty(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """Neither a head nor a body."""
    return []


def double_start(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """Two heads without exc_info."""
    start_response("200 OK", PLAIN)
    start_response("200 OK", PLAIN)
    return [b"twice"]


def status(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """The status line `value`, whatever it is."""
    start_response(query["value"], PLAIN)
    return [b"body"]


def header(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """The header `name` with `value`, whatever they are."""
    start_response("200 OK", [*PLAIN, (query["name"], query["value"])])
    return [b"body"]


WRONG_TYPES: dict[str, tuple[Any, Any]] = {
    "status-bytes": (b"200 OK", PLAIN),
    "status-int": (200, PLAIN),
    "status-none": (None, PLAIN),
    "name-bytes": ("200 OK", [(b"X-A", "b")]),
    "value-bytes": ("200 OK", [("X-A", b"b")]),
    "value-int": ("200 OK", [("Content-Length", 4)]),
    "value-none": ("200 OK", [("X-A", None)]),
    "value-unicode": ("200 OK", [("X-A", "\u2603")]),
    "name-unicode": ("200 OK", [("X-\u2603", "b")]),
    "value-surrogate": ("200 OK", [("X-A", "\udc80")]),
    "status-unicode": ("200 \u2603", PLAIN),
    "triple": ("200 OK", [("X-A", "b", "c")]),
    "single": ("200 OK", ["X-A"]),
    "two-lengths": ("200 OK", [("Content-Length", "4"), ("Content-Length", "5")]),
    "headers-none": ("200 OK", None),
    "headers-dict": ("200 OK", {"X-A": "b"}),
}


def wrong_type(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """A head of the wrong types: `case` of WRONG_TYPES."""
    status_line, headers = WRONG_TYPES[query["case"]]
    start_response(status_line, headers)
    return [b"body"]


def length(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """Content-Length `says`, but `sends` bytes in pieces of `piece` (0: all at once)."""
    start_response("200 OK", [*PLAIN, ("Content-Length", query["says"])])
    body = b"0123456789" * (int(query["sends"]) // 10 + 1)
    body = body[: int(query["sends"])]
    piece = int(query.get("piece", "0")) or max(len(body), 1)
    return [body[at : at + piece] for at in range(0, len(body), piece)]


def length_write(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """Content-Length `says`, but write() is given `sends` bytes."""
    send = start_response("200 OK", [*PLAIN, ("Content-Length", query["says"])])
    send(b"x" * int(query["sends"]))
    return []


def text_body(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """Text where bytes belong: alone, after bytes, or bare."""
    start_response("200 OK", PLAIN)
    bodies: dict[str, Any] = {
        "only": ["text"],
        "mixed": [b"bytes", "text"],
        "mixed-later": iter([b"bytes", "text"]),
        "bare": "text",
        "bytearray": [bytearray(b"text")],
        "int": [1],
        "none": None,
        "number": 7,
    }
    return cast(Iterable[bytes], bodies[query["case"]])


def text_write(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """Text given to write()."""
    start_response("200 OK", PLAIN)(cast(bytes, "text"))
    return []


def raise_before(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """An exception before anything else."""
    raise RuntimeError("torture: raised before the head " + query.get("mark", ""))


def raise_after_start(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """An exception when the head is given but nothing was sent: still a clean 500."""
    start_response("200 OK", PLAIN)
    raise RuntimeError("torture: raised after start_response")


def raise_first_piece(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterator[bytes]:
    """An exception in the iterator before its first piece: still a clean 500."""
    start_response("200 OK", PLAIN)
    if query.get("never") is None:
        raise RuntimeError("torture: raised before the first piece")
    yield b"never"


def raise_mid_length(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterator[bytes]:
    """An exception half-way through a body of stated length."""
    start_response("200 OK", [*PLAIN, ("Content-Length", "10")])
    yield b"01234"
    raise RuntimeError("torture: raised half-way")


def raise_after_write(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """An exception after write()."""
    start_response("200 OK", PLAIN)(b"written")
    raise RuntimeError("torture: raised after write")


def raise_exit(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """What ends a program must not end the server."""
    kinds: dict[str, BaseException] = {
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
        "generator": GeneratorExit(),
        "stop": StopIteration(),
        "memory": MemoryError("torture"),
        "recursion": RecursionError("torture"),
        "unprintable": _Unprintable(),
    }
    raise kinds[query["case"]]


class _Unprintable(Exception):
    """Logging it raises."""

    def __str__(self) -> str:
        raise RuntimeError("torture: cannot be printed")

    __repr__ = __str__


def exc_info_after(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterator[bytes]:
    """exc_info after bytes were sent: start_response must raise it again."""
    start_response("200 OK", PLAIN)
    yield b"sent,"
    try:
        raise ValueError("torture: too late")
    except ValueError:
        try:
            start_response("500 Too late", PLAIN, sys.exc_info())
        except ValueError:
            STATE.count("exc_info raised again")
            raise
    yield b"not raised again"


class _CloseRaises:
    """An iterable whose close() raises. Owner: its request."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"fine"])

    def close(self) -> None:
        STATE.count("close raised")
        raise RuntimeError("torture: close() raised")


def close_raises(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """A complete body, then close() raises."""
    start_response("200 OK", [*PLAIN, ("Content-Length", "4")])
    return _CloseRaises()


def body_on(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """A body where the `status` has none; never passed on, for it would be read as a response."""
    start_response(query["status"], [])
    return [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nSPLIT"]


def early_hints(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """An interim response that would split the connection."""
    environ["wsgi.early_hints"]([("Link", "</a>\r\nX-Split: 1")])
    start_response("200 OK", PLAIN)
    return [b"hinted"]


BAD: dict[str, Route] = {
    "no-start": no_start,
    "no-start-empty": no_start_empty,
    "double-start": double_start,
    "status": status,
    "header": header,
    "wrong-type": wrong_type,
    "length": length,
    "length-write": length_write,
    "text-body": text_body,
    "text-write": text_write,
    "raise-before": raise_before,
    "raise-after-start": raise_after_start,
    "raise-first-piece": raise_first_piece,
    "raise-mid-length": raise_mid_length,
    "raise-after-write": raise_after_write,
    "raise-exit": raise_exit,
    "exc-info-after": exc_info_after,
    "close-raises": close_raises,
    "body-on": body_on,
    "early-hints": early_hints,
}
