"""Connections on a core driven by the test: requests, pipelining, bodies, 100 Continue."""

from collections.abc import Iterator
from socket import SHUT_WR

import pytest

from nogilserve.engine.body import MEMORY
from nogilserve.engine.poller import READ, wait_for
from nogilserve.errors import TruncatedBody
from nogilserve.messages import Exchange
from tests.engine.rig import Rig, echo, get, post, reply
from tests.engine.threads import SECONDS, Running
from tests.support.leaks import descriptors
from tests.support.waiting import wait_until


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A core whose application echoes bodies at /echo."""
    with Rig({"/echo": echo}) as made:
        yield made


def chunked(*pieces: bytes, end: bool = True) -> bytes:
    """Pieces in chunked coding."""
    data = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return data + b"0\r\n\r\n" if end else data


# ---- requests


def test_keep_alive(rig: Rig) -> None:
    """Request after request on one connection."""
    peer = rig.connect()
    for number in range(5):
        peer.send(get(f"/{number}"))
        assert rig.drive()
        assert peer.bodies() == [b"/%d" % number]
    counters = rig.core.counters
    assert (counters.requests, counters.closed, rig.core.connections) == (5, 0, 1)


def test_bytes_are_counted(rig: Rig) -> None:
    """Received and sent are exactly what went over the wire."""
    peer = rig.connect().send(get())
    assert rig.drive()
    assert rig.core.counters.received == len(get())
    assert rig.core.counters.sent == len(peer.taken())


def test_request_in_pieces(rig: Rig) -> None:
    """A head that comes byte by byte is run when it is complete."""
    peer = rig.connect()
    for byte in get("/slow/typist"):
        assert rig.ran == []
        peer.send(bytes([byte]))
        assert rig.drive()
    assert peer.bodies() == [b"/slow/typist"]


@pytest.mark.parametrize("minor", [0, 1])
def test_close_when_the_client_wants_it(rig: Rig, minor: int) -> None:
    """Connection: close, and HTTP/1.0 without keep-alive, end after the response."""
    fields = ["Connection: close"] if minor else []
    peer = rig.connect().send(get("/", *fields, minor=minor))
    assert rig.drive()
    assert peer.bodies() == [b"hello"]
    assert peer.closed
    assert rig.core.connections == 0


def test_old_client_may_keep_the_connection(rig: Rig) -> None:
    """HTTP/1.0 with keep-alive is told so and may go on (RFC 9112 §9.3)."""
    peer = rig.connect()
    for _ in range(2):
        peer.send(get("/", "Connection: keep-alive", minor=0))
        assert rig.drive()
        assert peer.answer().headers["connection"] == "keep-alive"


def test_keep_alive_switched_off() -> None:
    """With a keep-alive time of 0 each response is the last, and says so."""
    with Rig(keep_alive=0) as rig:
        peer = rig.connect().send(get() + get("/second"))
        assert rig.drive()
        assert peer.answer().headers["connection"] == "close"
        assert rig.ran == ["/"]
        assert peer.closed


def test_client_that_leaves_between_requests(rig: Rig) -> None:
    """Its connection is closed and counted, nothing is refused."""
    peer = rig.connect().send(get())
    assert rig.drive()
    peer.sock.close()
    assert rig.drive()
    assert rig.core.connections == 0
    assert rig.core.counters.closed == 1
    assert rig.refused == {}


def test_bad_request_is_refused_and_counted(rig: Rig) -> None:
    """A broken head gets its status; nothing behind it is run; the reason is counted."""
    peer = rig.connect().send(b"GET / HTTP/1.1\r\n\r\n" + get())
    assert rig.drive()
    assert peer.answer().status == 400
    assert peer.closed
    assert rig.ran == []
    assert [reason[:3] for reason in rig.refused] == ["400"]
    assert list(rig.refused.values()) == [1]


def test_refusal_after_good_requests(rig: Rig) -> None:
    """Pipelined requests before the broken one are answered first, in order."""
    peer = rig.connect().send(get("/1") + get("/2") + b"\x00\r\n\r\n" + get("/3"))
    assert rig.drive()
    assert [answer.status for answer in peer.answers()] == [200, 200, 400]
    assert rig.ran == ["/1", "/2"]


# ---- pipelining


def test_pipelined_requests_are_answered_in_order(rig: Rig) -> None:
    """All in one packet, all answered, in their order."""
    targets = [f"/{number}" for number in range(50)]
    peer = rig.connect().send(b"".join(map(get, targets)))
    assert rig.drive()
    assert peer.bodies() == [target.encode() for target in targets]


def test_pipelining_client_does_not_starve_others(rig: Rig) -> None:
    """After sixteen requests in a row other connections get their turn."""
    greedy = rig.connect().send(b"".join(get(f"/greedy/{number}") for number in range(40)))
    other = rig.connect().send(get("/other"))
    assert rig.drive()
    assert rig.ran.index("/other") <= 16
    assert len(greedy.answers()) == 40
    assert other.bodies() == [b"/other"]


def test_request_that_comes_during_a_pipeline_gets_its_turn(rig: Rig) -> None:
    """Another connection's request that arrives later does not wait for the whole pipeline."""

    def arrive(exchange: Exchange) -> None:
        other.send(get("/other"))
        reply(exchange)

    rig.routes["/arrive"] = arrive
    greedy, other = rig.connect(), rig.connect()
    greedy.send(get("/arrive") + b"".join(get(f"/greedy/{number}") for number in range(200)))
    assert rig.drive()
    assert rig.ran.index("/other") <= 64
    assert other.bodies() == [b"/other"]
    assert len(greedy.answers()) == 201  # more would not fit into the socket unread


def test_pipelined_then_half_closed(rig: Rig) -> None:
    """A client may send everything, say that it is done, and still gets every answer."""
    peer = rig.connect().send(b"".join(get(f"/{number}") for number in range(20)))
    peer.sock.shutdown(SHUT_WR)
    assert rig.drive()
    assert len(peer.answers()) == 20
    assert peer.closed
    assert rig.core.connections == 0


def test_pipelined_bodies(rig: Rig) -> None:
    """Bodies end where they end, however they are framed."""
    requests = [post(b"one"), get("/x"), post(b""), post(b"three")]
    requests.append(
        get("/echo", "Transfer-Encoding: chunked", method="POST") + chunked(b"fo", b"ur")
    )
    peer = rig.connect().send(b"".join(requests))
    assert rig.drive()
    assert peer.bodies() == [b"one", b"/x", b"", b"three", b"four"]


# ---- bodies


def test_application_is_called_when_the_body_is_complete(rig: Rig) -> None:
    """A slow upload owns no thread: the application runs after its last byte."""
    request = post(b"0123456789")
    peer = rig.connect().send(request[:-4])
    assert rig.drive()
    assert rig.ran == []
    peer.send(request[-4:])
    assert rig.drive()
    assert peer.answer().body == b"0123456789"


def test_chunked_body_is_collected_and_measured(rig: Rig) -> None:
    """Its length is known by the time the application runs."""
    peer = rig.connect().send(get("/echo", "Transfer-Encoding: chunked", method="POST"))
    for piece in (b"one,", b"two,", b"three"):
        peer.send(chunked(piece, end=False))
        assert rig.drive()
        assert rig.ran == []
    peer.send(chunked())
    assert rig.drive()
    answer = peer.answer()
    assert answer.body == b"one,two,three"
    assert answer.headers["x-received"] == "13"


def test_large_body_lies_in_a_file_until_the_response(rig: Rig) -> None:
    """More than memory should hold goes to a temporary file, freed after the request."""
    body = b"0123456789abcdef" * (MEMORY // 16 + 1000)
    before = len(descriptors())
    files: list[int] = []

    def count(exchange: Exchange) -> None:
        files.append(len(descriptors()) - before)
        reply(exchange, b"same" if exchange.open_body().read() == body else b"different")

    rig.routes["/echo"] = count
    peer = rig.connect()
    opened = len(descriptors()) - before
    with Running(lambda: peer.send(post(body))):
        wait_until(lambda: rig.drive() and rig.ran, SECONDS)
    assert peer.answer().body == b"same"
    assert files == [opened + 1]
    assert len(descriptors()) - before == opened


def test_unread_body_does_not_become_a_request(rig: Rig) -> None:
    """An application that ignores the body leaves the connection in order."""
    peer = rig.connect().send(post(get("/smuggled"), target="/") + get("/next"))
    assert rig.drive()
    assert peer.bodies() == [b"hello", b"/next"]
    assert rig.ran == ["/", "/next"]


def test_truncated_body_never_reaches_the_application(rig: Rig) -> None:
    """A client that ends in the middle of its body gets 400, the application nothing."""
    peer = rig.connect().send(post(b"0123456789")[:-3])
    peer.sock.shutdown(SHUT_WR)
    assert rig.drive()
    assert peer.answer().status == 400
    assert rig.ran == []
    assert rig.core.connections == 0


def test_client_gone_in_the_middle_of_its_body(rig: Rig) -> None:
    """Everything collected is freed with the connection."""
    peer = rig.connect().send(post(b"x" * 1000)[:-3])
    assert rig.drive()
    peer.sock.close()
    assert rig.drive()
    assert rig.core.connections == 0
    assert rig.ran == []


def test_broken_chunk_is_refused(rig: Rig) -> None:
    """A framing error in the body ends the connection; what follows is not run."""
    peer = rig.connect().send(get("/echo", "Transfer-Encoding: chunked", method="POST"))
    peer.send(b"zz\r\n" + get("/next"))
    assert rig.drive()
    assert peer.answer().status == 400
    assert rig.ran == []


def test_no_body_is_read_as_empty(rig: Rig) -> None:
    """Without a body reading gives nothing, again and again on the same connection."""
    peer = rig.connect()
    for _ in range(2):
        peer.send(get("/echo"))
        assert rig.drive()
        assert peer.bodies() == [b""]


# ---- Expect: 100-continue

EXPECT = "Expect: 100-continue"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def test_continue_is_sent_when_the_application_asks(rig: Rig) -> None:
    """The application runs at once; its first read makes the client send (RFC 9110 §10.1.1)."""
    got: list[bytes] = []

    def read_later(exchange: Exchange) -> None:
        assert peer.taken() == b""
        body = exchange.open_body()
        with Running(send_when_told):
            got.append(body.read(4))
            got.append(body.read())
        reply(exchange, b"thanks", ("X-Received", str(exchange.received)))

    def send_when_told() -> None:
        assert wait_for(peer.sock.fileno(), READ, SECONDS)
        assert peer.taken() == CONTINUE
        peer.send(b"0123456789")

    rig.routes["/later"] = read_later
    peer = rig.connect().send(get("/later", "Content-Length: 10", EXPECT, method="POST"))
    assert rig.drive()
    assert got == [b"0123", b"456789"]
    assert peer.answer().headers["x-received"] == "10"
    peer.send(get("/next"))
    assert rig.drive()
    assert peer.bodies() == [b"/next"]


def test_no_continue_when_the_application_refuses(rig: Rig) -> None:
    """An application that answers without reading spares the client its upload."""
    peer = rig.connect().send(get("/", "Content-Length: 1000000", EXPECT, method="POST"))
    assert rig.drive()
    data = peer.taken()
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Connection: close\r\n" in data
    assert peer.closed


def test_body_that_comes_without_waiting(rig: Rig) -> None:
    """A client that expects 100 but sends at once is served without one."""
    peer = rig.connect().send(post(b"impatient", EXPECT))
    assert rig.drive()
    assert peer.answer().body == b"impatient"


def test_waiting_clients_do_not_take_all_threads() -> None:
    """With the permissions used up, the body is asked for and collected before the call."""
    with Rig({"/echo": echo}, lazy=0) as rig:
        peer = rig.connect().send(get("/echo", "Content-Length: 5", EXPECT, method="POST"))
        assert rig.drive()
        assert rig.ran == []
        assert peer.taken() == CONTINUE
        peer.send(b"12345")
        assert rig.drive()
        assert peer.answer().body == b"12345"


def test_permission_is_given_back(rig: Rig) -> None:
    """Each request that read its body late returns its permission, also when it failed."""
    for _ in range(5):
        peer = rig.connect().send(get("/", "Content-Length: 5", EXPECT, method="POST"))
        assert rig.drive()
        assert peer.taken()
    assert rig.lazy.acquire(blocking=False)
    assert rig.lazy.acquire(blocking=False)
    assert not rig.lazy.acquire(blocking=False)


def test_chunked_body_is_asked_for_at_once(rig: Rig) -> None:
    """Frameworks want its length first, so it is collected before the call."""
    fields = ("Transfer-Encoding: chunked", EXPECT)
    peer = rig.connect().send(get("/echo", *fields, method="POST"))
    assert rig.drive()
    assert peer.taken() == CONTINUE
    assert rig.ran == []
    peer.send(chunked(b"later"))
    assert rig.drive()
    assert peer.answer().body == b"later"


def test_truncated_while_the_application_reads(rig: Rig) -> None:
    """The application's read raises: it never takes a part for the whole."""
    caught: list[TruncatedBody] = []

    def read(exchange: Exchange) -> None:
        body = exchange.open_body()
        peer.send(b"123")
        peer.sock.shutdown(SHUT_WR)
        try:
            body.read()
        except TruncatedBody as exc:
            caught.append(exc)
        reply(exchange, b"cut")

    rig.routes["/read"] = read
    peer = rig.connect().send(get("/read", "Content-Length: 5", EXPECT, method="POST"))
    assert rig.drive()
    assert len(caught) == 1
    assert rig.core.connections == 0
