"""llhttp, which Node.js, uvicorn and many proxies read with, sees the requests that we see.

Where it would see another request in the same bytes, one of the two could be led past the other
(request smuggling). So whatever we accept it reads in the same way, or refuses; the rest is refused
by us. What differs all the same is in `DIFFERENT`, with the reason why that is no danger.
"""

from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.corpus import Case, load
from tests.protocols.http1.replay import Outcome, replay
from tests.protocols.http1.strategies import chunked_bodies, heads, mutated, ordinary_heads

httptools = pytest.importorskip("httptools", reason="it has no wheel for this interpreter")

Message = tuple[str, str, bytes]
"""Method, target, body."""

DIFFERENT: Final[dict[str, str]] = {}
"""Cases of the corpus that llhttp reads in another way, and why that may be."""


class Reader:
    """What llhttp makes of some bytes."""

    def __init__(self, data: bytes) -> None:
        self.messages: list[Message] = []
        self.ended = False
        """It refused something, or left HTTP: what follows it does not read as requests."""
        self._url = b""
        self._body = b""
        self._parser = httptools.HttpRequestParser(self)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.ended = True

    def on_message_begin(self) -> None:
        """A request begins."""
        self._url = self._body = b""

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._url += url

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """A request is complete."""
        if not self._parser.should_keep_alive():
            self.ended = True
        method = self._parser.get_method().decode("latin-1")
        self.messages.append((method, self._url.decode("latin-1"), self._body))


def difference(data: bytes, outcome: Outcome) -> str:
    """How llhttp and we differ about the requests in `data`, "" if in nothing that matters."""
    ours = [(r.request.method, r.request.target, r.body) for r in outcome.received]
    reader = Reader(data)
    for number, message in enumerate(ours):
        if number >= len(reader.messages):
            return "" if reader.ended else f"request {number} is not there for llhttp: {message}"
        if message != reader.messages[number]:
            return f"request {number} is {message} for us, {reader.messages[number]} for llhttp"
    if outcome.status is None and not outcome.closed and len(reader.messages) > len(ours):
        return f"llhttp sees a further request: {reader.messages[len(ours)]}"
    return ""


@pytest.mark.parametrize("case", load("http1"), ids=lambda case: case.name)
def test_corpus(case: Case) -> None:
    """Each case is read alike, refused by us, or explained."""
    found = difference(case.sent, replay([case.sent]))
    assert bool(found) == (case.name in DIFFERENT), found


def test_differences_are_found() -> None:
    """Another request, one more and one fewer are each told."""
    two = replay([NEXT * 2])
    assert "for us" in difference(NEXT.replace(b"next", b"text"), two)
    assert "is not there" in difference(NEXT, two)
    assert "further" in difference(NEXT * 3, two)
    assert not difference(NEXT * 2, two)


POST = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
BYTES = st.lists(
    st.sampled_from(
        b"GET / HTTP/1.1\r\n|POST /p HTTP/1.1\r\n|Host: a\r\n|Content-Length: 3\r\n|"
        b"Transfer-Encoding: chunked\r\n|\r\n|\n|\r|abc|0\r\n\r\n|3\r\nabc\r\n|:| |\t|,|;|\x00|"
        b"Connection: close\r\n|X: y\r\n| z\r\n|HTTP/1.0\r\n|chunked|identity|+3|0x3|\x0b".split(
            b"|"
        )
    )
    | st.binary(max_size=2),
    max_size=14,
).map(b"".join)
"""Pieces of requests put together without sense, and bytes in between."""


@settings(max_examples=1500, deadline=None)
@given(
    st.one_of(
        BYTES,
        mutated(st.builds(lambda *parts: b"".join(parts), heads(), ordinary_heads())),
        mutated(chunked_bodies()).map(lambda body: POST + body + NEXT),
        BYTES.map(lambda body: POST + body + NEXT),
    )
)
@example(POST + b"0\r\n\r\n" + NEXT)
def test_any_bytes(data: bytes) -> None:
    """The same for whatever is generated."""
    assert not (found := difference(data, replay([data] if data else []))), found
