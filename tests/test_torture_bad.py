"""Applications that break the rules or raise: a clean 500, or a visibly broken response."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.apps.raw_client import SECONDS, request
from tests.apps.served import Served
from tests.apps.torture_bad import WRONG_TYPES
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    """One server for all tests here: whatever they do to it, it must outlive them."""
    with Served("tests.apps.torture:app", "--threads", "4") as running:
        yield running


@pytest.fixture(autouse=True)
def still_serving(server: Served) -> Iterator[None]:
    """After every test the server answers others."""
    yield
    with server.raw() as client:
        assert client.get("/hello", "Connection: close\r\n").body == b"hello\n"


def clean_error(server: Served, target: str) -> None:
    """The target is answered with a plain 500 that tells nothing about the application."""
    with server.raw() as client:
        answer = client.get("/bad/" + target)
    assert answer.status == 500
    assert b"Traceback" not in answer.body
    assert b"torture" not in answer.body
    assert answer.header("x-split") is None


def broken(server: Served, target: str, start: bytes) -> None:
    """What was sent stays a beginning: the connection ends without the end of the body."""
    with server.raw() as client:
        client.send(request("/bad/" + target) + request("/hello"))
        head = client.final_head()
        assert head.status == 200
        length = head.header("content-length")
        got = client.cut_off(None if length is None else int(length))
    assert start.startswith(got)


@pytest.mark.parametrize(
    "target",
    [
        "no-start",
        "no-start-empty",
        "double-start",
        "raise-before",
        "raise-after-start",
        "raise-first-piece",
        "text-write",
        "text-body?case=only",
        "text-body?case=bare",
        "text-body?case=int",
        "text-body?case=none",
        "text-body?case=number",
        "early-hints",
    ],
)
def test_before_anything_was_sent(server: Served, target: str) -> None:
    """As long as nothing is out, a mistake becomes a 500."""
    clean_error(server, target)


@pytest.mark.parametrize(
    "value",
    [
        "1000 X",
        "abc",
        "",
        "99 X",
        "20 OK",
        " 200 OK",
        "+200 OK",
        "2e2 OK",
        "200 OK\r\nX-Split: 1",
        "200 OK\n",
        "200 OK\0",
        "103 Early Hints",
        "100 Continue",
        "101 Switching Protocols",
        "000 Zero",
        "\u00b2\u00b2\u00b2 Digits",
    ],
)
def test_illegal_status(server: Served, value: str) -> None:
    """A status that is no final three-digit one, or would split the response, is refused."""
    clean_error(server, "status?value=" + quote(value, encoding="latin-1"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X A", "b"),
        ("", "b"),
        ("X:A", "b"),
        ("X-A\r\nX-Split", "1"),
        ("X-A ", "b"),
        ("X-\u00c4", "b"),
        ("X-A", "a\r\nX-Split: 1"),
        ("X-A", "a\nX-Split: 1"),
        ("X-A", "a\rX-Split: 1"),
        ("X-A", "a\0b"),
        ("X-A", "a\x0bb"),
        ("X-A", "a\x7fb"),
        ("Content-Length", "abc"),
        ("Content-Length", "-1"),
        ("Content-Length", "+4"),
        ("Content-Length", "4, 4"),
        ("Content-Length", ""),
        ("Connection", "close"),
        ("Connection", "keep-alive"),
        ("Keep-Alive", "timeout=5"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "websocket"),
        ("TE", "trailers"),
    ],
)
def test_illegal_header(server: Served, name: str, value: str) -> None:
    """Names and values outside the grammar, and hop-by-hop headers, are refused."""
    query = f"name={quote(name, encoding='latin-1')}&value={quote(value, encoding='latin-1')}"
    clean_error(server, "header?" + query)


def test_legal_header_values(server: Served) -> None:
    """Latin-1, tabs and an empty value are legal and arrive unchanged."""
    for value in ("caf\u00e9", "a\tb", "", 'a:b, c;d="e"'):
        with server.raw() as client:
            answer = client.get("/bad/header?name=X-A&value=" + quote(value, encoding="latin-1"))
        assert (answer.status, answer.header("x-a")) == (200, value)


@pytest.mark.parametrize("case", sorted(WRONG_TYPES))
def test_wrong_types_in_the_head(server: Served, case: str) -> None:
    """A head of the wrong types, or one that states its length twice, is refused."""
    clean_error(server, "wrong-type?case=" + case)


@pytest.mark.parametrize("route", ["length", "length-write"])
@pytest.mark.parametrize("piece", [0, 3])
def test_more_bytes_than_announced(server: Served, route: str, piece: int) -> None:
    """The client gets a 500, or exactly the announced bytes and then the end."""
    with server.raw() as client:
        client.send(request(f"/bad/{route}?says=5&sends=20&piece={piece}"))
        answer = client.response()
        if answer.status == 200:
            assert len(answer.body) == 5
            assert client.rest() == b""
        else:
            assert answer.status == 500


@pytest.mark.parametrize("route", ["length", "length-write"])
@pytest.mark.parametrize("sends", [0, 1, 19])
def test_fewer_bytes_than_announced(server: Served, route: str, sends: int) -> None:
    """The client gets a 500, or notices that the body is too short; no next answer follows."""
    with server.raw() as client:
        target = f"/bad/{route}?says=20&sends={sends}&piece=7"
        client.send(request(target) + request("/hello"))
        head = client.final_head()
        if head.status == 200:
            assert b"hello" not in client.cut_off(20)
        else:
            assert head.status == 500


def test_text_file_in_the_file_wrapper(server: Served) -> None:
    """A file opened as text reads str, which is no body, whatever its descriptor would give."""
    with server.raw() as client:
        assert client.get("/raw/file-decoded?kind=text").status == 500


@pytest.mark.parametrize("prefix", ["", "/raw"])
@pytest.mark.parametrize("size", [0, 10, 300_000])
def test_file_shorter_than_announced(server: Served, size: int, prefix: str) -> None:
    """A file with fewer bytes than announced: a 500, or a response that visibly ends early."""
    key = f"short{prefix}{size}".replace("/", "-")
    with server.raw() as client:
        target = f"{prefix}/file-missing-bytes?n={size}&key={key}"
        client.send(request(target) + request("/hello"))
        head = client.final_head()
        if head.status == 200:
            assert len(client.cut_off(size + 1)) <= size
        else:
            assert head.status == 500
    wait_until(lambda: server.counts().get(f"closed {key}") == 1, SECONDS, "file not closed")


@pytest.mark.parametrize(
    ("target", "start"),
    [
        ("raise-mid-length", b"01234"),
        ("raise-after-write", b"written"),
        ("exc-info-after", b"sent,"),
        ("text-body?case=mixed-later", b"bytes"),
    ],
)
def test_after_something_was_sent(server: Served, target: str, start: bytes) -> None:
    """Once bytes are out the connection ends early, so that the client can tell."""
    broken(server, target, start)


@pytest.mark.parametrize("prefix", ["", "/raw"])
def test_close_is_called_when_the_body_raises(server: Served, prefix: str) -> None:
    """An exception in the iterator does not spare its close()."""
    key = "raised" + prefix.replace("/", "-")
    with server.raw() as client:
        client.send(request(f"{prefix}/raises-mid-body?key={key}"))
        assert client.final_head().status == 200
        assert client.cut_off(None) in (b"", b"first")
    assert server.counts().get(f"closed {key}") == 1


def test_exc_info_is_raised_again(server: Served) -> None:
    """start_response with exc_info after bytes were sent raises that exception."""
    before = server.counts().get("exc_info raised again", 0)
    broken(server, "exc-info-after", b"sent,")
    assert server.counts()["exc_info raised again"] == before + 1


def test_bytearray_is_bytes_or_a_mistake(server: Served) -> None:
    """A bytearray is passed on unchanged or refused, never garbled."""
    with server.raw() as client:
        answer = client.get("/bad/text-body?case=bytearray")
    assert (answer.status, answer.body) == (200, b"text") or answer.status == 500


@pytest.mark.parametrize(
    "case", ["exit", "interrupt", "generator", "stop", "memory", "recursion", "unprintable"]
)
def test_nothing_raised_ends_the_server(server: Served, case: str) -> None:
    """SystemExit, KeyboardInterrupt and the like end the request, not the server."""
    for _ in range(6):  # more often than there are threads
        clean_error(server, "raise-exit?case=" + case)


def test_close_that_raises_after_a_complete_response(server: Served) -> None:
    """The response was complete and stays so; the traceback is logged."""
    with server.raw() as client:
        assert client.get("/bad/close-raises").body == b"fine"
    server.wait_log("torture: close\\(\\) raised")


@pytest.mark.parametrize("code", ["204 No Content", "304 Not Modified"])
def test_body_where_none_belongs(server: Served, code: str) -> None:
    """A body on 204 or 304 would be read as the next response; it never gets out."""
    with server.raw() as client:
        client.send(request("/bad/body-on?status=" + quote(code)) + request("/hello"))
        rest = b""
        answer = client.response()
        if answer.status == int(code[:3]):
            client.half_close()
            rest = client.rest()
        else:
            assert answer.status == 500
    assert b"SPLIT" not in rest


def test_traceback_is_logged_with_the_request(server: Served) -> None:
    """The log has the traceback and says which request it was."""
    with server.raw() as client:
        assert client.get("/bad/raise-before?mark=find-me-1234").status == 500
    server.wait_log("RuntimeError: torture: raised before the head find-me-1234")
    log = server.log[: server.log.index("find-me-1234")]
    assert "Traceback" in log
    assert "/bad/raise-before" in server.log


def test_errors_one_after_the_other_on_one_connection(server: Served) -> None:
    """A 500 either keeps the connection in order or closes it; it never mixes answers up."""
    with server.raw() as client:
        for _ in range(5):
            client.send(request("/bad/raise-before") + request("/hello"))
            answer = client.response()
            assert answer.status == 500
            if (answer.header("connection") or "").lower() == "close":
                assert client.rest() == b""
                break
            assert client.response().body == b"hello\n"
