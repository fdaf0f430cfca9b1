"""Requests: what the corpus cannot say about the receiving half."""

import time

import pytest

from nogilserve.errors import ProtocolError, TruncatedBody
from nogilserve.messages import CHUNKED, Limits, Request
from nogilserve.protocols.http1 import Http1Connection, Tables
from tests.protocols.http1.replay import COMMON, fields, replay

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def receiving(data: bytes, limits: Limits | None = None) -> Http1Connection:
    """A connection that was sent `data`."""
    connection = Http1Connection(limits or Limits())
    connection.receive_data(data)
    return connection


def post(fields: bytes, body: bytes = b"") -> bytes:
    """A POST request."""
    return b"POST / HTTP/1.1\r\nHost: a\r\n%b\r\n%b" % (fields, body)


class TestHead:
    """next_request."""

    def test_ordinary(self) -> None:
        """Every field of a Request is filled in."""
        request = receiving(
            b"GET /a%20b?c=d?e HTTP/1.1\r\nHost: x:1\r\nX-Own:  y \r\n\r\n"
        ).next_request()
        assert request is not None
        assert (
            request.method,
            request.target,
            request.path,
            request.query,
            request.minor,
        ) == ("GET", "/a%20b?c=d?e", "/a%20b", "c=d?e", 1)
        assert request.headers == [("host", "x:1"), ("x-own", "y")]
        assert (
            request.authority,
            request.body,
            request.keep_alive,
            request.expect_continue,
            request.upgrade,
        ) == ("x:1", 0, True, False, "")

    @pytest.mark.parametrize(
        ("fields", "upgrade"),
        [
            (b"Connection: Upgrade\r\nUpgrade: websocket\r\n", "websocket"),
            (b"Connection: keep-alive, upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n", "a, b"),
            (b"Upgrade: websocket\r\n", ""),
            (b"Connection: close\r\nUpgrade: websocket\r\n", ""),
        ],
    )
    def test_upgrade(self, fields: bytes, upgrade: str) -> None:
        """Upgrade counts only where Connection names it (RFC 9110 §7.8)."""
        request = receiving(post(fields)).next_request()
        assert request is not None
        assert upgrade == request.upgrade

    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (post(b"Expect: 100-continue\r\nContent-Length: 5\r\n"), True),
            (post(b"Expect: 100-CONTINUE\r\nTransfer-Encoding: chunked\r\n"), True),
            (post(b"Expect: 100-continue\r\n"), False),
            (b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", False),
        ],
    )
    def test_expect(self, data: bytes, expected: bool) -> None:
        """100 is waited for only in HTTP/1.1 and only before content (RFC 9110 §10.1.1)."""
        request = receiving(data).next_request()
        assert request is not None
        assert expected == request.expect_continue

    def test_what_is_waiting(self) -> None:
        """An incomplete head is told apart from an idle connection."""
        connection = receiving(b"")
        assert connection.eof
        connection = receiving(b"\r\n")
        assert connection.next_request() is None
        assert (connection.buffered, connection.head_started, connection.eof) == (0, False, False)
        connection.receive_data(b"G")
        assert connection.next_request() is None
        assert (connection.buffered, connection.head_started) == (1, True)
        connection.receive_data(GET[1:] + b"GET")
        assert connection.next_request() is not None
        assert (connection.buffered, connection.head_started) == (3, False)

    def test_one_at_a_time(self) -> None:
        """The next request is not to be had before the response has ended."""
        connection = receiving(GET + GET)
        connection.next_request()
        with pytest.raises(RuntimeError, match="not finished"):
            connection.next_request()

    def test_half_closed(self) -> None:
        """A client that closes its sending side still gets its answers."""
        connection = receiving(GET)
        connection.receive_data(b"")
        assert connection.next_request() is not None
        connection.prepare("200 OK", [])
        assert connection.whole(b"", COMMON)
        assert connection.next_cycle()
        assert connection.next_request() is None
        assert connection.eof

    def test_host_is_remembered_per_connection(self) -> None:
        """A Host that was found valid once does not let another one pass."""
        outcome = replay([GET + GET.replace(b"Host: a", b"Host: a b")])
        assert (len(outcome.received), outcome.status) == (1, 400)

    def test_empty_lines_are_counted_anew(self) -> None:
        """Also where they come apart from the request behind them (RFC 9112 §2.2)."""
        for request in (GET, GET.replace(b"Host: a", b"Host:\ta")):
            assert len(replay([b"\r\n\r\n", request] * 4).received) == 4
        assert replay([b"\r\n\r\n", GET, b"\r\n", b"\r\n", b"\r\n"]).status == 400

    def test_repeated_heads(self) -> None:
        """A head that was looked up is told apart from any other of its size."""
        other = GET.replace(b"GET /", b"PUT /")
        closing = GET.replace(b"Host: a", b"Host: a\r\nConnection: close")
        outcome = replay([GET, GET, GET, other, GET, other, other, GET, GET + other, closing])
        methods = [received.request.method[:1] for received in outcome.received]
        assert "".join(methods) == "GGGPGPPGGPG"
        assert outcome.closed

    def test_repeated_close(self) -> None:
        """A looked-up head says as much about the connection as a parsed one."""
        tables = Tables()
        closing = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        same_size = b"GET / HTTP/1.1\r\nHost: a\r\nX-Not-Conn: close\r\n\r\n"
        for data in (closing, closing, closing):
            connection = Http1Connection(Limits(), tables)
            connection.receive_data(same_size)
            assert connection.next_request() is not None
            connection.prepare("200 OK", [])
            connection.whole(b"", COMMON)
            assert connection.next_cycle()
            connection.receive_data(data)
            assert connection.next_request() is not None
            assert not connection.keep_alive

    def test_kept_heads(self) -> None:
        """A request is marked as kept from the second time on, and then the very same object."""
        received = [part.request for part in replay([GET] * 4).received]
        assert [request.kept for request in received] == [False, True, True, True]
        assert received[0] is not received[1]
        assert received[1] is received[2] is received[3]

    def test_kept_sections(self) -> None:
        """What stands behind the request line is parsed until it has come three times; the version
        and the body are those of each request."""
        section = b"Host: a\r\nContent-Length: 2\r\nX-Odd: 1\r\n\r\nhi"
        lines = [b"POST /%d?q=%d HTTP/1.1\r\n" % (n, n) for n in range(8)]
        received = replay([line + section for line in lines]).received
        assert [part.request.path for part in received] == [f"/{n}" for n in range(8)]
        assert {part.body for part in received} == {b"hi"}
        sections = [part.request.section for part in received]
        assert sections[:2] == [None, None]
        assert sections[2] is not None
        assert set(sections[2:]) == {sections[2]}
        assert {id(part.request.headers) for part in received[2:]} == {id(sections[2].headers)}

    def test_kept_section_of_another_version(self) -> None:
        """HTTP/1.0 does not keep the connection for what HTTP/1.1 keeps it for."""
        section = b"Host: a\r\nX-Odd: 1\r\n\r\n"
        lines = [b"GET /%d HTTP/1.1\r\n" % n for n in range(4)] + [b"GET /5 HTTP/1.0\r\n"]
        outcome = replay([line + section for line in lines])
        assert [part.request.keep_alive for part in outcome.received] == [True] * 4 + [False]
        assert outcome.closed

    def test_sections_that_always_differ(self) -> None:
        """They are not compared for long; what is kept of sections is bounded."""
        tables = Tables()

        def ask(connection: Http1Connection, target: int, number: int) -> Request:
            data = b"GET /%d HTTP/1.1\r\nHost: a\r\nX-Number: %05d\r\n\r\n" % (target, number)
            request = connection.receive_request(data)
            assert request is not None
            assert request.headers == [("host", "a"), ("x-number", f"{number:05}")]
            connection.prepare("200 OK", [])
            connection.whole(b"", COMMON)
            assert connection.next_cycle()
            return request

        numbering = Http1Connection(Limits(), tables)
        for number in range(20):
            ask(numbering, 1, number)
        assert not tables.sections
        assert all(ask(numbering, target, 20).section is None for target in range(5))
        for number in range(400):
            connection = Http1Connection(Limits(), tables)
            requests = [ask(connection, target, number) for target in range(8, 12)]
            assert requests[-1].section is not None
        assert 0 < len(tables.sections) <= 64

    def test_both_ways_to_receive(self) -> None:
        """receive_request() is receive_data() and next_request(): for whole, kept, cut heads and
        (the last two) where a request is under way."""
        inputs = [GET, GET, GET, GET[:9], GET[9:], GET, GET + GET, GET, b""]
        outcomes = []
        for at_once in (False, True):
            connection = Http1Connection(Limits(), Tables())
            seen: list[object] = []
            for number, data in enumerate(inputs):
                try:
                    if at_once:
                        request = connection.receive_request(data)
                    else:
                        connection.receive_data(data)
                        request = connection.next_request()
                except RuntimeError as error:
                    request = None
                    seen.append(str(error))
                seen.append((request and fields(request), connection.eof, connection.buffered))
                if request is not None and number < 6:
                    connection.prepare("200 OK", [])
                    connection.whole(b"", COMMON)
                    assert connection.next_cycle()
            outcomes.append(seen)
        assert sum(isinstance(what, str) for what in outcomes[0]) == 2
        assert outcomes[0] == outcomes[1]

    def test_repeated_bodies(self) -> None:
        """A repeated head with a body is read with its body every time."""
        data = post(b"Content-Length: 5\r\n", b"hello")
        for pieces in ([data] * 4, [data[:-5], data[-5:]] * 4):
            assert [r.body for r in replay(pieces).received] == [b"hello"] * 4

    def test_many_heads(self) -> None:
        """What is kept of heads is bounded."""
        tables = Tables()
        connection = Http1Connection(Limits(), tables)
        for number in range(400):
            for _ in range(3):
                connection.receive_data(b"GET /%03d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
                request = connection.next_request()
                assert request is not None
                assert request.path == f"/{number:03}"
                connection.prepare("200 OK", [])
                connection.whole(b"", COMMON)
                assert connection.next_cycle()
        assert 0 < len(tables.recent) <= 64

    def test_limits_of_the_head(self) -> None:
        """The configured limits hold, on the fast path too."""
        head = b"GET / HTTP/1.1\r\nHost: a\r\nX: yyyy\r\n\r\n"
        size = len(head)
        for limits, status in [
            (Limits(request_line=14, fields=2, field_size=7, head=size), None),
            (Limits(request_line=13), 414),
            (Limits(fields=1), 431),
            (Limits(field_size=6), 431),
            (Limits(head=size - 1), 431),
        ]:
            for pieces in ([head], [head[i : i + 1] for i in range(size)]):
                assert status == replay(pieces, limits=limits).status


class TestBody:
    """read_body."""

    def test_counted(self) -> None:
        """Pieces come as they arrive; what is behind the body stays."""
        connection = receiving(post(b"Content-Length: 5\r\n", b"he"))
        connection.next_request()
        assert connection.read_body() == b"he"
        assert connection.read_body() is None
        connection.receive_data(b"lloGET")
        assert connection.read_body() == b"llo"
        assert connection.read_body() == b""
        assert connection.buffered == 3

    def test_without(self) -> None:
        """A request without a body is complete."""
        connection = receiving(GET)
        connection.next_request()
        assert connection.read_body() == b""

    def test_trailers(self) -> None:
        """Trailers are there when the body is complete."""
        connection = receiving(
            post(b"Transfer-Encoding: chunked\r\n", b"1\r\nx\r\n0\r\nX-A: b\r\n")
        )
        request = connection.next_request()
        assert request is not None
        assert request.body == CHUNKED
        assert connection.read_body() == b"x"
        assert connection.read_body() is None
        assert connection.trailers == []
        connection.receive_data(b"\r\n")
        assert connection.read_body() == b""
        assert connection.trailers == [("x-a", "b")]

    @pytest.mark.parametrize(
        "body",
        [b"Content-Length: 5\r\n\r\nhell", b"Transfer-Encoding: chunked\r\n\r\n4\r\nhell\r\n"],
    )
    def test_truncated(self, body: bytes) -> None:
        """A body that ends early raises, every time it is asked for."""
        connection = receiving(b"POST / HTTP/1.1\r\nHost: a\r\n" + body)
        connection.next_request()
        assert connection.read_body() == b"hell"
        connection.receive_data(b"")
        for _ in range(2):
            with pytest.raises(TruncatedBody):
                connection.read_body()
        assert not connection.next_cycle()

    @pytest.mark.parametrize(
        ("data", "status"),
        [
            (post(b"Content-Length: 5\r\n", b"hello"), None),
            (post(b"Content-Length: 6\r\n"), 413),
            (post(b"Transfer-Encoding: chunked\r\n", b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"), None),
            (post(b"Transfer-Encoding: chunked\r\n", b"3\r\nhel\r\n3\r\n"), 413),
            (post(b"Transfer-Encoding: chunked\r\n", b"ffffffffffffffff\r\n"), 413),
        ],
    )
    def test_limit(self, data: bytes, status: int | None) -> None:
        """A body over the limit is 413 as soon as its size is known (RFC 9110 §15.5.14)."""
        assert status == replay([data], limits=Limits(body=5)).status

    def test_413_comes_with_the_head(self) -> None:
        """A Content-Length over the limit is refused before any body is read."""
        with pytest.raises(ProtocolError) as caught:
            receiving(post(b"Content-Length: 6\r\n"), Limits(body=5)).next_request()
        assert caught.value.status == 413


class TestTime:
    """The work is linear in the bytes, however they come. The bounds are wide: quadratic work
    would take minutes."""

    def test_head_byte_by_byte(self) -> None:
        """The end of a head is not searched for again and again."""
        data = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: %b\r\n" % (b"y" * 900) * 60 + b"\r\n"
        before = time.process_time()
        assert len(replay([data[i : i + 1] for i in range(len(data))]).received) == 1
        assert time.process_time() - before < 10

    def test_tiny_chunks(self) -> None:
        """A hundred thousand chunks of one byte."""
        data = post(b"Transfer-Encoding: chunked\r\n", b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n")
        for size in (len(data), 65536, 7):
            before = time.process_time()
            outcome = replay([data[i : i + size] for i in range(0, len(data), size)])
            assert outcome.received[0].body == b"x" * 100_000
            assert time.process_time() - before < 10

    def test_long_pipeline(self) -> None:
        """Ten thousand requests in one buffer."""
        before = time.process_time()
        assert len(replay([GET * 10_000]).received) == 10_000
        assert time.process_time() - before < 10
