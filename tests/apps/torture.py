"""A WSGI application with one path for each corner of PEP 3333: `tests.apps.torture:app`.

`/NAME` is the legal route NAME inside `wsgiref.validate.validator`; `/raw/NAME` the same route
bare (the validator hides the file wrapper and forbids `read()` without a size); `/bad/NAME`
breaks the rules on purpose. `NAME` may be followed by more path, which the route ignores.
"""

import hashlib
import json
import sys
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.validate import validator

from .torture_bad import BAD
from .torture_files import FILES
from .torture_state import PLAIN, STATE, WAIT_SECONDS, Counted, Query, Route, query_of, reply

MAX_SECONDS = 60.0
BLOCK = 64 * 1024


def hello(environ: WSGIEnvironment, start_response: StartResponse, query: Query) -> Iterable[bytes]:
    """The ordinary response."""
    return reply(start_response, b"hello\n")


def whole(environ: WSGIEnvironment, start_response: StartResponse, query: Query) -> Iterable[bytes]:
    """`n` bytes in one piece."""
    return reply(start_response, b"w" * int(query["n"]))


def write(environ: WSGIEnvironment, start_response: StartResponse, query: Query) -> Iterable[bytes]:
    """All through write(), with nothing to iterate."""
    send = start_response("200 OK", PLAIN)
    send(b"one,")
    send(b"")
    send(b"two")
    return []


def write_then_iterate(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """The written bytes come before the iterated ones."""
    send = start_response("200 OK", PLAIN)
    send(b"written,")
    return [b"iterated,", b"twice"]


def exc_info_before(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """Change one's mind before anything was sent: the second head replaces the first."""
    start_response("200 OK", [*PLAIN, ("X-First", "1")])
    try:
        raise ValueError("changed my mind")
    except ValueError:
        start_response("503 Service Unavailable", PLAIN, sys.exc_info())
    return [b"replaced"]


def lazy_start(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterator[bytes]:
    """start_response is called only when the first piece is asked for."""
    start_response("200 OK", PLAIN)
    yield b"lazy,"
    yield b"done"


def two_step(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """The second piece is made only after another request opened the gate `key`."""
    start_response("200 OK", PLAIN)

    def pieces() -> Iterator[bytes]:
        yield b"first\n"
        opened = STATE.gate(query["key"]).wait(WAIT_SECONDS)
        yield b"second\n" if opened else b"nobody opened\n"

    return pieces()


def two_step_write(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """The same through write(): PEP 3333 wants each write passed on before it returns."""
    send = start_response("200 OK", PLAIN)
    send(b"first\n")
    opened = STATE.gate(query["key"]).wait(WAIT_SECONDS)
    send(b"second\n" if opened else b"nobody opened\n")
    return []


def meet(environ: WSGIEnvironment, start_response: StartResponse, query: Query) -> Iterable[bytes]:
    """Answer only when `n` requests are in here at once; all know the meeting by `key`."""
    gate = STATE.gate(query["key"])
    if STATE.count(f"met {query['key']}") >= int(query["n"]):
        gate.set()
    return reply(start_response, b"met\n" if gate.wait(WAIT_SECONDS) else b"alone\n")


def release(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """Open the gate `key`."""
    STATE.gate(query["key"]).set()
    return reply(start_response, b"released\n")


def counted(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """`n` pieces of `size` bytes; its close() is counted under `key`."""
    start_response("200 OK", PLAIN)
    piece = b"c" * int(query.get("size", "1000"))
    return Counted(query["key"], iter([piece] * int(query["n"])))


def endless(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """Pieces until the client goes away; its close() is counted under `key`."""
    start_response("200 OK", PLAIN)

    def pieces() -> Iterator[bytes]:
        started = time.monotonic()
        while time.monotonic() - started < MAX_SECONDS:
            yield b"e" * BLOCK
        STATE.count(f"never stopped {query['key']}")

    return Counted(query["key"], pieces())


def raises_mid_body(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """An exception after the first piece; close() is counted under `key` all the same."""
    start_response("200 OK", PLAIN)

    def pieces() -> Iterator[bytes]:
        yield b"first"
        raise RuntimeError("torture: raised in the middle of the body")

    return Counted(query["key"], pieces())


def empty(environ: WSGIEnvironment, start_response: StartResponse, query: Query) -> Iterable[bytes]:
    """No pieces at all, no length stated."""
    start_response("200 OK", PLAIN)
    return []


def empty_pieces(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """Empty pieces must not end a chunked body."""
    start_response("200 OK", PLAIN)
    return iter([b"", b"a", b"", b"", b"b", b""])


def echo(environ: WSGIEnvironment, start_response: StartResponse, query: Query) -> Iterable[bytes]:
    """The request body, read as `how` says in steps of `size`."""
    source = environ["wsgi.input"]
    size = int(query.get("size", "100"))
    how = query.get("how", "sized")
    parts: list[bytes] = []
    if how == "read":
        parts = [source.read()]
    elif how == "minus":
        parts = [source.read(-1)]
    elif how == "sized":
        parts = list(iter(lambda: source.read(size), b""))
    elif how == "readline":
        parts = list(iter(source.readline, b""))
    elif how == "readline-sized":
        parts = list(iter(lambda: source.readline(size), b""))
    elif how == "readlines":
        parts = source.readlines()
    elif how == "readlines-hint":
        parts = [line for lines in iter(lambda: source.readlines(size), []) for line in lines]
    elif how == "iter":
        parts = list(source)
    elif how == "partial":
        parts = [source.read(size)]
    # Once at the end, every way of reading says so and goes on saying so.
    after = b"" if how == "partial" else source.read(1) + source.readline()
    body = b"".join(parts)
    return reply(start_response, body + after, extra=(("X-Parts", str(len(parts))),))


def upload(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """Size and SHA-256 of the body as JSON; what reading raised is counted under `key`."""
    key = query.get("key", "upload")
    digest = hashlib.sha256()
    size = 0
    STATE.count(f"entered {key}")
    try:
        while block := environ["wsgi.input"].read(BLOCK):
            digest.update(block)
            size += len(block)
    except OSError as error:
        STATE.count(f"raised {type(error).__name__} {key}")
        raise
    STATE.count(f"complete {key}")
    text = json.dumps({"size": size, "sha256": digest.hexdigest()})
    return reply(start_response, text.encode(), kind="application/json")


def environ_dump(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """The environ as JSON: CGI variables, the others' repr, and what has the wrong type."""
    wrong = [] if type(environ) is dict else [f"environ is a {type(environ)}"]
    cgi: dict[str, str] = {}
    others: dict[str, str] = {}
    for key, value in environ.items():
        if type(key) is not str:
            wrong.append(f"key {key!r}")
        elif "." in key:
            others[key] = repr(value)
        elif type(value) is not str:
            wrong.append(f"{key} is a {type(value).__name__}")
        else:
            value.encode("latin-1")
            cgi[key] = value
    text = json.dumps({"cgi": cgi, "others": others, "wrong": wrong})
    return reply(start_response, text.encode(), kind="application/json")


def hints(environ: WSGIEnvironment, start_response: StartResponse, query: Query) -> Iterable[bytes]:
    """Two interim responses before the final one."""
    environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
    environ["wsgi.early_hints"]([("Link", "</b.css>; rel=preload"), ("X-Hint", "2")])
    return reply(start_response, b"hinted")


def download(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """`n` bytes from a generator in pieces of `piece`; `length` states the size."""
    size = int(query["n"])
    piece = b"d" * int(query.get("piece", BLOCK))
    headers = list(PLAIN)
    if "length" in query:
        headers.append(("Content-Length", str(size)))
    start_response("200 OK", headers)

    def pieces() -> Iterator[bytes]:
        left = size
        while left > 0:
            yield piece if left >= len(piece) else piece[:left]
            left -= len(piece)

    return pieces()


def nonce(environ: WSGIEnvironment, start_response: StartResponse, query: Query) -> Iterable[bytes]:
    """Query, header and body of the request in the response, after some uneven work.

    How the body is sent (whole, pieces, write) follows from the nonce, so that all are mixed.
    """
    mine = query["nonce"]
    header = environ.get("HTTP_X_NONCE", "")
    body = environ["wsgi.input"].read(1 << 16)
    chance = zlib.crc32(mine.encode())
    if chance % 5 == 0:
        time.sleep((chance >> 8) % 4 / 1000)
    elif chance % 5 == 1:
        sum(range((chance >> 8) % 20_000))
    text = b"|".join([mine.encode(), header.encode("latin-1"), body, mine.encode()])
    extra = ("X-Nonce", header)
    if chance % 3 == 0:
        return reply(start_response, text, extra=(extra,))
    if chance % 3 == 1:
        start_response("200 OK", [*PLAIN, extra])
        return (text[at : at + 7] for at in range(0, len(text), 7))
    start_response("200 OK", [*PLAIN, extra])(text[:5])
    return [text[5:]]


def cookies(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """Repeated fields, a date and a server name of the application's own."""
    extra = (
        ("Set-Cookie", "a=1; Path=/"),
        ("Set-Cookie", "b=2, c"),
        ("Server", "mine"),
        ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"),
    )
    return reply(start_response, b"cookies", extra=extra)


def sleep(environ: WSGIEnvironment, start_response: StartResponse, query: Query) -> Iterable[bytes]:
    """Hold the thread for `ms` milliseconds."""
    time.sleep(min(int(query["ms"]) / 1000, MAX_SECONDS))
    return reply(start_response, b"slept\n")


def status(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """A response with this `code`, which has no body."""
    start_response({"204": "204 No Content", "304": "304 Not Modified"}[query["code"]], [])
    return []


def thread(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """The native id of the thread that runs this."""
    return reply(start_response, str(threading.get_native_id()).encode())


def counts(
    environ: WSGIEnvironment, start_response: StartResponse, query: Query
) -> Iterable[bytes]:
    """All counters as JSON."""
    return reply(start_response, json.dumps(STATE.counts()).encode(), kind="application/json")


LEGAL: dict[str, Route] = {
    "hello": hello,
    "whole": whole,
    "write": write,
    "write-then-iterate": write_then_iterate,
    "exc-info-before": exc_info_before,
    "lazy-start": lazy_start,
    "two-step": two_step,
    "two-step-write": two_step_write,
    "release": release,
    "meet": meet,
    "counted": counted,
    "endless": endless,
    "raises-mid-body": raises_mid_body,
    "empty": empty,
    "empty-pieces": empty_pieces,
    "echo": echo,
    "upload": upload,
    "environ": environ_dump,
    "hints": hints,
    "download": download,
    "nonce": nonce,
    "cookies": cookies,
    "sleep": sleep,
    "status": status,
    "thread": thread,
    "counts": counts,
    **FILES,
}


def _legal(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Run a legal route."""
    name = environ["PATH_INFO"].removeprefix("/raw").split("/")[1]
    route = LEGAL.get(name)
    if route is None:
        return reply(start_response, b"no such route\n", "404 Not Found")
    return route(environ, start_response, query_of(environ))


_validated = validator(_legal)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Pick the world by the first segment; anything that is no path (`*`) is dumped."""
    path = environ["PATH_INFO"]
    if not path.startswith("/"):
        return environ_dump(environ, start_response, {})
    first, _, rest = path[1:].partition("/")
    if first == "bad":
        return BAD[rest](environ, start_response, query_of(environ))
    if first == "raw":
        return _legal(environ, start_response)
    return _validated(environ, start_response)
