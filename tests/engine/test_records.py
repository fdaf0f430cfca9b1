"""Access records: what the log is told about complete, aborted, refused and bodiless requests."""

from collections.abc import Callable, Iterator
from time import time

import pytest

from nogilserve.messages import Exchange, RequestRecord
from tests.engine.rig import Rig, echo, get, post, reply


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A core that keeps records."""
    with Rig({"/echo": echo}, record=True) as made:
        yield made


def only(rig: Rig) -> RequestRecord:
    """The one record there is."""
    assert len(rig.records) == 1
    return rig.records[0]


def stream(exchange: Exchange) -> None:
    """Two pieces, chunked."""
    exchange.prepare("201 Created", [("X-Kind", "stream")])
    exchange.send_head(None)
    exchange.send_data(b"12345")
    exchange.send_data(b"x" * 70_000)
    exchange.send_end()


def test_complete_request(rig: Rig) -> None:
    """Everything that the log may want, as it was."""
    before = time()
    peer = rig.connect().send(post(b"0123456789", "User-Agent: me", target="/echo?q=1"))
    assert rig.drive()
    assert peer.answer().body == b"0123456789"
    record = only(rig)
    assert (record.method, record.target, record.minor) == ("POST", "/echo?q=1", 1)
    assert (record.status, record.sent, record.received) == (200, 10, 10)
    assert record.client == "192.0.2.1"
    assert ("user-agent", "me") in record.headers
    assert ("X-Received", "10") in record.response_headers
    assert ("Content-Length", "10") in record.response_headers
    assert before - 1 <= record.started <= time() + 1
    assert 0 <= record.seconds < 10
    assert record.request_id


@pytest.mark.parametrize("size", [5, 65_536, 65_537, 150_000])
def test_size_of_a_whole_response(rig: Rig, size: int) -> None:
    """The size is that of the body, without head, whatever way it was sent."""
    rig.routes["/size"] = lambda exchange: reply(exchange, b"x" * size)
    rig.connect().send(get("/size"))
    assert rig.drive()
    record = only(rig)
    assert (record.status, record.sent) == (200, size)


def test_size_of_a_streamed_response(rig: Rig) -> None:
    """The framing does not count."""
    rig.routes["/stream"] = stream
    rig.connect().send(get("/stream"))
    assert rig.drive()
    record = only(rig)
    assert (record.status, record.sent) == (201, 70_005)
    assert ("X-Kind", "stream") in record.response_headers


@pytest.mark.parametrize("size", [5, 1000, 100_000])
@pytest.mark.parametrize("kind", ["whole", "stream"])
def test_head_sends_no_body(rig: Rig, kind: str, size: int) -> None:
    """Of a HEAD request the status and the fields are right, and no body byte was sent."""

    def streamed(exchange: Exchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(size)
        exchange.send_data(b"x" * size)
        exchange.send_end()

    routes: dict[str, Callable[[Exchange], None]] = {
        "whole": lambda exchange: reply(exchange, b"x" * size),
        "stream": streamed,
    }
    rig.routes["/head"] = routes[kind]
    rig.connect().send(get("/head", method="HEAD"))
    assert rig.drive()
    record = only(rig)
    assert (record.method, record.status, record.sent) == ("HEAD", 200, 0)
    assert ("Content-Length", str(size)) in record.response_headers


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_statuses_without_a_body(rig: Rig, status: str) -> None:
    """What the application gave for a body was not sent, so it is not counted."""

    def route(exchange: Exchange) -> None:
        exchange.prepare(status, [])
        exchange.send_whole(b"")

    rig.routes["/none"] = route
    rig.connect().send(get("/none"))
    assert rig.drive()
    record = only(rig)
    assert (record.status, record.sent) == (int(status[:3]), 0)


def test_aborted_response(rig: Rig) -> None:
    """A response that broke off is recorded with what was sent of it."""

    def abort(exchange: Exchange) -> None:
        exchange.prepare("200 OK", [])
        exchange.send_head(100)
        exchange.send_data(b"part")
        exchange.abort()

    rig.routes["/abort"] = abort
    rig.connect().send(get("/abort"))
    assert rig.drive()
    record = only(rig)
    assert (record.status, record.sent) == (200, 4)


def test_client_gone_before_the_response(rig: Rig) -> None:
    """Nothing was sent: there is no status."""

    def abort(exchange: Exchange) -> None:
        exchange.abort()

    rig.routes["/abort"] = abort
    rig.connect().send(get("/abort"))
    assert rig.drive()
    record = only(rig)
    assert (record.status, record.sent, record.response_headers) == (0, 0, [])


def test_client_gone_in_the_middle_of_a_response(rig: Rig) -> None:
    """The size is what the system took, not what the application produced."""
    size = 3_000_000
    rig.routes["/big"] = lambda exchange: reply(exchange, b"x" * size)
    peer = rig.connect(receive_buffer=8192).send(get("/big"))
    assert rig.drive()
    assert rig.records == []
    got = len(peer.taken(20_000))
    peer.sock.close()
    assert rig.drive()
    record = only(rig)
    assert record.status == 200
    assert got - 500 < record.sent < size


def test_slow_reader_is_recorded_at_its_end(rig: Rig) -> None:
    """A response is recorded once, when its last byte is with the system."""
    size = 1_000_000
    rig.routes["/big"] = lambda exchange: reply(exchange, b"x" * size)
    peer = rig.connect(receive_buffer=8192).send(get("/big"))
    assert rig.drive()
    assert rig.records == []
    for _ in range(10_000):
        peer.taken(1 << 16)
        assert rig.drive()
        if rig.records:
            break
    record = only(rig)
    assert (record.status, record.sent) == (200, size)


def test_requests_on_one_connection_are_told_apart(rig: Rig) -> None:
    """Each has its own record, id, sizes and status, in order."""
    rig.routes["/stream"] = stream
    rig.connect().send(get("/a") + post(b"123") + get("/stream") + get("/long/target"))
    assert rig.drive()
    assert [(r.target, r.status, r.sent, r.received) for r in rig.records] == [
        ("/a", 200, 2, 0),
        ("/echo", 200, 3, 3),
        ("/stream", 201, 70_005, 0),
        ("/long/target", 200, 12, 0),
    ]
    assert len({record.request_id for record in rig.records}) == 4


def test_core_lost_meanwhile(rig: Rig) -> None:
    """A request finished without the core is recorded by the new driver, once."""

    def late(exchange: Exchange) -> None:
        rig.steal()
        reply(exchange, b"late")

    rig.routes["/late"] = late
    rig.connect().send(get("/late"))
    assert not rig.drive()
    assert rig.records == []
    assert rig.drive()
    assert only(rig).sent == 4


def test_refused_request(rig: Rig) -> None:
    """A request that never reached the application is recorded with its status and the reason."""
    rig.connect().send(get("/ok") + b"GET / HTTP/1.1\r\n\r\n")
    assert rig.drive()
    assert [(r.target, r.status) for r in rig.records] == [("/ok", 200), ("/", 400)]
    assert [r.refusal[:4] for r in rig.records] == ["", "400:"]
    assert rig.records[1].sent > 0


def test_stalled_body_is_recorded_with_its_target(rig: Rig) -> None:
    """Of a request refused after its head the head is known."""
    rig.connect().send(post(b"0123456789")[:-3])
    assert rig.drive()
    rig.look_after(32.0)
    record = only(rig)
    assert (record.method, record.target, record.status) == ("POST", "/echo", 408)


def test_idle_end_is_no_request(rig: Rig) -> None:
    """Connections that end between requests leave no record."""
    rig.connect()
    peer = rig.connect().send(get())
    assert rig.drive()
    peer.sock.close()
    assert rig.drive()
    rig.look_after(20.0)
    assert [record.target for record in rig.records] == ["/"]
