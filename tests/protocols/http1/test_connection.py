"""Responses: framing, persistence, and what an application must not do."""

import gc
import sys
from collections.abc import Callable

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nogilserve.errors import ProtocolError, ResponseError
from nogilserve.messages import Headers, Limits
from nogilserve.protocols.http1 import Http1Connection, Tables
from tests.protocols.http1.replay import COMMON

TEXT = [("Content-Type", "text/plain")]


def started(request: str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n") -> Http1Connection:
    """A connection whose first request was read."""
    connection = Http1Connection(Limits(), Tables())
    connection.receive_data(request.encode("latin-1"))
    assert connection.next_request() is not None
    return connection


def http10(fields: str = "") -> Http1Connection:
    """The same for an HTTP/1.0 request."""
    return started(f"GET / HTTP/1.0\r\n{fields}\r\n")


def whole(
    connection: Http1Connection, status: str = "200 OK", fields: Headers = TEXT, body: bytes = b"hi"
) -> bytes:
    """A response in one call."""
    connection.prepare(status, fields)
    return connection.whole(body, COMMON)


def head(connection: Http1Connection, fields: Headers = TEXT, length: int | None = None) -> bytes:
    """The head of a response in pieces."""
    connection.prepare("200 OK", fields)
    return connection.head(length, COMMON)


def lines(data: bytes) -> list[str]:
    """The lines of a head, without our own Date and Server."""
    text = data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    return [line for line in text if not line.startswith(("Date: Sun", "Server: nogil"))]


class TestWhole:
    """Complete responses in one call."""

    def test_ordinary(self) -> None:
        """Status, the application's fields, length, our common lines, body."""
        assert (
            whole(started())
            == b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n"
            + COMMON
            + b"\r\nhi"
        )

    def test_own_length(self) -> None:
        """The application's Content-Length is sent once."""
        data = whole(started(), fields=[("content-length", "2")])
        assert lines(data) == ["HTTP/1.1 200 OK", "Content-Length: 2"]

    def test_wrong_length(self) -> None:
        """A Content-Length that lies is refused before anything is sent."""
        connection = started()
        with pytest.raises(ResponseError, match="Content-Length is 3, but the body has 2"):
            whole(connection, fields=[("Content-Length", "3")])
        assert not connection.head_sent
        assert whole(connection, "500 Internal Server Error").startswith(b"HTTP/1.1 500 ")

    @pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
    def test_without_body(self, status: str) -> None:
        """204 and 304 have no body, and no length of ours (RFC 9110 §8.6)."""
        data = whole(started(), status, [])
        assert [f"HTTP/1.1 {status}"] == lines(data)
        assert data.endswith(b"\r\n\r\n")

    def test_length_of_204_and_304(self) -> None:
        """304 keeps the application's length, 204 must not have one (RFC 9110 §8.6)."""
        fields = [("Content-Length", "7")]
        assert lines(whole(started(), "204 No Content", fields)) == ["HTTP/1.1 204 No Content"]
        not_modified = lines(whole(started(), "304 Not Modified", fields))
        assert not_modified == ["HTTP/1.1 304 Not Modified", "Content-Length: 7"]

    def test_head(self) -> None:
        """HEAD gets the fields of GET without the body (RFC 9110 §9.3.2)."""
        request = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
        data = whole(started(request), body=b"hello")
        assert "Content-Length: 5" in lines(data)
        assert data.endswith(b"\r\n\r\n")
        own = whole(started(request), fields=[("Content-Length", "77")], body=b"")
        assert "Content-Length: 77" in lines(own)
        assert lines(whole(started(request), fields=[], body=b"")) == ["HTTP/1.1 200 OK"]

    def test_own_date_and_server(self) -> None:
        """Where the application sends Date or Server, ours is left out."""
        data = whole(started(), fields=[("date", "Mon"), ("SERVER", "x")])
        assert data.lower().count(b"date:") == 1
        assert data.lower().count(b"server:") == 1
        only_date = whole(started(), fields=[("Date", "Mon")])
        assert b"Server: nogilserve\r\n" in only_date
        assert b"Date: Sun" not in only_date

    def test_subclass_of_str(self) -> None:
        """What is sent is what was checked, not what a subclass formats to."""

        class Sly(str):
            __slots__ = ()

            def __format__(self, spec: str) -> str:
                return "x\r\nSet-Cookie: evil"

            __str__ = lambda self: "x\r\nSet-Cookie: evil"  # noqa: E731

        for status in ("200 OK", "204 No Content"):
            data = whole(started(), Sly(status), [(Sly("Content-Type"), Sly("y"))], b"")
            assert b"evil" not in data
            assert b"Content-Type: y\r\n" in data


class TestPieces:
    """Responses that are streamed."""

    def test_chunked(self) -> None:
        """Without a length HTTP/1.1 gets chunks (RFC 9112 §7.1)."""
        connection = started()
        assert "Transfer-Encoding: chunked" in lines(head(connection))
        assert connection.data(b"hello") == b"5\r\nhello\r\n"
        assert connection.data(b"") == b""
        assert connection.end() == b"0\r\n\r\n"
        assert connection.next_cycle()

    def test_trailers(self) -> None:
        """Trailers follow the last chunk; elsewhere there is no room for them."""
        connection = started()
        head(connection)
        assert connection.end([("X-Sum", "1")]) == b"0\r\nX-Sum: 1\r\n\r\n"
        counted = started()
        head(counted, length=0)
        assert counted.end([("X-Sum", "1")]) == b""

    @pytest.mark.parametrize("name", ["Content-Length", "host", "Transfer-Encoding", "X Y", ""])
    def test_bad_trailers(self, name: str) -> None:
        """Framing and routing do not belong into trailers (RFC 9110 §6.5.1)."""
        connection = started()
        head(connection)
        with pytest.raises(ResponseError):
            connection.end([(name, "1")])

    def test_until_close(self) -> None:
        """Without a length HTTP/1.0 reads until the close (RFC 9112 §6.3)."""
        connection = http10("Connection: keep-alive\r\n")
        assert "Connection: close" in lines(head(connection))
        assert connection.data(b"hello") == b"hello"
        assert connection.end() == b""
        assert not connection.next_cycle()

    def test_counted(self) -> None:
        """With a length the pieces go out as they are."""
        connection = started()
        assert "Content-Length: 5" in lines(head(connection, length=5))
        assert connection.data(b"hel") == b"hel"
        assert connection.account(2)
        assert connection.end() == b""
        assert connection.next_cycle()

    @pytest.mark.parametrize("add", [lambda c: c.data(b"123456"), lambda c: c.account(6)])
    def test_too_long(self, add: Callable[[Http1Connection], object]) -> None:
        """More than Content-Length said is not sent, and the connection is given up."""
        connection = started()
        head(connection, [("Content-Length", "5")])
        with pytest.raises(ResponseError, match="1 bytes longer"):
            add(connection)
        assert not connection.next_cycle()

    def test_too_short(self) -> None:
        """Less than Content-Length said: only closing tells the client."""
        connection = started()
        head(connection, [("Content-Length", "5")])
        connection.data(b"1")
        with pytest.raises(ResponseError, match="4 bytes shorter"):
            connection.end()
        assert not connection.next_cycle()

    def test_nothing_for_head(self) -> None:
        """A response to HEAD swallows its body, however it comes."""
        connection = started("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert lines(head(connection)) == ["HTTP/1.1 200 OK", "Content-Type: text/plain"]
        assert connection.data(b"hello") == b""
        assert not connection.account(5)
        assert connection.end() == b""
        assert connection.next_cycle()

    def test_sendfile_needs_a_length(self) -> None:
        """Raw bytes between chunks would break the framing."""
        connection = started()
        head(connection)
        with pytest.raises(ResponseError, match="without Content-Length"):
            connection.account(5)

    def test_order(self) -> None:
        """Body before head, two heads, body after the end: refused."""
        connection = started()
        for early in (lambda: connection.data(b"x"), lambda: connection.account(1), connection.end):
            with pytest.raises(ResponseError, match="before the start"):
                early()
        with pytest.raises(ResponseError, match="no status yet"):
            connection.head(None, COMMON)
        head(connection)
        for again in (
            lambda: connection.prepare("200 OK", []),
            lambda: connection.head(None, COMMON),
            lambda: connection.whole(b"", COMMON),
            lambda: connection.switch("echo", [], COMMON),
        ):
            with pytest.raises(ResponseError, match="already started"):
                again()
        connection.end()
        for late in (lambda: connection.data(b"x"), lambda: connection.account(1), connection.end):
            with pytest.raises(ResponseError, match="after the end"):
                late()

    def test_prepared_again(self) -> None:
        """Until the head is sent it may be replaced (`exc_info` of PEP 3333)."""
        connection = started()
        connection.prepare("200 OK", [("Date", "Mon"), ("Content-Length", "1")])
        lengths = [connection.declared_length]
        connection.prepare("404 Not Found", [])
        lengths.append(connection.declared_length)
        assert lengths == [1, None]
        data = connection.whole(b"", COMMON)
        assert lines(data) == ["HTTP/1.1 404 Not Found", "Content-Length: 0"]
        assert b"Date: Sun" in data

    def test_withdrawn(self) -> None:
        """A head that was made but not sent may be replaced."""
        connection = started()
        head(connection, length=1)
        with pytest.raises(ResponseError):
            connection.data(b"hello")
        connection.withdraw()
        data = whole(connection, "500 Internal Server Error")
        assert lines(data)[0] == "HTTP/1.1 500 Internal Server Error"
        assert "Connection: close" in lines(data)


BAD_STATUSES: list[object] = [
    "1000 X",
    "abc",
    "200",
    "100 Continue",
    "101 Switching",
    "600 X",
    "2000 OK",
    "20 OK",
    " 200 OK",
    "200  \r\nX: y",
    "200 \x00",
    "200 \u0100",
    "\u0662\u0660\u0660 OK",
    "200OK",
    200,
    b"200 OK",
    None,
]
BAD_FIELDS: list[object] = [
    ("X\r\nY", "z"),
    ("X Y", "z"),
    ("", "z"),
    ("X:", "z"),
    ("X\xe4", "z"),
    ("X", "a\r\nSet-Cookie: b"),
    ("X", "a\nb"),
    ("X", "a\rb"),
    ("X", "a\x00b"),
    ("X", "a\x0bb"),
    ("X", "\x7f"),
    ("X", "\u0100"),
    ("X", "\ud800"),
    ("Content-Type", "a\nb"),
    ("X", 1),
    ("X", b"y"),
    (b"X", "y"),
    (1, "y"),
    ("X", None),
    ("Content-Type", 5),
    ("Content-Length", 5),
    ("Content-Length", "+5"),
    ("Content-Length", "5, 5"),
    ("Content-Length", "0x5"),
    ("Content-Length", ""),
    ("Content-Length", "-1"),
    ("Content-Length", "\xb2"),
    ("Content-Length", "9" * 30),
    ("Connection", "close"),
    ("connection", "keep-alive"),
    ("Keep-Alive", "timeout=5"),
    ("Proxy-Connection", "close"),
    ("TE", "trailers"),
    ("Trailers", "X"),
    ("Transfer-Encoding", "chunked"),
    ("transfer-encoding", "identity"),
    ("TRANSFER-ENCODING", "chunked"),
    ("Upgrade", "h2c"),
    ("X",),
    ("X", "y", "z"),
    "ab",
    None,
    5,
]


class TestRefusals:
    """An application cannot split a response or change its framing."""

    @pytest.mark.parametrize("status", BAD_STATUSES, ids=repr)
    def test_status(self, status: str) -> None:
        """An illegal status is named and nothing is sent (RFC 9110 §15)."""
        connection = started()
        with pytest.raises(ResponseError, match="illegal status"):
            connection.prepare(status, [])
        assert whole(connection, "500 Internal Server Error").startswith(b"HTTP/1.1 500 ")

    @pytest.mark.parametrize("field", BAD_FIELDS, ids=repr)
    def test_field(self, field: tuple[str, str]) -> None:
        """An illegal, foreign or hop-by-hop field is refused (RFC 9110 §5, §7.6.1)."""
        for status in ("200 OK", "204 No Content", "200 Own"):
            with pytest.raises(ResponseError):
                started().prepare(status, [*TEXT, field])

    def test_not_a_list(self) -> None:
        """Header lists of the wrong kind are the application's mistake too."""
        for wrong in (None, 5, ["ab"], {"Content-Type": "x"}):
            with pytest.raises(ResponseError):
                started().prepare("200 OK", wrong)  # type: ignore[arg-type]

    def test_two_lengths(self) -> None:
        """Two different lengths are refused, two equal ones are one."""
        fields = [("Content-Length", "2"), ("content-length", "3")]
        with pytest.raises(ResponseError, match="twice"):
            started().prepare("200 OK", fields)
        data = whole(started(), fields=[fields[0], fields[0]])
        assert lines(data) == ["HTTP/1.1 200 OK", "Content-Length: 2"]

    @pytest.mark.parametrize("status", ["200 ", "299 Own", "200 \xe4\t!", "404 Nope"])
    def test_unusual_status(self, status: str) -> None:
        """Any reason is fine, also none."""
        assert f"HTTP/1.1 {status}" == lines(whole(started(), status))[0]

    @pytest.mark.parametrize("value", ["", " x ", "\xe4", "a\tb", "\xa0", "\x85"])
    def test_unusual_value(self, value: str) -> None:
        """Values may hold tabs and bytes above 0x7f (RFC 9110 §5.5)."""
        assert f"X-Own: {value}" in lines(whole(started(), fields=[("X-Own", value)]))


class TestPersistence:
    """Connection fields and next_cycle (RFC 9112 §9.3)."""

    def test_http11(self) -> None:
        """HTTP/1.1 persists without a word."""
        connection = started()
        assert not [line for line in lines(whole(connection)) if line.startswith("Connection")]
        assert connection.next_cycle()

    def test_close_asked_for(self) -> None:
        """The client's close is confirmed."""
        connection = started("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert "Connection: close" in lines(whole(connection))
        assert not connection.next_cycle()

    def test_drain(self) -> None:
        """The engine may end it before the head."""
        connection = started()
        connection.keep_alive = False
        assert "Connection: close" in lines(whole(connection))
        assert not connection.next_cycle()

    def test_http10(self) -> None:
        """HTTP/1.0 closes, unless keep-alive was asked for and is confirmed."""
        closing = http10()
        assert "Connection: close" in lines(whole(closing))
        assert not closing.next_cycle()
        lasting = http10("Connection: keep-alive\r\n")
        assert "Connection: keep-alive" in lines(whole(lasting))
        assert lasting.next_cycle()

    @pytest.mark.parametrize(
        "body",
        ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"],
    )
    def test_unread_body(self, body: str) -> None:
        """A request body that nobody read ends the connection."""
        connection = started(f"POST / HTTP/1.1\r\nHost: a\r\n{body}")
        whole(connection)
        assert not connection.next_cycle()

    def test_no_request(self) -> None:
        """Without a request there is nothing to respond to: that is a mistake of the engine."""
        connection = Http1Connection(Limits())
        connection.prepare("200 OK", [])
        with pytest.raises(RuntimeError, match="no request"):
            connection.whole(b"", COMMON)

    def test_unfinished_response(self) -> None:
        """There is no next request before the end of the response."""
        connection = started()
        head(connection)
        assert not connection.next_cycle()

    def test_expectation_ignored(self) -> None:
        """A final answer instead of 100 closes: the body may or may not come (RFC 9110 §10.1.1)."""
        request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        connection = started(request)
        assert "Connection: close" in lines(whole(connection, "403 Forbidden"))
        assert not connection.next_cycle()

    @pytest.mark.parametrize("body", ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"])
    def test_expectation_met(self, body: str) -> None:
        """After 100, or when the body came anyway, the connection persists."""
        request = f"POST / HTTP/1.1\r\nHost: a\r\n{body}Expect: 100-continue\r\n\r\n"
        sent = b"hello" if "Length" in body else b"5\r\nhello\r\n0\r\n\r\n"
        for told in (True, False):
            connection = started(request)
            if told:
                assert connection.interim(100, []) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.receive_data(sent)
            assert connection.read_body() == b"hello"
            assert connection.read_body() == b""
            assert "Connection: close" not in lines(whole(connection))
            assert connection.next_cycle()


class TestInterim:
    """1xx and the change of protocol."""

    def test_early_hints(self) -> None:
        """Interim responses go before the final one (RFC 9110 §15.2)."""
        connection = started()
        data = connection.interim(103, [("Link", "</a>; rel=preload")])
        assert data == b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
        assert not connection.head_sent
        whole(connection)
        with pytest.raises(ResponseError, match="after the final"):
            connection.interim(103, [])

    def test_not_for_http10(self) -> None:
        """HTTP/1.0 knows no interim responses (RFC 9110 §15.2)."""
        assert http10().interim(103, []) == b""

    @pytest.mark.parametrize("status", [101, 99, 200, "103"])
    def test_illegal(self, status: int) -> None:
        """101 is switch(); anything but 1xx is no interim response."""
        with pytest.raises(ResponseError, match="illegal interim status"):
            started().interim(status, [])

    def test_fields_are_checked(self) -> None:
        """An interim response cannot be split either."""
        with pytest.raises(ResponseError):
            started().interim(103, [("Link", "a\r\nb")])

    def test_switch(self) -> None:
        """101 names the protocol; the bytes behind the request belong to it (RFC 9110 §7.8)."""
        connection = started(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n\x01\x02"
        )
        data = connection.switch("echo", [("X-Own", "y")], COMMON)
        assert lines(data) == [
            "HTTP/1.1 101 Switching Protocols",
            "Connection: upgrade",
            "Upgrade: echo",
            "X-Own: y",
        ]
        assert connection.take_trailing() == b"\x01\x02"
        assert not connection.buffered
        assert not connection.next_cycle()

    def test_switch_is_checked(self) -> None:
        """The name of the protocol cannot split the head."""
        with pytest.raises(ResponseError):
            started().switch("echo\r\nX: y", [], COMMON)


class TestErrors:
    """Answers to the peer's mistakes."""

    def test_before_a_request(self) -> None:
        """A complete plain-text response that closes."""
        connection = Http1Connection(Limits())
        connection.receive_data(b"nonsense\r\n")
        with pytest.raises(ProtocolError) as caught:
            connection.next_request()
        data = connection.error(caught.value, COMMON)
        body = b"400 Bad Request: malformed request line\n"
        assert data.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert data.endswith(b"\r\n\r\n" + body)
        assert f"Content-Length: {len(body)}" in lines(data)
        assert "Connection: close" in lines(data)
        assert not connection.next_cycle()

    def test_in_a_response(self) -> None:
        """Once a response has begun there is no room for another."""
        connection = started()
        head(connection)
        assert connection.error(ProtocolError(400, "late"), COMMON) == b""
        assert not connection.next_cycle()

    def test_for_head(self) -> None:
        """HEAD gets no body here either."""
        connection = started("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.error(ProtocolError(503, "busy"), COMMON).endswith(b"\r\n\r\n")

    def test_odd_message(self) -> None:
        """Whatever the message holds, the answer is well formed."""
        data = Http1Connection(Limits()).error(ProtocolError(499, "\r\nX: y\n\u0100"), COMMON)
        assert data.count(b"\r\n\r\nX") + data.count(b"\r\n\r\n499") == 1

    def test_no_cycle(self) -> None:
        """A refused connection is freed at once, without the garbage collector."""
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                connection = Http1Connection(Limits())
                connection.receive_data(b"nonsense\r\n")
                with pytest.raises(ProtocolError):
                    connection.next_request()
                del connection
            assert sum(isinstance(o, Http1Connection) for o in gc.get_objects()) == 0
        finally:
            gc.enable()


def test_an_idle_connection_is_small() -> None:
    """Ten thousand of them are kept: less than 600 bytes each, nothing left of a request."""
    connection = started("GET / HTTP/1.1\r\nHost: a.example\r\nX-Own: y\r\n\r\n")
    whole(connection)
    assert connection.next_cycle()
    assert sys.getsizeof(connection) + sys.getsizeof(connection._host) < 600
    parts = (connection._request, connection._chunks, connection._reader, connection._fields)
    assert parts == (None, None, None, None)
    assert (connection.prepared_head, connection.buffer) == ("", b"")


FIELD_NAMES = st.sampled_from(["Content-Type", "X-Own", "Set-Cookie", "x_y", "ETag", "Vary"])
FIELD_VALUES = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_categories=["Cc"])
)
REQUESTS = st.sampled_from([("GET", "1.1"), ("HEAD", "1.1"), ("GET", "1.0"), ("POST", "1.1")])
STATUSES = st.sampled_from(["200 OK", "204 No Content", "304 Not Modified", "404 ", "500 \xe4"])


@settings(max_examples=300, deadline=None)
@given(
    REQUESTS,
    STATUSES,
    st.lists(st.tuples(FIELD_NAMES, FIELD_VALUES), max_size=5),
    st.lists(st.binary(max_size=50), max_size=4),
    st.sampled_from(["whole", "counted", "streamed"]),
)
def test_clients_read_what_was_sent(
    request_kind: tuple[str, str],
    status: str,
    headers: Headers,
    pieces: list[bytes],
    how: str,
) -> None:
    """h11 as the client reads status, fields and body exactly as the application gave them."""
    method, version = request_kind
    connection = started(f"{method} / HTTP/{version}\r\nHost: a\r\n\r\n")
    connection.prepare(status, headers)
    body = b"".join(pieces)
    if how == "whole":
        data = connection.whole(body, COMMON)
    else:
        data = connection.head(len(body) if how == "counted" else None, COMMON)
        data += b"".join(connection.data(piece) for piece in pieces) + connection.end()
    alive = connection.next_cycle()

    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    response = client.next_event()
    assert isinstance(response, h11.Response)
    assert int(status[:3]) == response.status_code
    assert status[4:].encode("latin-1") == response.reason
    sent = [(n.lower().encode(), v.strip(" \t").encode("latin-1")) for n, v in headers]
    ours = {b"date", b"server", b"content-length", b"transfer-encoding", b"connection"}
    assert sent == [(n, v) for n, v in response.headers if n not in ours]
    assert {b"date", b"server"} <= {n for n, _ in response.headers}
    if not alive:
        client.receive_data(b"")
    received = b""
    while isinstance(event := client.next_event(), h11.Data):
        received += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert received == (b"" if method == "HEAD" or status[:3] in {"204", "304"} else body)
    assert client.trailing_data[0] == b""
    assert alive == (version == "1.1")
