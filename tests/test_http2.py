"""HTTP/2 over a real socket, on both engines: what applications see, limits, and the end."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.support.http2 import (
    ACK,
    DATA,
    END_STREAM,
    GOAWAY,
    PING,
    PREFACE,
    SETTINGS,
    Http2Client,
    frame,
    headers,
    settings_of,
    window_update,
)
from tests.support.server import Server

WSGI = "tests.apps.http2_app:app"
ASGI = "tests.apps.http2_asgi:app"
ENGINES = [WSGI, ASGI]
LIMITS = (
    *("--limit-request-body", "5000000", "--body-timeout", "1", "--write-timeout", "1"),
    *("--header-timeout", "1", "--keep-alive", "1", "--access-log", "-"),
)

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, CANCEL = 0, 1, 2, 8


@pytest.fixture(scope="module", params=ENGINES, ids=["wsgi", "asgi"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One for all tests that only ask."""
    with Server(request.param, "--threads", "16", *LIMITS) as running:
        yield running


@contextlib.contextmanager
def client_of(
    running: Server, *pairs: tuple[int, int], windows: bool = True
) -> Iterator[Http2Client]:
    """A client with prior knowledge."""
    sock = socket.create_connection(("127.0.0.1", running.port), timeout=10)
    with Http2Client(sock, *pairs, windows=windows) as client:
        yield client


def is_wsgi(running: Server) -> bool:
    """Which engine it is."""
    return WSGI in running.command


def test_requests_and_answers(server: Server) -> None:
    """Methods, statuses and bodies are what they are over HTTP/1."""
    with client_of(server) as client:
        answer = client.get("/")
        assert (answer.status, answer.body) == (200, b"hello\n")
        assert answer.fields["content-length"] == "6"
        assert answer.fields["server"] == "nogilserve"
        assert "date" in answer.fields
        assert client.answer(client.ask("/echo", "POST", b"abc")).body == b"abc"
        head = client.answer(client.ask("/bytes/1000", "HEAD"))
        assert (head.body, head.fields["content-length"]) == (b"", "1000")
        for status in (204, 304):
            answer = client.get(f"/status/{status}")
            assert (answer.status, answer.body) == (status, b"")
        assert client.get("/status/404").status == 404
        assert client.get("/bytes/300000").body == b"b" * 300000
        assert client.get("/stream/1234567").body == b"s" * 1234567
        assert client.get("/file/400000").body == b"f" * 400000


def test_what_the_application_is_told(server: Server) -> None:
    """The version, the host from :authority, and a cookie that was sent in crumbs."""
    with client_of(server) as client:
        if is_wsgi(server):
            number = client.begin("/environ/a?q=1", "GET", True, cookie="a=b")
            told = client.answer(number).body.decode()
            assert "SERVER_PROTOCOL=HTTP/2\n" in told
            assert "HTTP_HOST=h\n" in told
            assert "PATH_INFO=/environ/a\n" in told
            assert "QUERY_STRING=q=1\n" in told
            assert "HTTP_COOKIE=a=b\n" in told
        else:
            told = client.get("/scope").body.decode()
            assert "'http_version': '2'" in told
            assert "'method': 'GET'" in told


def test_trailers_mean_the_same_over_both_protocols(server: Server) -> None:
    """They are checked and not told to the application, whose body is complete; those that would
    have to be known before the body are refused."""
    path = "/environ" if is_wsgi(server) else "/echo"
    with client_of(server) as client, server.connect() as old:
        for asked, shown in (("/echo", b"abc"), (path, b"")):
            number = client.begin(asked)
            client.send(frame(DATA, 0, number, b"abc") + headers(number, [("x-sum", "1")]))
            new = client.answer(number)
            old.send(
                f"POST {asked} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            )
            old.send(b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")
            answer = old.receive()
            assert (new.status, answer.status) == (200, 200)
            assert shown in new.body
            assert shown in answer.body
            assert b"SUM" not in new.body.upper() + answer.body.upper()
        number = client.begin("/echo")
        client.send(frame(DATA, 0, number, b"abc") + headers(number, [("authorization", "x")]))
        client.receive(lambda: client.answers[number].over)
        assert client.answers[number].reset == PROTOCOL_ERROR
        old.send(b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        old.send(b"3\r\nabc\r\n0\r\nAuthorization: x\r\n\r\n")
        assert old.receive().status == 400
        assert client.get("/").status == 200


def test_early_hints_and_expectation(server: Server) -> None:
    """103 comes before the response, 100 when the client waits for it."""
    with client_of(server) as client:
        heads = client.get("/hints").heads
        assert [head[":status"] for head in heads] == ["103", "200"]
        assert heads[0]["link"] == "</a.css>; rel=preload"
        number = client.begin("/echo", expect="100-continue")
        answer = client.answers[number]
        client.receive(lambda: answer.heads)
        assert answer.heads[0][":status"] == "100"
        client.send(frame(DATA, END_STREAM, number, b"xyz"))
        assert client.answer(number).body == b"xyz"


def test_large_body(server: Server) -> None:
    """A body above all windows arrives whole."""
    with client_of(server) as client:
        number = client.begin("/echo")
        sent = 0
        while sent < 3_000_000:
            # Waits where the client's window is used up: the server widens it.
            needed = sent + 16384
            client.receive(lambda needed=needed: needed <= window(client, number))  # type: ignore[misc]
            client.send(frame(DATA, 0, number, b"z" * 16384))
            sent += 16384
        client.send(frame(DATA, END_STREAM, number))
        assert len(client.answer(number).body) == sent


def window(client: Http2Client, number: int) -> int:
    """Bytes that may be sent on a stream in all, as far as the server has said."""
    given = {0: 65535, number: 65535}
    for one in client.frames:
        if one.kind == 8 and one.stream in given:
            given[one.stream] += int.from_bytes(one.payload)
    return min(given.values())


def test_streams_run_side_by_side(server: Server) -> None:
    """Eight requests of one connection that end only together, or in about the time of one."""
    with client_of(server) as client:
        path = "/together" if is_wsgi(server) else "/sleep/0.2"
        numbers = [client.ask(path) for _ in range(8)]
        assert [client.answer(number).status for number in numbers] == [200] * 8


def test_quick_answer_overtakes_a_slow_one(server: Server) -> None:
    """A stream that takes long keeps no other one waiting."""
    with client_of(server) as client:
        slow = client.ask("/gate" if is_wsgi(server) else "/sleep/0.5")
        assert client.get("/").status == 200
        assert not client.answers[slow].over
        if is_wsgi(server):
            client.get("/open")
        assert client.answer(slow).status == 200


def test_failures(server: Server) -> None:
    """An application that fails costs its stream, not the connection."""
    with client_of(server) as client:
        assert client.get("/fail").status == 500
        assert client.get("/broken").reset == INTERNAL_ERROR
        if is_wsgi(server):
            assert client.get("/short").reset == INTERNAL_ERROR
            assert client.get("/connection").status == 500  # as over HTTP/1
        assert client.get("/").status == 200


def test_refusals(server: Server) -> None:
    """What is refused is answered as over HTTP/1, and the connection serves on."""
    with client_of(server) as client:
        assert client.get("/", host="h", expect="nonsense").status == 417
        assert client.get("/" + "x" * 9000).status == 414
        assert client.get("/", **{f"x_{n}": "v" for n in range(120)}).status == 431
        too_big = client.begin("/echo", content_length="5000001")
        answer = client.answer(too_big)
        assert answer.status == 413
        client.receive(lambda: answer.reset == NO_ERROR)
        assert client.get("/").status == 200


def test_windows_of_a_few_bytes(server: Server) -> None:
    """A client that gives three bytes at a time gets all of them."""
    with client_of(server, (4, 3)) as client:
        assert client.get("/bytes/200").body == b"b" * 200


def test_client_that_gives_no_window(server: Server) -> None:
    """Its stream is reset after the write timeout; the connection is fine."""
    with client_of(server, (4, 0)) as client:
        number = client.ask("/bytes/100000")
        assert client.answer(number, 10).reset == CANCEL


def test_body_that_stalls(server: Server) -> None:
    """408 on its stream."""
    with client_of(server) as client:
        number = client.begin("/echo")
        client.send(frame(DATA, 0, number, b"a little"))
        assert client.answer(number).status == 408
        assert client.get("/").status == 200


def test_idle_connection_ends(server: Server) -> None:
    """After the keep-alive time, in order; frames that are no requests do not prolong it."""
    with client_of(server) as client:
        client.get("/")
        assert client.goaway() == NO_ERROR


def test_head_that_does_not_come(server: Server) -> None:
    """A field section without its end is given the header timeout."""
    with client_of(server) as client:
        client.send(frame(1, 1, 1, b"\x82"))
        assert client.goaway() == PROTOCOL_ERROR


def test_preface_in_pieces(server: Server) -> None:
    """However the preface is cut, HTTP/2 is recognised in it."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        client = Http2Client(sock, greet=False)
        for at in range(len(PREFACE)):
            client.send(PREFACE[at : at + 1])
        client.send(frame(SETTINGS, 0, 0))
        assert client.get("/").status == 200
        assert settings_of(client.frames)[3] == 100


def test_mistake_ends_the_connection(server: Server) -> None:
    """GOAWAY with its code, then the end."""
    with client_of(server) as client:
        client.send(frame(PING, 0, 0, b"short"))
        assert client.goaway() == 6


def test_access_log(server: Server) -> None:
    """A line for each stream, which names the version."""
    with client_of(server) as client:
        client.get("/status/203")
    server.wait_out(r'"GET /status/203 HTTP/2" 203 6 ')


def test_reset_reaches_the_application(server: Server) -> None:
    """ASGI: http.disconnect. WSGI: a response that nobody wants harms nobody."""
    with client_of(server) as client:
        if is_wsgi(server):
            number = client.ask("/sleep/0.1")
            client.send(frame(3, 0, number, (8).to_bytes(4)))
            assert client.get("/").status == 200
            return
        number = client.ask("/disconnect")
        client.send(frame(3, 0, number, (8).to_bytes(4)))
        while b"http.disconnect" not in client.get("/seen").body:
            pass


def test_many_streams_at_once_while_frames_arrive(server: Server) -> None:
    """A shared connection under pressure: streams end in several threads at once while the client
    pings, widens windows, uploads and takes requests back. Every answer is whole and its own."""
    with client_of(server) as client:
        for turn in range(6):
            expected: dict[int, int] = {}
            for n in range(60):
                size = 1 + (n * 7919 + turn) % 90000
                kind = ("bytes", "stream", "file")[n % 3]
                expected[client.ask(f"/{kind}/{size}")] = size
                client.send(frame(PING, 0, 0, n.to_bytes(8)))
                if n % 10 == 0:
                    number = client.ask("/sleep/0.01")
                    client.send(frame(3, 0, number, (8).to_bytes(4)))
            for number, size in expected.items():
                answer = client.answer(number, 20)
                assert answer.reset is None
                assert len(answer.body) == size
                assert len(set(answer.body)) <= 1
        pings = [one for one in client.frames if one.kind == PING and one.flags & ACK]
        assert len(pings) == 360
        assert not [one for one in client.frames if one.kind == GOAWAY]


@pytest.mark.parametrize(
    ("app", "patient"),
    [(WSGI, False), (ASGI, False), (WSGI, True)],
    ids=["wsgi", "asgi", "wsgi-reload"],
)
def test_drain(app: str, patient: bool) -> None:
    """A server that stops says GOAWAY, finishes what was begun, and ends the connection."""
    with Server(app, "--threads", "8", "--workers", "1") as running, client_of(running) as client:
        slow = client.ask("/sleep/2" if patient else "/sleep/0.6")
        client.get("/")
        os.kill(running.pid, signal.SIGHUP if patient else signal.SIGTERM)
        client.receive(lambda: any(one.kind == GOAWAY for one in client.frames))
        late = client.ask("/")  # not what a client should do
        assert client.answer(slow).status == 200
        assert client.answer(late).over
        assert client.goaway() == NO_ERROR


@pytest.mark.parametrize("app", ENGINES, ids=["wsgi", "asgi"])
def test_too_many_requests(app: str) -> None:
    """--limit-concurrency answers 503 on the stream."""
    arguments = ("--limit-concurrency", "2", "--threads", "4", "--workers", "1")
    with Server(app, *arguments) as running, client_of(running) as client:
        numbers = [client.ask("/sleep/0.5") for _ in range(5)]
        statuses = sorted(client.answer(number).status for number in numbers)
        assert statuses == [200, 200, 503, 503, 503]
        assert client.get("/").status == 200


@pytest.mark.parametrize("app", ENGINES, ids=["wsgi", "asgi"])
def test_only_one_version(app: str) -> None:
    """--http 1 does not take up HTTP/2, --http 2 says to others what it speaks."""
    with Server(app, "--http", "1", "--workers", "1") as running:
        with running.connect() as raw:
            raw.send(PREFACE)
            assert raw.receive().status == 505
    with Server(app, "--http", "2", "--workers", "1") as running:
        with client_of(running) as client:
            assert client.get("/").status == 200
        with running.connect() as raw:
            raw.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            response = raw.receive()
            assert response.status == 505
            assert b"only HTTP/2" in response.body
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as sock:
            client = Http2Client(sock, greet=False)
            client.send(b"INVALID CONNECTION PREFACE\r\n\r\n")
            assert client.goaway() == PROTOCOL_ERROR


@pytest.mark.parametrize("app", ENGINES, ids=["wsgi", "asgi"])
def test_application_that_takes_too_long(app: str) -> None:
    """--timeout answers 504 on the stream; others go on."""
    arguments = ("--timeout", "0.3", "--threads", "4", "--workers", "1")
    with Server(app, *arguments) as running, client_of(running) as client:
        slow = client.ask("/sleep/2")
        assert client.get("/").status == 200
        assert client.answer(slow).status == 504
        assert client.get("/").status == 200


def test_slow_reader_costs_a_file_and_no_thread() -> None:
    """WSGI: more than memory holds goes to a file; the threads stay free."""
    with Server(WSGI, "--threads", "2", "--workers", "1") as running:
        with client_of(running, windows=False) as client:
            numbers = [client.ask("/stream/3000000") for _ in range(3)]
            with client_of(running) as other:
                assert other.get("/").status == 200
            client.windows = True
            client.send(window_update(0, 1 << 25))
            for number in numbers:
                client.send(window_update(number, 1 << 25))
            for number in numbers:
                assert len(client.answer(number).body) == 3_000_000


def test_several_connections_from_threads(server: Server) -> None:
    """Connections do not get into each other's way."""
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            with client_of(server) as client:
                for turn in range(5):
                    sizes = [(seed * 331 + turn * 17 + n * 997) % 30000 + 1 for n in range(20)]
                    numbers = [client.ask(f"/bytes/{size}") for size in sizes]
                    for number, size in zip(numbers, sizes, strict=True):
                        assert len(client.answer(number).body) == size
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []


def test_preface_behind_a_request(server: Server) -> None:
    """Prior knowledge is there from the beginning: in the middle it is a mistake of HTTP/1."""
    with server.connect() as raw:
        assert raw.get("/").status == 200
        raw.send(PREFACE)
        assert raw.receive().status == 505


@pytest.mark.parametrize("app", ENGINES, ids=["wsgi", "asgi"])
def test_client_that_asks_for_much_and_takes_nothing(app: str) -> None:
    """Requests are begun only as long as the answers to earlier ones are taken. With one thread: of
    several each may begin one before the answers of the others are there."""
    with (
        Server(app, "--threads", "1", "--workers", "1") as running,
        client_of(running, (4, 0), windows=False) as client,
    ):
        numbers = [client.ask("/bytes/3000000") for _ in range(8)]
        client.receive(lambda: len([n for n in numbers if client.answers[n].heads]) >= 2)
        client.send(frame(PING, 0, 0, b"last one"))
        client.receive(lambda: any(f.payload == b"last one" for f in client.frames))
        assert len([n for n in numbers if client.answers[n].heads]) == 2
        client.send(window_update(0, 1 << 30))
        for number in numbers:
            client.send(window_update(number, 1 << 23))
        for number in numbers:
            assert len(client.answer(number, 20).body) == 3_000_000


def test_client_that_goes_away(server: Server) -> None:
    """The end of its side is the end of the connection: nothing could be sent to it for long."""
    with client_of(server, (4, 0)) as client:
        client.ask("/bytes/100")
        client.receive(lambda: client.answers[1].heads)
        client.sock.shutdown(socket.SHUT_WR)
        client.receive(lambda: client.closed)


def test_client_that_says_goaway(server: Server) -> None:
    """It is answered as long as it stays, and not waited for longer than a moment."""
    with client_of(server) as client:
        number = client.ask("/sleep/0.1")
        client.send(frame(GOAWAY, 0, 0, bytes(8)))
        assert client.answer(number).status == 200
        client.send(frame(PING, 0, 0, b"and now?"))
        client.receive(lambda: any(one.payload == b"and now?" for one in client.frames))
        assert client.goaway() == NO_ERROR


def test_stream_to_a_client_that_gives_no_window(server: Server) -> None:
    """An application that waits for a client is not left waiting: the stream is reset."""
    with client_of(server, (4, 0)) as client:
        number = client.ask("/stream/1000000")
        assert client.answer(number, 8).reset in {CANCEL, INTERNAL_ERROR}


@pytest.mark.parametrize("app", ENGINES, ids=["wsgi", "asgi"])
def test_frames_behind_the_end(app: str) -> None:
    """A client that has not read the end yet may go on sending; nobody answers, or minds."""
    with Server(app, "--workers", "1", "--keep-alive", "1") as running:
        with client_of(running) as client:
            client.get("/")
            client.receive(lambda: client.closed)
            client.send(frame(PING, 0, 0, b"too late") * 3)
        with client_of(running) as client:  # one loop: it has read what came before
            assert client.get("/").status == 200
    assert "write_eof" not in running.errors.text
