"""Every legal corner of PEP 3333, served for real: bare, and inside wsgiref.validate."""

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.apps.raw_client import SECONDS, RawClient, chunked, request
from tests.apps.served import Served
from tests.support.waiting import wait_until

BODY = b"first line\nsecond\r\n\nlast, and longer than the others, without an end of line"
TARGETS = [
    "/hello",
    "/whole?n=70000",
    "/write",
    "/write-then-iterate",
    "/exc-info-before",
    "/lazy-start",
    "/file?n=100000",
    "/file?n=100000&length=no",
    "/file-middle?n=1000&offset=990",
    "/bytesio",
    "/empty",
    "/empty-pieces",
    "/download?n=300000",
    "/download?n=300000&length=1",
]


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    """One server for all tests here; none of them may make it log a traceback."""
    with Served("tests.apps.torture:app", "--threads", "16") as running:
        yield running
    assert "Traceback" not in running.log


@pytest.fixture(params=["", "/raw"], ids=["validated", "bare"])
def prefix(request: pytest.FixtureRequest) -> str:
    """Where the route is: inside the validator, or bare."""
    return str(request.param)


@pytest.fixture
def client(server: Served) -> Iterator[RawClient]:
    """A connection; at the end of each test it must still be good for a request."""
    with server.raw() as connection:
        yield connection
        assert connection.get("/hello").body == b"hello\n"


def test_hello(client: RawClient, prefix: str) -> None:
    """The ordinary response, with one date and one server header."""
    answer = client.get(prefix + "/hello")
    assert (answer.status, answer.reason, answer.body) == (200, "OK", b"hello\n")
    assert answer.header("date")
    assert answer.header("server")


def test_repeated_fields(client: RawClient, prefix: str) -> None:
    """Repeated fields stay apart and in order; Date and Server of the application stand alone."""
    answer = client.get(prefix + "/cookies")
    found = [value for name, value in answer.headers if name == "set-cookie"]
    assert found == ["a=1; Path=/", "b=2, c"]
    assert answer.header("server") == "mine"
    assert answer.header("date") == "Thu, 01 Jan 1970 00:00:00 GMT"


def test_write(client: RawClient, prefix: str) -> None:
    """What write() was given is the body."""
    assert client.get(prefix + "/write").body == b"one,two"


def test_write_then_iterate(client: RawClient, prefix: str) -> None:
    """Written bytes come first, none is lost."""
    assert client.get(prefix + "/write-then-iterate").body == b"written,iterated,twice"


def test_exc_info_before_the_head_was_sent(client: RawClient, prefix: str) -> None:
    """The second start_response replaces the first, its headers too."""
    answer = client.get(prefix + "/exc-info-before")
    assert (answer.status, answer.body) == (503, b"replaced")
    assert answer.header("x-first") is None


def test_lazy_start_response(client: RawClient, prefix: str) -> None:
    """start_response may be called as late as by the first step of the iterator."""
    assert client.get(prefix + "/lazy-start").body == b"lazy,done"


@pytest.mark.parametrize("route", ["/two-step", "/two-step-write"])
def test_first_piece_is_out_before_the_second_is_made(
    server: Served, client: RawClient, prefix: str, route: str
) -> None:
    """The second piece is made only when another request says so, after the first was read."""
    key = f"{route}{prefix}".replace("/", "-")
    client.send(request(f"{prefix}{route}?key={key}"))
    assert client.final_head().header("transfer-encoding") == "chunked"
    assert client.chunk() == b"first\n"
    with server.raw() as other:
        assert other.get(f"/release?key={key}").body == b"released\n"
    assert (client.chunk(), client.chunk()) == (b"second\n", b"")


@pytest.mark.parametrize("via", ["descriptor", "read"])
@pytest.mark.parametrize("length", ["yes", "no"])
@pytest.mark.parametrize("size", [0, 1, 65_536, 1_000_000])
def test_file(
    server: Served, client: RawClient, prefix: str, size: int, length: str, via: str
) -> None:
    """A real file arrives whole, and is closed."""
    key = f"file{prefix}{size}{length}{via}".replace("/", "-")
    answer = client.get(f"{prefix}/file?n={size}&length={length}&key={key}&via={via}")
    assert answer.body == random.Random(size).randbytes(size)
    if length == "yes":
        assert answer.header("content-length") == str(size)
    wait_until(lambda: server.counts().get(f"closed {key}") == 1, SECONDS, "file not closed")


@pytest.mark.parametrize("via", ["descriptor", "read"])
@pytest.mark.parametrize("size", [11, 1000, 500_000])
def test_file_longer_than_its_content_length(client: RawClient, via: str, size: int) -> None:
    """Of a file only as many bytes are sent as were announced.

    Not through the validator: it turns the file into an ordinary iterable of too many bytes.
    """
    answer = client.get(f"/raw/file-shorter?n={size}&length=10&via={via}")
    assert answer.body == random.Random(size).randbytes(size)[:10]


def test_file_from_its_position(client: RawClient, prefix: str) -> None:
    """A file is sent from where it stands, not from its beginning."""
    answer = client.get(f"{prefix}/file-middle?n=200000&offset=150000")
    assert answer.body == random.Random(200_000).randbytes(200_000)[150_000:]


@pytest.mark.parametrize("kind", ["gzip", "buffered-gzip", "bz2", "lzma"])
def test_file_that_reads_otherwise_than_its_descriptor(
    client: RawClient, prefix: str, kind: str
) -> None:
    """A compressed file names the descriptor of the compressed bytes; the body is what it reads."""
    answer = client.get(f"{prefix}/file-decoded?n=3000&kind={kind}")
    assert answer.body == b"decoded " * 3000


def test_file_wrapper_without_a_descriptor(client: RawClient, prefix: str) -> None:
    """The wrapper takes anything that has read()."""
    assert client.get(f"{prefix}/bytesio?n=5000").body == b"in memory " * 5000


def test_close_is_called_once(server: Served, client: RawClient, prefix: str) -> None:
    """The iterable's close() is called after the last piece, once."""
    key = f"once{prefix}".replace("/", "-")
    assert client.get(f"{prefix}/counted?n=3&size=2&key={key}").body == b"cccccc"
    wait_until(lambda: server.counts().get(f"closed {key}"), SECONDS, "close() not called")
    assert server.counts()[f"closed {key}"] == 1


def test_empty_bodies(client: RawClient, prefix: str) -> None:
    """No pieces make an empty body, empty pieces do not end a body."""
    assert client.get(prefix + "/empty").body == b""
    assert client.get(prefix + "/empty-pieces").body == b"ab"


@pytest.mark.parametrize("coding", ["length", "chunked"])
@pytest.mark.parametrize(
    "how",
    ["minus", "sized", "readline", "readline-sized", "readlines", "readlines-hint", "iter", "read"],
)
def test_reading_the_body(client: RawClient, prefix: str, how: str, coding: str) -> None:
    """Every way of reading gives the same bytes and ends where the body ends."""
    if how == "read" and not prefix:
        prefix = "/raw"  # the validator forbids read() without a size
    for body in (BODY, b"", b"\n\n", BODY * 3000):
        target = f"{prefix}/echo?how={how}&size=7"
        if coding == "length":
            answer = client.post(target, body)
        else:
            pieces = (body[at : at + 5000] for at in range(0, len(body), 5000))
            client.send(request(target, "Transfer-Encoding: chunked\r\n", "POST"))
            client.send(b"".join(chunked(pieces)))
            answer = client.response()
        assert answer.body == body


def test_body_that_is_not_read_is_not_the_next_request(client: RawClient, prefix: str) -> None:
    """What the application leaves unread is skipped, also where it looks like a request."""
    smuggled = request("/raw/counts")
    assert client.post(prefix + "/hello", smuggled).body == b"hello\n"
    assert client.post(prefix + "/echo?how=partial&size=4", smuggled).body == smuggled[:4]


@pytest.mark.parametrize("target", TARGETS)
def test_head(client: RawClient, prefix: str, target: str) -> None:
    """HEAD gets the status and length of GET, and never a body."""
    expected = client.get(prefix + target)
    answer = client.get(prefix + target, method="HEAD")
    assert answer.status == expected.status
    if expected.header("content-length") is not None and answer.header("content-length"):
        assert answer.header("content-length") == expected.header("content-length")


@pytest.mark.parametrize("code", [204, 304])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_responses_without_a_body(client: RawClient, prefix: str, code: int, method: str) -> None:
    """204 and 304 carry no body and 204 no framing (RFC 9110 §8.6)."""
    answer = client.get(f"{prefix}/status?code={code}", method=method)
    assert answer.status == code
    assert answer.header("transfer-encoding") is None
    if code == 204:
        assert answer.header("content-length") is None


def test_early_hints(client: RawClient, prefix: str) -> None:
    """Hints come as 103 responses before the final one."""
    answer = client.get(prefix + "/hints")
    assert (answer.status, answer.body) == (200, b"hinted")
    assert [hint.status for hint in answer.interim] == [103, 103]
    assert answer.interim[0].headers == [("link", "</a.css>; rel=preload")]
    assert ("x-hint", "2") in answer.interim[1].headers


def test_no_hints_for_http_1_0(server: Served, prefix: str) -> None:
    """A client of HTTP/1.0 knows no interim responses (RFC 9110 §15.2)."""
    with server.raw() as client:
        client.send(f"GET {prefix}/hints HTTP/1.0\r\n\r\n".encode())
        head, _, body = client.rest().partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == b"200"
    assert body == b"hinted"


@pytest.mark.parametrize("target", TARGETS)
def test_http_1_0(server: Served, prefix: str, target: str) -> None:
    """HTTP/1.0 gets the same bytes, never chunked, and the end is the end of the connection."""
    with server.raw() as client:
        expected = client.get(prefix + target)
    with server.raw() as client:
        client.send(f"GET {prefix}{target} HTTP/1.0\r\n\r\n".encode())
        head, _, body = client.rest().partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert body == expected.body


def test_http_1_0_keep_alive(client: RawClient) -> None:
    """Asked to, the server keeps a connection of HTTP/1.0 open and says so."""
    for _ in range(3):
        client.send(b"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        answer = client.response()
        assert answer.body == b"hello\n"
        assert (answer.header("connection") or "").lower() == "keep-alive"


def test_connection_close(server: Served, prefix: str) -> None:
    """Connection: close is answered, announced and done."""
    with server.raw() as client:
        answer = client.get(prefix + "/hello", "Connection: close\r\n")
        assert (answer.header("connection") or "").lower() == "close"
        assert client.rest() == b""


def test_expect_continue_where_the_body_is_read(client: RawClient, prefix: str) -> None:
    """A client that waits for 100 gets it, sends the body and gets the answer."""
    extra = "Expect: 100-continue\r\nContent-Length: 4\r\n"
    client.send(request(prefix + "/echo", extra, "POST"))
    assert client.head().status == 100
    client.send(b"body")
    assert client.response().body == b"body"


def test_expect_continue_where_the_body_is_not_read(server: Served, prefix: str) -> None:
    """No 100 where the application never asks for the body (RFC 9110 §10.1.1)."""
    with server.raw() as client:
        extra = "Expect: 100-continue\r\nContent-Length: 4\r\n"
        client.send(request(prefix + "/hello", extra, "POST"))
        answer = client.response()
    assert (answer.status, answer.interim) == (200, [])


def test_sixteen_requests_inside_the_application(server: Served) -> None:
    """--threads 16 means that sixteen calls run at once: each waits until all have come.

    Many rounds: whichever threads and cores the first fifteen take, the last one gets in.
    """

    def meet(turn: int) -> bytes:
        with server.raw() as client:
            return client.get(f"/meet?n=16&key=sixteen-{turn}").body

    with ThreadPoolExecutor(16) as pool:
        for turn in range(60):
            assert set(pool.map(meet, [turn] * 16)) == {b"met\n"}


def test_concurrent_clients_of_every_route(server: Served) -> None:
    """Sixteen httpx clients at once, each route both ways: all bodies as when asked alone."""
    targets = [prefix + target for prefix in ("", "/raw") for target in TARGETS]
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as http:
        expected = {target: http.get(target).content for target in targets}

    def ask(seed: int) -> int:
        order = targets * 2
        random.Random(seed).shuffle(order)
        with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as http:
            return sum(http.get(target).content == expected[target] for target in order)

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(16))) == [len(targets) * 2] * 16


def test_environ_types(client: RawClient, prefix: str) -> None:
    """All keys are str, all CGI values str of latin-1, the environ a real dict."""
    assert json.loads(client.get(prefix + "/environ").body)["wrong"] == []
