"""Every legal corner of ASGI 3 over HTTP, served for real on two event loops."""

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.apps.asgi_served import LOOPS, TORTURE, AsgiServed
from tests.apps.raw_client import SECONDS, RawClient, chunked, request
from tests.support.waiting import wait_until

BODY = b"first line\nsecond\r\n\nlast, and longer than the others, without an end of line"


@pytest.fixture(scope="module", params=LOOPS)
def server(request: pytest.FixtureRequest) -> Iterator[AsgiServed]:
    """One server for all tests here; none of them may make it log a traceback."""
    with AsgiServed(TORTURE, "--loops", "2", "--loop", request.param) as running:
        yield running
    assert "Traceback" not in running.log


@pytest.fixture
def client(server: AsgiServed) -> Iterator[RawClient]:
    """A connection; at the end of each test it must still be good for a request."""
    with server.raw() as connection:
        yield connection
        assert connection.get("/hello").body == b"hello\n"


def test_hello(client: RawClient) -> None:
    """The ordinary response, with one date and one server header."""
    answer = client.get("/hello")
    assert (answer.status, answer.reason, answer.body) == (200, "OK", b"hello\n")
    assert answer.header("date")
    assert answer.header("server")
    assert answer.header("content-length") == "6"
    assert answer.header("transfer-encoding") is None


def test_scope(client: RawClient) -> None:
    """The scope has what the specification asks, of the right types."""
    target = "/scope/caf%C3%A9%20%2F?a=1&b=%C3%A9"
    document = json.loads(client.get(target, "X-One: a\r\nX-One: b\r\n").body)
    assert document["wrong"] == []
    scope = document["scope"]
    assert scope["type"] == "http"
    assert scope["asgi"]["version"] == "3.0"
    assert scope["asgi"]["spec_version"] >= "2.5"
    assert scope["http_version"] == "1.1"
    assert scope["method"] == "GET"
    assert scope["scheme"] == "http"
    assert scope["path"] == "/scope/caf\u00e9 /"
    assert scope["raw_path"] == "/scope/caf%C3%A9%20%2F"
    assert scope["query_string"] == "a=1&b=%C3%A9"
    assert scope["root_path"] == ""
    assert [value for name, value in scope["headers"] if name == "x-one"] == ["a", "b"]
    assert scope["client"][0] == "127.0.0.1"
    assert scope["server"][0] == "127.0.0.1"
    assert isinstance(scope["server"][1], int)


def test_extensions(client: RawClient) -> None:
    """The extensions that HTTP/1.1 can carry are offered."""
    offered = set(json.loads(client.get("/extensions").body))
    names = {"trailers", "pathsend", "zerocopysend", "early_hint"}
    assert {f"http.response.{name}" for name in names} <= offered
    assert "http.response.push" not in offered
    assert "websocket.http.response" not in offered


def test_asterisk(client: RawClient) -> None:
    """OPTIONS * reaches the application."""
    scope = json.loads(client.get("*", method="OPTIONS").body)["scope"]
    assert (scope["method"], scope["raw_path"]) == ("OPTIONS", "*")


@pytest.mark.parametrize(
    "target",
    ["/hello", "/whole?n=70000", "/stream?n=70000", "/stream?n=70000&length=1", "/cookies"],
)
def test_head(client: RawClient, target: str) -> None:
    """HEAD gives the head of GET and no body; the connection stays in order."""
    get = client.get(target)
    head = client.get(target, method="HEAD")
    assert head.status == get.status
    assert head.header("content-length") in (get.header("content-length"), None)
    if get.header("content-length"):
        assert head.header("content-length") == get.header("content-length")


@pytest.mark.parametrize("size", [0, 1, 65536, 1_000_000])
@pytest.mark.parametrize("extra", ["", "&length=1", "&late=1", "&length=1&late=1"])
def test_stream(client: RawClient, size: int, extra: str) -> None:
    """A body in pieces: chunked, or as long as its Content-Length says."""
    answer = client.get(f"/stream?n={size}{extra}")
    assert answer.body == b"s" * size
    assert (answer.header("transfer-encoding") is None) == (
        answer.header("content-length") is not None
    )
    if "length" in extra:
        assert answer.header("content-length") == str(size)


def test_empty_pieces(client: RawClient) -> None:
    """Empty pieces do not end a chunked body."""
    assert client.get("/empty-pieces").body == b"ab"


@pytest.mark.parametrize("target", ["/hello", "/stream?n=200000", "/stream?n=200000&length=1"])
@pytest.mark.parametrize("keep", [False, True])
def test_http_1_0(server: AsgiServed, target: str, keep: bool) -> None:
    """No chunks for 1.0: a stated length, or the end of the connection ends the body."""
    connection = "Connection: keep-alive\r\n" if keep else ""
    with server.raw() as client:
        client.send(f"GET {target} HTTP/1.0\r\nHost: a\r\n{connection}\r\n".encode())
        answer = client.response()
        assert answer.header("transfer-encoding") is None
        assert answer.body in (b"hello\n", b"s" * 200_000)
        if keep and answer.header("content-length") is not None:
            assert (answer.header("connection") or "").lower() == "keep-alive"
            assert client.get("/hello").body == b"hello\n"
        else:
            assert client.rest() == b""


def test_connection_close(server: AsgiServed) -> None:
    """A client that asks for the end gets it after the response."""
    with server.raw() as client:
        assert client.get("/hello", "Connection: close\r\n").header("connection") == "close"
        assert client.rest() == b""


@pytest.mark.parametrize("route", ["echo", "echo-pieces"])
@pytest.mark.parametrize("size", [0, 1, 1000, 300_000])
@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_echo(client: RawClient, route: str, size: int, coding: str) -> None:
    """The body arrives as it was sent, whatever its framing."""
    body = (BODY * (size // len(BODY) + 1))[:size]
    if coding == "length":
        answer = client.post(f"/{route}", body)
    else:
        pieces = (body[at : at + 7000] for at in range(0, size, 7000))
        head = request(f"/{route}", "Transfer-Encoding: chunked\r\n", "POST")
        client.send(head + b"".join(chunked(pieces)))
        answer = client.response()
    assert answer.body == body


def test_echo_while_the_body_comes(client: RawClient) -> None:
    """The application is called before the body is complete: piece for piece there and back."""
    client.send(request("/echo-pieces", "Transfer-Encoding: chunked\r\n", "POST"))
    for number, piece in enumerate((b"one", b"two", b"three")):
        client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        if not number:  # the head does not leave before the first piece of the body
            assert client.final_head().status == 200
        assert client.chunk() == piece
    client.send(b"0\r\n\r\n")
    assert client.chunk() == b""


def test_expect_continue(client: RawClient) -> None:
    """100 comes when the application asks for the body, not if it never does."""
    expect = "Expect: 100-continue\r\nContent-Length: 4\r\n"
    client.send(request("/echo", expect, "POST"))
    assert client.head().status == 100
    client.send(b"body")
    assert client.response().body == b"body"


def test_expect_continue_unread(server: AsgiServed) -> None:
    """An application that does not read answers at once, and no 100 comes before that."""
    with server.raw() as client:
        client.send(
            request("/ignore-body", "Expect: 100-continue\r\nContent-Length: 4\r\n", "POST")
        )
        answer = client.response()
        assert (answer.status, answer.interim) == (200, [])


@pytest.mark.parametrize("coding", ["Content-Length: 70000", "Transfer-Encoding: chunked"])
def test_body_that_is_not_read(client: RawClient, coding: str) -> None:
    """What the application left of the body is never taken for the next request."""
    body = (b"GET /bad/nothing HTTP/1.1\r\n\r\n" * 2500)[:70000]
    framed = body if "Length" in coding else b"".join(chunked(iter([body])))
    client.send(request("/ignore-body", coding + "\r\n", "POST") + framed)
    assert client.response().body == b"ignored\n"


@pytest.mark.parametrize("code", [204, 304])
def test_status_without_a_body(client: RawClient, code: int) -> None:
    """No framing that would promise a body."""
    client.send(request(f"/status?code={code}"))
    answer = client.final_head()
    assert answer.status == code
    assert answer.header("transfer-encoding") is None
    assert answer.header("content-length") is None


def test_fields_of_the_application(client: RawClient) -> None:
    """Repeated fields stay apart; its own Date and Server replace the server's."""
    answer = client.get("/cookies")
    cookies = [value for name, value in answer.headers if name == "set-cookie"]
    assert cookies == ["a=1; Path=/", "b=2, c"]
    assert answer.header("server") == "mine"
    assert answer.header("date") == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert answer.header("x-latin") == "caf\u00e9"


def test_early_hints(client: RawClient) -> None:
    """Each message becomes a 103 with its links, before the final response."""
    answer = client.get("/hints")
    assert [hint.status for hint in answer.interim] == [103, 103]
    links = [[v for k, v in hint.headers if k == "link"] for hint in answer.interim]
    assert links[0] == ["</a.css>; rel=preload"]
    assert ", ".join(links[1]) == "</b.css>; rel=preload, </c.js>; rel=preload"
    assert answer.body == b"hinted"


def test_no_early_hints_for_1_0(server: AsgiServed) -> None:
    """A client of 1.0 does not know interim responses."""
    with server.raw() as client:
        client.send(b"GET /hints HTTP/1.0\r\n\r\n")
        answer = client.response()
        assert (answer.status, answer.interim, answer.body) == (200, [], b"hinted")


def test_trailers(client: RawClient) -> None:
    """Trailers stand behind the last chunk."""
    client.send(request("/trailers", "TE: trailers\r\n"))
    head = client.final_head()
    assert head.header("transfer-encoding") == "chunked"
    pieces = []
    while size := int(client.take_until(b"\r\n"), 16):
        pieces.append(client.take(size))
        client.take(2)
    assert b"".join(pieces) == b"with trailers"
    found = client.take_until(b"\r\n\r\n").decode().lower().split()
    assert found == ["x-sum:", "13", "x-more:", "yes"]


def test_trailers_for_1_0(server: AsgiServed) -> None:
    """Where there is no place for trailers they are left out."""
    with server.raw() as client:
        client.send(b"GET /trailers HTTP/1.0\r\n\r\n")
        assert client.response().body == b"with trailers"


@pytest.mark.parametrize("size", [0, 1, 255, 5_000_000])
@pytest.mark.parametrize("extra", ["", "&length=1"])
def test_pathsend(client: RawClient, size: int, extra: str) -> None:
    """A file by its name, framed by its size."""
    answer = client.get(f"/pathsend?n={size}{extra}")
    assert answer.body == (bytes(range(256)) * (size // 256 + 1))[:size]


@pytest.mark.parametrize("size", [2, 100, 3_000_000])
def test_zerocopysend(client: RawClient, size: int) -> None:
    """Ranges of a file between ordinary pieces, in order."""
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    want = content[: size // 2] + b"between" + content[size // 2 :] + b"behind"
    assert client.get(f"/zerocopy?n={size}").body == want


def test_lifespan_state(client: RawClient) -> None:
    """Requests see the state; what one adds, the next does not see."""
    for _ in range(2):
        state = json.loads(client.get("/state").body)
        assert state["answer"] == 42
        assert "left by a request" not in state


def test_context_variables(client: RawClient) -> None:
    """What a request leaves in its context, no later one of the connection sees."""
    for word in ("one", "two", "three"):
        answer = client.get(f"/context?leave={word}")
        assert answer.body == f"before= now={word}".encode()


def test_context_variables_of_pipelined_requests(client: RawClient) -> None:
    """The same when the requests came in one packet, and some have to wait."""
    client.send(request("/context?leave=a") + request("/sleep?ms=5") + request("/context?leave=b"))
    assert client.response().body == b"before= now=a"
    assert client.response().body == b"slept\n"
    assert client.response().body == b"before= now=b"


def test_tasks_of_a_request_share_its_context(client: RawClient) -> None:
    """Tasks that the application makes see what it has set."""
    assert json.loads(client.get("/tasks?leave=mine").body) == ["mine"] * 5


def test_pipelined_answers_come_in_order(client: RawClient) -> None:
    """Slow and quick ones mixed, each answered in its turn."""
    targets = ["/sleep?ms=30", "/hello", "/whole?n=100000", "/sleep?ms=5", "/stream?n=50000"] * 4
    client.send(b"".join(request(target) for target in targets))
    bodies = [client.response().body for _ in targets]
    want = [b"slept\n", b"hello\n", b"w" * 100_000, b"slept\n", b"s" * 50_000] * 4
    assert bodies == want


def test_pieces_are_passed_on_at_once(server: AsgiServed, client: RawClient) -> None:
    """The first piece is with the client while the application still waits."""
    client.send(request("/two-step?key=pieces"))
    assert client.chunk_of_response() == b"first\n"
    with server.raw() as other:
        other.get("/release?key=pieces")
    assert client.chunk() == b"second\n"
    assert client.chunk() == b""


def test_requests_wait_for_each_other(server: AsgiServed) -> None:
    """Twenty requests on twenty connections are in the application at the same time."""

    def visit(_: int) -> bytes:
        with server.raw() as client:
            return client.get("/meet?n=20&key=meeting").body

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(visit, range(20))) == {b"met\n"}


@pytest.mark.parametrize("target", ["receive-after-end", "concurrent-receive"])
def test_receive_ends_with_the_response(server: AsgiServed, target: str, client: RawClient) -> None:
    """Once the response is complete, receive() gives http.disconnect; the connection lives on."""
    key = f"{target}-{random.random()}"
    assert client.get(f"/{target}?key={key}").status == 200
    assert client.get("/hello").body == b"hello\n"
    want = f"http.disconnect {key}" if target == "receive-after-end" else f"disconnect {key}"
    times = 2 if target == "receive-after-end" else 1
    wait_until(lambda: server.count(want) == times, SECONDS)


def test_next_request_waits_for_no_background_work(server: AsgiServed, client: RawClient) -> None:
    """What the application does after its response holds nobody up but the next on its connection.

    At most one request of a connection is in the application at a time; others go on.
    """
    key = f"background-{random.random()}"
    assert client.get(f"/background?key={key}").body == b"answered\n"
    with server.raw() as other:
        assert other.get("/hello").body == b"hello\n"
        assert server.count(f"finished {key}") == 0
        other.get(f"/release?key={key}")
    wait_until(lambda: server.count(f"finished {key}") == 1, SECONDS)


def test_nobody_gets_the_answer_of_another(server: AsgiServed) -> None:
    """Sixteen clients with 400 pipelined requests each: every answer belongs to its request."""

    def visit(number: int) -> None:
        chance = random.Random(number)
        with server.raw() as client:
            for turn in range(40):
                nonces = [f"{number}.{turn}.{at}" for at in range(10)]
                packet = b""
                for nonce in nonces:
                    body = nonce.encode() * chance.randrange(1, 50)
                    extra = f"X-Nonce: {nonce}\r\nContent-Length: {len(body)}\r\n"
                    packet += request(f"/nonce?nonce={nonce}", extra, "POST") + body
                client.send(packet)
                for nonce in nonces:
                    answer = client.response()
                    first, header, middle, last = answer.body.decode().split("|")
                    assert first == header == last == nonce == answer.header("x-nonce")
                    assert set(middle.split(nonce)) == {""}

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(visit, range(16)))
