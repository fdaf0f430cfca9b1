"""Response heads that were made before: nothing but the time may show that they are kept."""

import contextlib
import threading

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nogilserve.errors import ResponseError
from nogilserve.messages import Headers, Limits
from nogilserve.protocols.http1 import Http1Connection, Tables
from nogilserve.protocols.http1.tables import KnownHead
from tests.protocols.http1.replay import COMMON

TEXT: Headers = [("Content-Type", "text/plain")]
REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
]
FIELDS: list[Headers] = [
    [],
    TEXT,
    [("Content-Type", "text/html"), ("Vary", "Cookie")],
    [("Content-Type", "text/plain"), ("Content-Length", "2")],
    [("Date", "Sun, 06 Nov 1994 08:49:37 GMT")],
    [("X-Own", "é")],
    [("X-Bad", "a\r\nb")],
]

type Answer = tuple[bytes, str, Headers, bytes, bool]

ANSWERS = st.tuples(
    st.sampled_from(REQUESTS),
    st.sampled_from(["200 OK", "404 Not Found", "204 No Content", "299 Odd", "1000 X"]),
    st.sampled_from(FIELDS),
    st.sampled_from([b"", b"hi", b"hello", b"x" * 300]),
    st.booleans(),
)


def answered(tables: Tables, answer: Answer, head: KnownHead | None = None) -> bytes | str:
    """The bytes of an answer, or what is said against it; `head` is prepared, if there is one."""
    request, status, fields, body, at_once = answer
    connection = Http1Connection(Limits(), tables)
    connection.receive_data(request)
    assert connection.next_request() is not None
    try:
        if head is None:
            connection.prepare(status, list(fields))
        else:
            connection.prepare_known(head)
        declared = connection.declared_length
        if at_once:
            data = connection.whole(body, COMMON)
        else:
            data = connection.head(None, COMMON) + connection.data(body) + connection.end()
    except ResponseError as error:
        return str(error)
    return b"%r %r %b" % (declared, connection.next_cycle(), data)


@settings(max_examples=200, deadline=None)
@given(st.lists(ANSWERS, max_size=12).map(lambda answers: answers * 3))
@example([(REQUESTS[0], "200 OK", TEXT, body, True) for body in (b"hi", b"hi", b"hi", b"hello")])
def test_answers_are_the_same(answers: list[Answer]) -> None:
    """Whatever was answered before, an answer is that of a server that has just started."""
    tables = Tables()
    for answer in answers:
        assert answered(tables, answer) == answered(Tables(), answer)


@settings(max_examples=200, deadline=None)
@given(ANSWERS, st.lists(ANSWERS, max_size=4))
@example((REQUESTS[0], "200 OK", TEXT, b"hi", True), [])
def test_known_head_is_as_good(answer: Answer, between: list[Answer]) -> None:
    """What is known of a head makes the same answers as the head, on every connection."""
    tables = Tables()
    connection = Http1Connection(Limits(), tables)
    connection.receive_data(answer[0])
    connection.next_request()
    for _ in range(2):
        with contextlib.suppress(ResponseError):
            connection.prepare(answer[1], list(answer[2]))
    head = connection.known_head
    for other in between:
        answered(tables, other)
    if head is not None:
        for request in REQUESTS:
            again = (request, *answer[1:])
            assert answered(tables, again, head) == answered(Tables(), again)


def test_known_head_is_refused_after_a_start() -> None:
    """As any other head."""
    connection = Http1Connection(Limits())
    connection.receive_data(REQUESTS[0])
    connection.next_request()
    for _ in range(2):
        connection.prepare("200 OK", TEXT)
    head = connection.known_head
    assert head is not None
    connection.head(2, COMMON)
    assert connection.known_head is None
    with pytest.raises(ResponseError, match="already started"):
        connection.prepare_known(head)


def test_head_is_kept_when_it_comes_twice_in_a_row() -> None:
    """One that differs each time is not worth it."""
    tables = Tables()
    for number in range(10):
        answered(tables, (REQUESTS[0], "200 OK", [("ETag", f'"{number}"')], b"", True))
    assert not tables.heads
    for _ in range(2):
        answered(tables, (REQUESTS[0], "200 OK", TEXT, b"", True))
    assert list(tables.heads) == [("200 OK", *TEXT)]


def test_gives_up_where_heads_never_come_again() -> None:
    """Looking them up would only cost time; once a second it is tried again."""
    tables = Tables()

    def answer(value: int) -> None:
        answered(tables, (REQUESTS[0], "200 OK", [("ETag", str(value))], b"", True))

    for number in range(100):
        answer(number)
    for _ in range(3):
        answer(0)
    assert not tables.heads
    tables.try_again()
    for _ in range(3):
        answer(0)
    assert len(tables.heads) == 1
    for _ in range(100):
        answer(0)
    assert tables.hope == 64


def test_prepared_again() -> None:
    """Of a kept head nothing is left when another one is prepared after all."""
    tables = Tables()
    for _ in range(3):
        answered(tables, (REQUESTS[0], "200 OK", TEXT, b"hi", True))
    for fields in FIELDS[2:6]:
        connection = Http1Connection(Limits(), tables)
        connection.receive_data(REQUESTS[0])
        connection.next_request()
        connection.prepare("200 OK", TEXT)
        connection.prepare("404 Not Found", fields)
        fresh = answered(Tables(), (REQUESTS[0], "404 Not Found", fields, b"hi", True))
        assert isinstance(fresh, bytes)
        assert fresh.endswith(b" True " + connection.whole(b"hi", COMMON))


def test_list_is_not_kept() -> None:
    """An application that changes the list it has passed changes nothing that is kept."""
    tables = Tables()
    fields: Headers = [("Content-Type", "text/plain")]
    for value in ("text/plain", "text/plain", "text/plain", "text/html", "text/plain"):
        fields[0] = ("Content-Type", value)
        connection = Http1Connection(Limits(), tables)
        connection.receive_data(REQUESTS[0])
        connection.next_request()
        connection.prepare("200 OK", fields)
        fields.clear()
        assert b": %b\r\n" % value.encode() in connection.whole(b"", COMMON)
        fields.append(("", ""))


@pytest.mark.parametrize("size", [1, 2000])
def test_what_is_kept_is_bounded(size: int) -> None:
    """However many heads an application sends again and again, and however long they are."""
    tables = Tables()
    for number in range(400):
        tables.try_again()
        fields = [("ETag", f"{number:0{size}}")]
        for _ in range(3):
            answer = answered(tables, (REQUESTS[0], "200 OK", fields, b"", True))
            assert isinstance(answer, bytes)
            assert f"{number:0{size}}\r\n".encode() in answer
    assert len(tables.heads) <= 64
    assert bool(tables.heads) is (size == 1)


def test_two_threads_send_the_same_head() -> None:
    """A request of the core that another thread runs may use a head at the same moment: each
    answer has the length of its own body, though only the last length is kept."""
    tables = Tables()
    begin = threading.Barrier(2)
    wrong: list[bytes | str] = []

    def answer(body: bytes) -> None:
        expected = answered(Tables(), (REQUESTS[0], "200 OK", TEXT, body, True))
        begin.wait(10)
        for number in range(3000):
            tables.try_again()
            fields = TEXT if number % 50 else [("ETag", str(number))]  # `heads` is cleared, too
            got = answered(tables, (REQUESTS[0], "200 OK", fields, body, True))
            if fields is TEXT and got != expected:
                wrong.append(got)

    threads = [threading.Thread(target=answer, args=(b"x" * size,)) for size in (1, 22)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert not wrong


def test_names_of_fields_are_learned() -> None:
    """A name that was found right is known the next time; values are looked at each time, and what
    is said of framing, date and server in any spelling counts as ever."""
    tables, get = Tables(), REQUESTS[0]
    fields: Headers = [("X-Own", "1"), ("dAtE", "today"), ("X_other!", "2")]
    first = answered(tables, (get, "200 OK", fields, b"hi", True))
    assert isinstance(first, bytes)
    assert {"X-Own", "X_other!"} <= tables.kinds.keys()
    assert "dAtE" not in tables.kinds
    assert first.count(b"\r\nDate: ") + first.count(b"\r\ndAtE: today\r\n") == 1
    fields[1:2] = []
    assert answered(tables, (get, "200 OK", fields, b"hi", True)) == answered(
        Tables(), (get, "200 OK", fields, b"hi", True)
    )
    for wrong in (("X-Own", "a\r\nb"), ("X Own", "1"), ("cONNECTION", "close"), ("X-N\r\n", "")):
        said = answered(tables, (get, "200 OK", [("X-New", "1"), wrong], b"", True))
        assert isinstance(said, str)
        assert said == answered(Tables(), (get, "200 OK", [("X-New", "1"), wrong], b"", True))
    assert "X-New" not in tables.kinds


def test_names_that_are_learned_are_bounded() -> None:
    """By their number and their length."""
    tables, before = Tables(), len(Tables().kinds)
    for number in range(2000):
        fields = [(f"X-{number}", "1"), (f"X-{number:0100}", "1")]
        assert isinstance(answered(tables, (REQUESTS[0], "200 OK", fields, b"", True)), bytes)
    assert before < len(tables.kinds) <= 512
    assert max(map(len, tables.kinds)) <= 64
