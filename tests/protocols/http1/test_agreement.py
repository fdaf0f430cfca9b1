"""The two paths agree with each other and with h11, whatever is sent and however it is cut."""

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nogilserve.errors import ProtocolError
from nogilserve.messages import HeaderSection, Limits, Request
from nogilserve.protocols.http1 import Tables, fast, full
from nogilserve.protocols.http1.chunked import ChunkedDecoder
from tests.corpus import load
from tests.protocols.http1.replay import fields, replay
from tests.protocols.http1.strategies import (
    chunked_bodies,
    cut,
    heads,
    mutated,
    ordinary_heads,
)

NAMES = Tables().request_names
LIMITS = Limits()
HEADS = st.one_of(heads(), ordinary_heads())


def fast_path(head: bytes, host: str = "") -> Request | None:
    """What the fast path makes of a head, on the conditions that its caller checks."""
    if len(head) - 4 > min(LIMITS.request_line, LIMITS.field_size, LIMITS.head - 4):
        return None
    return fast.parse(head[:-4], NAMES, host, LIMITS.fields)


def full_path(head: bytes) -> Request | None:
    """What the full path makes of it; None: refused."""
    refusal = None
    try:
        return full.parse(head, LIMITS)
    except ProtocolError as error:
        refusal = error
    assert 400 <= refusal.status <= 505
    assert refusal.section
    return None


def up_to_its_end(data: bytes) -> bytes | None:
    """The head at the beginning of `data`, as the connection would cut it out."""
    end = data.find(b"\r\n\r\n")
    return None if end < 0 else data[: end + 4]


def check_agreement(head: bytes) -> None:
    """What the fast path accepts, the full path accepts with the same result."""
    quick = fast_path(head)
    if quick is None:
        return
    thorough = full_path(head)
    assert thorough is not None
    assert fields(quick) == fields(thorough)
    again = fast_path(head, quick.authority)
    assert again is not None
    assert fields(quick) == fields(again)


@settings(max_examples=600, deadline=None)
@given(mutated(HEADS))
def test_fast_and_full_path_agree(data: bytes) -> None:
    """On generated and mutated heads the fast path is a subset of the full path."""
    head = up_to_its_end(data)
    if head is not None:
        check_agreement(head)


@settings(max_examples=600, deadline=None)
@given(mutated(HEADS), ordinary_heads())
def test_a_line_before_a_known_section(data: bytes, other: bytes) -> None:
    """A request line is read before a section that was parsed with another one as it would be
    together with it."""
    head = up_to_its_end(data)
    known = fast_path(other)
    if head is None or known is None or not known.minor:
        return
    line, section = head.partition(b"\r\n")[0], other[other.index(b"\r\n") :]
    quick = fast.parse(line, NAMES, "", LIMITS.fields, HeaderSection(known))
    thorough = fast_path(line + section)
    if quick is not None:
        assert thorough is not None
        assert fields(quick) == fields(thorough)
    else:
        assert thorough is None or not thorough.minor


@settings(max_examples=100, deadline=None)
@given(ordinary_heads())
def test_ordinary_heads_take_the_fast_path(head: bytes) -> None:
    """The fast path recognises ordinary heads unless a value is not plain ASCII."""
    plain = head.isascii() and b"\t" not in head and b"X.Odd" not in head
    assert (fast_path(head) is not None) == plain


def test_both_paths_agree_on_the_corpus() -> None:
    """Every head of the corpus, and that of whatever is pipelined behind it."""
    for case in load("http1"):
        rest = case.sent
        while (head := up_to_its_end(rest)) is not None:
            check_agreement(head)
            rest = rest[len(head) :]


@settings(max_examples=250, deadline=None)
@given(cut(mutated(st.builds(lambda *heads: b"".join(heads), HEADS, HEADS))))
def test_cuts_change_nothing(pieces: list[bytes]) -> None:
    """Messages and errors are the same for every way to cut the input."""
    data = b"".join(pieces)
    whole = replay([data] if data else []).summary()
    assert whole == replay(pieces).summary()
    assert whole == replay([data[i : i + 1] for i in range(len(data))]).summary()


@settings(max_examples=200, deadline=None)
@given(mutated(HEADS))
def test_repetition_changes_nothing(head: bytes) -> None:
    """A head that comes again and again is read the same each time."""
    if head:
        (requests, status, closed) = replay([head]).summary()
        (repeated, status_later, closed_later) = replay([head] * 4).summary()
        assert repeated[: len(requests)] == requests
        if len(requests) == 1 and status is None and not closed and not requests[0][1]:
            assert all(request == requests[0] for request in repeated)
        elif status is not None or closed:
            assert (status, closed) == (status_later, closed_later)


TIGHT = st.builds(
    Limits,
    request_line=st.integers(10, 20),
    fields=st.integers(1, 3),
    field_size=st.integers(10, 20),
    head=st.integers(30, 60),
)


@settings(max_examples=300, deadline=None)
@given(mutated(HEADS), TIGHT)
def test_cuts_change_nothing_near_the_limits(data: bytes, limits: Limits) -> None:
    """Where a limit and a mistake meet, the leftmost decides, for every way to cut the input."""
    whole = replay([data] if data else [], limits=limits).summary()
    assert whole == replay([data[i : i + 1] for i in range(len(data))], limits=limits).summary()


@pytest.mark.parametrize(
    "end", [b"\r\r\n", b"\rX\r\n", b"\r\n", b"\n", b"X\r\n", b"\x00\r\n", b"\r\x00"]
)
def test_line_ends_at_the_limits(end: bytes) -> None:
    """The same, with every kind of line end at every distance from every limit."""
    for tight in (
        Limits(request_line=18),
        Limits(field_size=18),
        Limits(head=38),
        Limits(fields=1),
    ):
        for size in range(24):
            for data in (
                b"GET /%b%b\r\n\r\n" % (b"a" * size, end),
                b"GET /a HTTP/1.1\r\nHost: %b%b\r\n\r\n" % (b"a" * size, end),
                b"GET /a HTTP/1.1\r\nHost: a\r\nX%b%b\r\n\r\n" % (b":" * size, end),
            ):
                whole = replay([data], limits=tight).summary()
                pieces = [data[i : i + 1] for i in range(len(data))]
                assert whole == replay(pieces, limits=tight).summary(), data


@settings(max_examples=400, deadline=None)
@given(mutated(HEADS))
def test_h11_accepts_what_we_accept(data: bytes) -> None:
    """h11 is the judge: it reads every accepted request the same way."""
    for received in replay([data]).received:
        request = received.request
        if request.body:
            continue
        judge = h11.Connection(h11.SERVER)
        judge.receive_data(data.lstrip(b"\r\n"))
        event = judge.next_event()
        assert isinstance(event, h11.Request)
        assert request.method.encode("latin-1") == event.method
        assert request.target.encode("latin-1") == event.target
        if "://" not in request.target:
            headers = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in request.headers]
            assert headers == list(event.headers)
        break


def decode_by_h11(body: bytes) -> tuple[bytes, list[tuple[str, str]], bytes] | None:
    """Content, trailers and what stands behind, as h11 reads a chunked body; None: refused."""
    judge = h11.Connection(h11.SERVER)
    judge.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    content = b""
    try:
        while True:
            event = judge.next_event()
            if isinstance(event, h11.Data):
                content += event.data
            elif isinstance(event, h11.EndOfMessage):
                trailers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in event.headers]
                return content, trailers, judge.trailing_data[0]
            elif not isinstance(event, h11.Request):
                return None
    except h11.RemoteProtocolError:
        return None


@settings(max_examples=500, deadline=None)
@given(mutated(chunked_bodies()))
def test_h11_decodes_what_we_decode(body: bytes) -> None:
    """What the chunk decoder accepts, h11 accepts with the same content and trailers."""
    decoder = ChunkedDecoder(LIMITS)
    try:
        content, used = decoder.decode(body, 0)
    except ProtocolError:
        return
    if decoder.complete:
        assert decode_by_h11(body) == (content, decoder.trailers, body[used:])


@settings(max_examples=300, deadline=None)
@given(cut(mutated(chunked_bodies())))
def test_cuts_of_a_chunked_body_change_nothing(pieces: list[bytes]) -> None:
    """A chunked body decodes the same for every way to cut it."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    data = b"".join(pieces)
    whole = replay([head + data]).summary()
    assert whole == replay([head, *pieces]).summary()
    assert whole == replay([head, *(data[i : i + 1] for i in range(len(data)))]).summary()
