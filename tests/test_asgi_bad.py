"""ASGI applications that break the rules or raise: a clean 500, or a visibly broken response."""

import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.apps.asgi_bad import KINDS, MESSAGES
from tests.apps.asgi_served import LOOPS, TORTURE, AsgiServed
from tests.apps.raw_client import request

OUT = {"trailers-unannounced"}


@pytest.fixture(scope="module", params=LOOPS)
def server(request: pytest.FixtureRequest) -> Iterator[AsgiServed]:
    """One server for all tests here: whatever they do to it, it must outlive them."""
    with AsgiServed(TORTURE, "--loops", "2", "--loop", request.param) as running:
        yield running


@pytest.fixture(autouse=True)
def still_serving(server: AsgiServed) -> Iterator[None]:
    """After every test both loops answer others."""
    yield
    for _ in range(4):
        with server.raw() as client:
            assert client.get("/hello", "Connection: close\r\n").body == b"hello\n"


def clean_error(server: AsgiServed, target: str) -> None:
    """A plain 500 that tells nothing about the application; the log has its request id."""
    with server.raw() as client:
        answer = client.get("/bad/" + target)
    assert answer.status == 500
    assert b"Traceback" not in answer.body
    assert b"torture" not in answer.body
    assert answer.header("x-split") is None


def broken(server: AsgiServed, target: str, start: bytes) -> None:
    """What was sent stays a beginning: the connection ends without the end of the body."""
    with server.raw() as client:
        client.send(request("/bad/" + target) + request("/hello"))
        head = client.final_head()
        if head.status == 500:
            return
        assert head.status == 200
        length = head.header("content-length")
        got = client.cut_off(None if length is None else int(length))
    assert start.startswith(got)


@pytest.mark.parametrize(
    "target",
    ["nothing", "only-start?length=10", "raise-before", "raise-after-start", "start-twice"],
)
def test_before_anything_was_sent(server: AsgiServed, target: str) -> None:
    """As long as nothing is out, a mistake becomes a 500."""
    clean_error(server, target)


@pytest.mark.parametrize("case", sorted(KINDS))
def test_nothing_raised_ends_the_server(server: AsgiServed, case: str) -> None:
    """SystemExit, a cancellation and the like end the request, not the loop."""
    for _ in range(4):  # more often than there are loops
        clean_error(server, "raises?case=" + case)


@pytest.mark.parametrize("case", sorted(set(MESSAGES) - OUT))
def test_wrong_messages(server: AsgiServed, case: str) -> None:
    """A message that breaks the specification is refused: a 500, and the next request is fine."""
    with server.raw() as client:
        client.send(request(f"/bad/message?case={case}"))
        answer = client.final_head()
        assert answer.header("x-split") is None
        assert not answer.interim
        assert answer.status == 500, answer


@pytest.mark.parametrize("case", sorted(OUT))
def test_wrong_messages_after_the_head(server: AsgiServed, case: str) -> None:
    """When the head is out already, the connection ends before the body does."""
    broken(server, f"message?case={case}", b"body")


@pytest.mark.parametrize(
    "value", ["1000", "99", "0", "-200", "103", "100", "101", "199", "abc", "", "200 OK"]
)
def test_illegal_status(server: AsgiServed, value: str) -> None:
    """A status that is no final three-digit one is refused."""
    clean_error(server, "status?value=" + quote(value))


@pytest.mark.parametrize("value", ["200", "299", "418", "598", "599"])
def test_legal_status(server: AsgiServed, value: str) -> None:
    """Every final three-digit status is passed on, known or not."""
    with server.raw() as client:
        assert client.get("/bad/status?value=" + value).status == int(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X A", "b"),
        ("", "b"),
        ("X:A", "b"),
        ("X-A\r\nX-Split", "1"),
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
    ],
)
def test_illegal_header(server: AsgiServed, name: str, value: str) -> None:
    """Names and values outside the grammar are refused."""
    query = f"name={quote(name, encoding='latin-1')}&value={quote(value, encoding='latin-1')}"
    clean_error(server, "header?" + query)


@pytest.mark.parametrize(
    ("name", "value"),
    [("Connection", "close"), ("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "gzip")],
)
def test_framing_is_the_server_s(server: AsgiServed, name: str, value: str) -> None:
    """Hop-by-hop fields of the application are refused, dropped or obeyed, never doubled."""
    with server.raw() as client:
        answer = client.get(f"/bad/header?name={name}&value={value}")
        assert answer.status in (200, 500)
        if answer.status == 200:
            assert answer.body == b"body"
            assert answer.header("transfer-encoding") in (None, "chunked")


@pytest.mark.parametrize("piece", [0, 3])
def test_more_bytes_than_announced(server: AsgiServed, piece: int) -> None:
    """The client gets a 500, or at most the announced bytes and then the end."""
    with server.raw() as client:
        client.send(request(f"/bad/length?says=5&sends=20&piece={piece}") + request("/hello"))
        answer = client.final_head()
        if answer.status == 200:
            assert answer.header("content-length") == "5"
            assert b"lllll".startswith(client.rest())
        else:
            assert answer.status == 500


@pytest.mark.parametrize("sends", [0, 1, 19])
def test_fewer_bytes_than_announced(server: AsgiServed, sends: int) -> None:
    """The client gets a 500, or notices that the body is too short; no next answer follows."""
    with server.raw() as client:
        client.send(request(f"/bad/length?says=20&sends={sends}&piece=7") + request("/hello"))
        head = client.final_head()
        if head.status == 200:
            assert b"hello" not in client.cut_off(20)
        else:
            assert head.status == 500


@pytest.mark.parametrize(
    ("target", "start"),
    [
        ("raise-mid-body?late=1", b"first"),
        ("raise-mid-body?length=10&late=1", b"first"),
        ("raise-mid-body", b"first"),
        ("unfinished", b"first"),
        ("start-late", b"sent,"),
    ],
)
def test_after_something_was_sent(server: AsgiServed, target: str, start: bytes) -> None:
    """Once bytes are out the connection ends early, so that the client can tell."""
    broken(server, target, start)


@pytest.mark.parametrize("target", ["raise-after-end", "after-end"])
def test_after_a_complete_response(server: AsgiServed, target: str) -> None:
    """The response was complete and stays so; what follows is not taken for another one."""
    with server.raw() as client:
        client.send(request("/bad/" + target))
        assert client.response().body in (b"fine", b"whole")
        client.send_quietly(request("/hello"))
        client.half_close()
        assert b"SPLIT" not in client.rest()


def test_raise_after_a_complete_response_is_logged(server: AsgiServed) -> None:
    """Nobody sees it on the wire, so the log must have it."""
    with server.raw() as client:
        assert client.get("/bad/raise-after-end").body == b"fine"
    server.wait_log("torture: raised after the end")


@pytest.mark.parametrize("code", [204, 304])
def test_body_where_none_belongs(server: AsgiServed, code: int) -> None:
    """A body on 204 or 304 would be read as the next response; it never gets out."""
    with server.raw() as client:
        client.send(request(f"/bad/body-on?status={code}") + request("/hello"))
        answer = client.response()
        assert answer.status in (code, 500)
        client.half_close()
        assert b"SPLIT" not in client.rest()


def test_tasks_that_outlive_the_request(server: AsgiServed) -> None:
    """What a left-over task sends belongs to no response and gets nowhere."""
    with server.raw() as client:
        client.send(request("/bad/orphan") + request("/sleep?ms=50") + request("/hello"))
        assert client.response().body == b"parent\n"
        assert client.response().body == b"slept\n"
        assert client.response().body == b"hello\n"


def test_http_messages_before_a_body_was_read(server: AsgiServed) -> None:
    """An error while the body is still on its way ends the connection, or reads the body off."""
    with server.raw() as client:
        client.send(request("/bad/raise-before", "Content-Length: 1000\r\n", "POST"))
        assert client.response().status == 500
        client.send_quietly(b"x" * 1000 + request("/hello"))
        client.half_close()
        rest = client.rest()
        assert rest == b"" or rest.endswith(b"hello\n")


@pytest.mark.parametrize("target", ["raise-before", "raise-mid-body"])
def test_traceback_is_logged_with_the_request(server: AsgiServed, target: str) -> None:
    """The log has the traceback, and says which request it was by its id, method and path."""
    with server.raw() as client:
        client.send(request(f"/bad/{target}?mark=find-{target}-me"))
        client.rest() if "mid" in target else client.response()
    server.wait_log(f"RuntimeError: torture: .*find-{target}-me")
    log = server.log
    before = log[: log.index(f"find-{target}-me")]
    assert "Traceback" in before
    line = [line for line in log.splitlines() if f"/bad/{target}" in line][-1]
    assert re.search(r"\[[0-9a-f]{12}\] GET ", line), line


def test_breach_of_the_rules_is_logged(server: AsgiServed) -> None:
    """An application that returns without an answer leaves a line that names the request."""
    with server.raw() as client:
        assert client.get("/bad/nothing?say=silent").status == 500
    server.wait_log("/bad/nothing")


def test_errors_one_after_the_other_on_one_connection(server: AsgiServed) -> None:
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
