"""Clients that leave, stall or lie: no thread, descriptor or byte may be lost to them."""

import json
import random
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.apps.raw_client import SECONDS, RawClient, request
from tests.apps.served import Served
from tests.support.waiting import wait_until

ABORTED = 1000
BIG = 8 << 20


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    """A server for clients that leave; their leaving is no reason for a traceback."""
    with Served("tests.apps.torture:app", "--threads", "8") as running:
        yield running
    assert "Traceback" not in running.log


def post(target: str, sent: bytes, extra: str = "Content-Length: 1000000\r\n") -> bytes:
    """The head of an upload with the beginning of its body."""
    return request(target, extra, "POST") + sent


UPLOAD = "/raw/upload?key=aborted"
CHUNKED = "Transfer-Encoding: chunked\r\n"
EXPECT = "Expect: 100-continue\r\nContent-Length: 1000000\r\n"
ENDLESS = "/raw/endless?key=aborted"

# What a client says before it leaves, and what it waits for first.
STAGES: list[tuple[bytes, Callable[[RawClient], object] | None]] = [
    (b"", None),
    (b"GE", None),
    (b"GET /hello HTTP/1.1\r\nHost: a\r\nX-Half", None),
    (request("/hello"), None),
    (request("/hello"), RawClient.final_head),
    (request("/hello") * 20, RawClient.final_head),
    (post(UPLOAD, b""), None),
    (post(UPLOAD, b"x" * 300_000), None),
    (post(UPLOAD, b"ff\r\n" + b"x" * 100, CHUNKED), None),
    (post(UPLOAD, b"3\r\nabc\r\n0\r\n", CHUNKED), None),
    (post(UPLOAD, b"", EXPECT), RawClient.head),
    (post(UPLOAD, b"x" * 1000, EXPECT), None),
    (request(f"/raw/whole?n={BIG}"), None),
    (request(f"/raw/whole?n={BIG}"), RawClient.final_head),
    (request(ENDLESS), None),
    (request(ENDLESS), RawClient.chunk_of_response),
    (request("/raw/file?n=3000000&key=aborted-file"), RawClient.final_head),
    (request("/raw/sleep?ms=20"), None),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", None),
    (b"GET / HTTP/1.1\r\n\r\n", RawClient.final_head),
]
LEAVE: list[Callable[[RawClient], None]] = [
    RawClient.close,
    RawClient.reset,
    RawClient.half_close_and_go,
]


def abort(server: Served, number: int) -> None:
    """One client that says something, perhaps waits, and leaves in one of three ways."""
    said, wait = STAGES[number % len(STAGES)]
    with server.raw() as client:
        client.send(said)
        if wait is not None:
            wait(client)
        LEAVE[number // len(STAGES) % len(LEAVE)](client)


def sockets(server: Served) -> int:
    """How many of the server's descriptors are sockets."""
    return sum(what.startswith("socket:") for what in server.descriptors())


def test_a_thousand_aborted_clients_leave_nothing_behind(server: Served) -> None:
    """Clients abort in every state in every way: descriptors and threads are as before."""

    def abort_all(first: int, count: int) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: abort(server, number), range(first, first + count)))

    def quiet() -> bool:
        """Nothing is running any more: every endless response was closed."""
        return sockets(server) <= idle_sockets and len(server.descriptors()) <= idle

    # A server may make threads and files at first need, so one round goes unmeasured.
    idle_sockets, idle = sockets(server), len(server.descriptors()) + 8
    abort_all(0, len(STAGES) * len(LEAVE))
    wait_until(quiet, SECONDS, "the first round did not end")
    idle, threads = len(server.descriptors()), server.threads()
    before = server.counts()
    abort_all(0, ABORTED)
    wait_until(quiet, SECONDS, f"{sockets(server)} sockets, {server.descriptors()}")
    wait_until(lambda: server.threads() <= threads, SECONDS, "threads are left")
    after = server.counts()
    assert "never stopped aborted" not in after
    assert "complete aborted" not in after, "a truncated body passed for a complete one"
    entered = after.get("entered aborted", 0) - before.get("entered aborted", 0)
    raised = after.get("raised TruncatedBody aborted", 0)
    assert raised - before.get("raised TruncatedBody aborted", 0) == entered
    with server.raw() as client:
        assert client.get("/hello").body == b"hello\n"


def test_close_is_called_when_the_client_disconnects(server: Served) -> None:
    """The iterable of a response nobody wants is closed, once, within the test's deadline."""
    for number, leave in enumerate(LEAVE):
        key = f"gone-{number}"
        with server.raw() as client:
            client.send(request(f"/endless?key={key}"))
            client.chunk_of_response()
            leave(client)
        wait_until(lambda key=key: server.counts().get(f"closed {key}"), SECONDS, key)  # type: ignore[misc]
        assert server.counts()[f"closed {key}"] == 1


@pytest.mark.parametrize(
    ("extra", "sent"),
    [
        ("Content-Length: 1000\r\n", b"x" * 999),
        ("Content-Length: 1000000\r\n", b"x" * 500_000),
        (CHUNKED, b"3e8\r\n" + b"x" * 1000 + b"\r\n"),
        (CHUNKED, b"3e8\r\n" + b"x" * 999),
        (CHUNKED, b"1\r\nx\r\n0\r\n"),
        ("Expect: 100-continue\r\nContent-Length: 1000\r\n", b"x" * 999),
        ("Expect: 100-continue\r\n" + CHUNKED, b"1\r\nx\r\n"),
    ],
    ids=["last-byte", "half", "no-end", "in-chunk", "in-trailer", "expect", "expect-chunked"],
)
@pytest.mark.parametrize("leave", LEAVE)
def test_truncated_body_is_never_complete(
    server: Served, extra: str, sent: bytes, leave: Callable[[RawClient], None]
) -> None:
    """An application that reads a truncated body gets an OSError, or is not called at all."""
    key = f"cut-{random.randbytes(8).hex()}"
    with server.raw() as client:
        client.send(request(f"/raw/upload?key={key}", extra, "POST"))
        if "100-continue" in extra:
            assert client.head().status == 100
        client.send(sent)
        leave(client)
    with server.raw() as client:
        assert client.get("/hello").body == b"hello\n"

    def settled() -> bool:
        counts = server.counts()
        assert f"complete {key}" not in counts
        entered = counts.get(f"entered {key}", 0)
        return counts.get(f"raised TruncatedBody {key}", 0) == entered

    wait_until(settled, SECONDS, "the application neither failed nor ended")


def test_half_closed_upload_is_told_so(server: Served) -> None:
    """A client that ends its side too early and waits gets an error, not silence."""
    with server.raw() as client:
        client.send(post("/raw/upload?key=told", b"x" * 10))
        client.half_close()
        data = client.rest()
    assert data.startswith((b"HTTP/1.1 400", b"HTTP/1.1 408", b"HTTP/1.1 500")), data


def test_slow_readers_do_not_hold_application_threads() -> None:
    """With two threads, six clients that never read 8 MiB responses keep nobody waiting."""
    with Served("tests.apps.torture:app", "--threads", "2") as server:
        slow = [server.raw(receive_buffer=4096) for _ in range(6)]
        try:
            for client in slow:
                client.send(request(f"/raw/whole?n={BIG}"))
            for _ in range(5):
                with server.raw() as honest:
                    honest.sock.settimeout(2)
                    assert honest.get("/hello").body == b"hello\n"
            for client in slow[:3]:
                assert client.response().body == b"w" * BIG
        finally:
            for client in slow:
                client.close()
        with server.raw() as honest:
            assert honest.get("/hello").body == b"hello\n"


@pytest.mark.parametrize(
    "target",
    [f"/raw/whole?n={BIG}", f"/raw/file?n={BIG}", f"/raw/download?n={BIG}", f"/file?n={BIG}"],
)
def test_late_reader_gets_everything(server: Served, target: str) -> None:
    """Whether buffered, spooled or left in its file: who reads late gets the right bytes."""
    with server.raw() as client:
        expected = client.get(target).body
    slow = [server.raw(receive_buffer=4096) for _ in range(4)]
    try:
        for client in slow:
            client.send(request(target) + request("/hello"))
        with server.raw() as honest:
            for _ in range(20):
                assert honest.get("/sleep?ms=10").body == b"slept\n"
        for client in slow:
            assert client.response().body == expected
            assert client.response().body == b"hello\n"
    finally:
        for client in slow:
            client.close()


def test_slow_senders_do_not_hold_application_threads() -> None:
    """With two threads, clients in the middle of heads and bodies keep nobody waiting."""
    with Served("tests.apps.torture:app", "--threads", "2") as server:
        slow = [server.raw() for _ in range(12)]
        try:
            for number, client in enumerate(slow):
                half = post("/raw/upload", b"x" * 1000)
                said = [half, half[:40], post("/raw/upload", b"5\r\nab", CHUNKED), b""]
                client.send(said[number % len(said)])
            for _ in range(5):
                with server.raw() as honest:
                    honest.sock.settimeout(2)
                    assert honest.get("/hello").body == b"hello\n"
        finally:
            for client in slow:
                client.close()


@pytest.fixture(scope="module")
def impatient() -> Iterator[Served]:
    """A server with deadlines of a second."""
    options = ["--header-timeout", "1", "--keep-alive", "1", "--body-timeout", "1"]
    with Served("tests.apps.torture:app", "--threads", "2", *options) as running:
        yield running


def test_slow_head_gets_408(impatient: Served) -> None:
    """A head that does not come to its end in time is answered with 408 and closed."""
    with impatient.raw() as client:
        client.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n")
        answer = client.response()
        assert answer.status == 408
        assert client.rest() == b""


def test_trickling_head_gets_408(impatient: Served) -> None:
    """Single bytes now and then do not extend the deadline of the head."""
    with impatient.raw() as client:
        client.sock.settimeout(0.1)
        client.send(b"GET /hello HTTP/1.1\r\nHost: a\r\nX-Slow: ")
        data = b""
        for _ in range(int(SECONDS * 10)):
            try:
                client.send(b"x")
                data = client.sock.recv(4096)
            except TimeoutError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                break
            break
        assert data.startswith(b"HTTP/1.1 408")


def test_idle_connection_is_closed_silently(impatient: Served) -> None:
    """Who says nothing gets nothing: no 408 that could be taken for an answer."""
    with impatient.raw() as client:
        assert client.rest() == b""
    with impatient.raw() as client:
        assert client.get("/hello").body == b"hello\n"
        assert client.rest() == b""


def test_stalled_body_gets_408(impatient: Served) -> None:
    """A body of which nothing more arrives is answered with 408 and closed."""
    with impatient.raw() as client:
        client.send(post("/raw/upload?key=stalled", b"x" * 10))
        answer = client.response()
        assert answer.status == 408
        assert client.rest() == b""
    assert "complete stalled" not in impatient.counts()


def test_body_that_stalls_while_the_application_reads(impatient: Served) -> None:
    """After a 100 Continue the application's read fails; the client is told or cut off."""
    with impatient.raw() as client:
        client.send(request("/raw/upload?key=lazy", EXPECT, "POST"))
        assert client.head().status == 100
        client.send(b"x" * 10)
        data = client.rest()
    assert data == b"" or data.split(b" ")[1] in (b"408", b"500")
    counts = impatient.counts()
    assert (counts.get("raised TruncatedBody lazy"), counts.get("complete lazy")) == (1, None)


def test_slow_application_is_not_cut_off(impatient: Served) -> None:
    """The deadlines are the client's; an application may take longer than any of them."""
    with impatient.raw() as client:
        assert client.get("/sleep?ms=2500").body == b"slept\n"
        assert client.get("/hello").body == b"hello\n"


def test_response_goes_on_after_a_half_close(server: Served) -> None:
    """A client that sends FIN after its request still gets the whole response."""
    for target in (f"/raw/whole?n={BIG}", f"/raw/download?n={BIG}&length=1"):
        with server.raw() as client:
            client.send(request(target))
            client.half_close()
            assert len(client.response().body) == BIG
            assert client.rest() == b""


def test_many_connections_at_once(server: Served) -> None:
    """Five hundred idle connections are open, and each is served when it asks."""
    clients = [server.raw() for _ in range(500)]
    try:
        for client in clients:
            client.send(request("/raw/environ"))
        ports = [json.loads(client.response().body)["cgi"]["REMOTE_PORT"] for client in clients]
        assert ports == [str(client.sock.getsockname()[1]) for client in clients]
    finally:
        for client in clients:
            client.close()


def test_out_of_band_data_does_no_harm(server: Served) -> None:
    """TCP urgent data is either read as ordinary data or ignored; the server goes on."""
    with server.raw() as client:
        client.sock.send(b"!", socket.MSG_OOB)
        client.send(request("/hello"))
        client.rest() if client.final_head().status != 200 else client.take(6)
    with server.raw() as client:
        assert client.get("/hello").body == b"hello\n"
