"""The environ that an application sees, from requests as they stand on the wire."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.apps.raw_client import RawClient
from tests.apps.served import Served
from tests.support.server import MEMBERS, RUNTIME


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    """One server for all tests here."""
    with Served("tests.apps.torture:app", "--threads", "2") as running:
        yield running
    assert "Traceback" not in running.log


@pytest.fixture
def client(server: Served) -> Iterator[RawClient]:
    """One connection."""
    with server.raw() as connection:
        yield connection


def dump(client: RawClient, head: str) -> dict[str, Any]:
    """Send a complete head (lines separated by a line feed) and return the environ's dump."""
    client.send(head.strip().replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n")
    answer = client.response()
    assert answer.status == 200, answer
    content: dict[str, Any] = json.loads(answer.body)
    assert content["wrong"] == []
    return content


def cgi(client: RawClient, head: str) -> dict[str, str]:
    """Only the CGI variables."""
    variables: dict[str, str] = dump(client, head)["cgi"]
    return variables


def test_ordinary_variables(server: Served, client: RawClient) -> None:
    """Method, protocol, names, ports and addresses as PEP 3333 and RFC 3875 want them."""
    local = client.sock.getsockname()
    environ = cgi(client, "GET /environ?a=b&c=%20 HTTP/1.1\nHost: example.test:99")
    assert environ["REQUEST_METHOD"] == "GET"
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert environ["SCRIPT_NAME"] == ""
    assert environ["PATH_INFO"] == "/environ"
    assert environ["QUERY_STRING"] == "a=b&c=%20"
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == (local[0], str(local[1]))
    assert environ["SERVER_PORT"] == str(server.port)
    assert environ["SERVER_NAME"]
    assert environ["HTTP_HOST"] == "example.test:99"
    assert environ["SERVER_SOFTWARE"].startswith("nogilserve")
    assert "HTTP_CONTENT_LENGTH" not in environ
    assert "HTTP_CONTENT_TYPE" not in environ


def test_wsgi_variables(client: RawClient) -> None:
    """The wsgi.* variables, and not wsgi.input_terminated (Werkzeug would misread it)."""
    others = dump(client, "GET /environ HTTP/1.1\nHost: a")["others"]
    assert others["wsgi.version"] == "(1, 0)"
    assert others["wsgi.url_scheme"] == "'http'"
    assert others["wsgi.multithread"] == "True"
    assert others["wsgi.multiprocess"] == str(RUNTIME in MEMBERS)
    assert others["wsgi.run_once"] == "False"
    assert {"wsgi.input", "wsgi.errors", "wsgi.file_wrapper", "wsgi.early_hints"} <= set(others)
    assert "wsgi.input_terminated" not in others


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/raw/environ/a%20b", "/raw/environ/a b"),
        ("/raw/environ/a%2Fb", "/raw/environ/a/b"),
        ("/raw/environ/a+b", "/raw/environ/a+b"),
        ("/raw/environ/%C3%A9", "/raw/environ/\u00c3\u00a9"),
        ("/raw/environ/%E9", "/raw/environ/\u00e9"),
        ("/raw/environ/%25%32%35", "/raw/environ/%25"),
        ("/raw/environ/%3Fa%3Db", "/raw/environ/?a=b"),
        ("/raw/environ/..%2f..%2fetc", "/raw/environ/../../etc"),
        ("/raw/environ/a;b=c:@!$&'()*,", "/raw/environ/a;b=c:@!$&'()*,"),
        ("/%65nviron/x", "/environ/x"),
    ],
)
def test_path_is_unquoted_once(client: RawClient, path: str, expected: str) -> None:
    """PATH_INFO is unquoted once, its bytes as latin-1; the query stays as it was sent."""
    environ = cgi(client, f"GET {path}?q=%2F&r=%C3%A9 HTTP/1.1\nHost: a")
    assert environ["PATH_INFO"] == expected
    assert environ["QUERY_STRING"] == "q=%2F&r=%C3%A9"


def test_query_keeps_further_question_marks(client: RawClient) -> None:
    """The first question mark ends the path; those after it belong to the query."""
    assert cgi(client, "GET /environ?a?b=?c HTTP/1.1\nHost: a")["QUERY_STRING"] == "a?b=?c"
    assert cgi(client, "GET /environ? HTTP/1.1\nHost: a")["QUERY_STRING"] == ""


def test_headers_become_variables(client: RawClient) -> None:
    """Upper case with HTTP_, dashes turned; repeated ones joined in order; cookies with "; "."""
    environ = cgi(
        client,
        "GET /environ HTTP/1.1\nHost: a\nX-One: 1\nx-two:   2  \nX-Many: a\nX-Many: b\n"
        "Cookie: k=v\nCookie: l=w\nX-Latin: caf\u00e9\nX-Empty:",
    )
    assert environ["HTTP_X_ONE"] == "1"
    assert environ["HTTP_X_TWO"] == "2"
    assert environ["HTTP_X_MANY"].replace(" ", "") == "a,b"
    assert environ["HTTP_COOKIE"] == "k=v; l=w"
    assert environ["HTTP_X_LATIN"] == "caf\u00e9"
    assert environ["HTTP_X_EMPTY"] == ""


def test_content_variables(client: RawClient) -> None:
    """CONTENT_TYPE and CONTENT_LENGTH stand without HTTP_, and only where they were sent."""
    client.send(
        b"POST /environ HTTP/1.1\r\nHost: a\r\nContent-Type: text/x-y\r\n"
        b"Content-Length: 3\r\n\r\nabc"
    )
    environ = json.loads(client.response().body)["cgi"]
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("text/x-y", "3")
    assert "HTTP_CONTENT_LENGTH" not in environ
    environ = cgi(client, "GET /environ HTTP/1.1\nHost: a")
    assert environ.get("CONTENT_TYPE", "") == ""
    assert environ.get("CONTENT_LENGTH", "") in ("", "0")


def test_underscores_cannot_forge_headers(client: RawClient) -> None:
    """X_Foo would look like X-Foo, so it is dropped; so is Proxy, which would set HTTP_PROXY."""
    environ = cgi(
        client,
        "GET /environ HTTP/1.1\nHost: a\nX_Foo: forged\nX-Foo: real\nRemote_User: root\n"
        "Proxy: http://evil.test\nContent_Length: 5\nX-Bar_Baz: forged",
    )
    assert environ["HTTP_X_FOO"] == "real"
    assert "HTTP_PROXY" not in environ
    assert "HTTP_REMOTE_USER" not in environ
    assert "HTTP_X_BAR_BAZ" not in environ
    assert environ.get("CONTENT_LENGTH", "") in ("", "0")


def test_absolute_form(client: RawClient) -> None:
    """The authority of an absolute-form target wins over Host (RFC 9112 §3.2.2)."""
    environ = cgi(client, "GET http://real.test:81/environ?x=1 HTTP/1.1\nHost: other.test")
    assert environ["PATH_INFO"] == "/environ"
    assert environ["QUERY_STRING"] == "x=1"
    assert environ["HTTP_HOST"] == "real.test:81"


def test_asterisk_form(client: RawClient) -> None:
    """OPTIONS * reaches the application with no path that could be taken for one."""
    environ = cgi(client, "OPTIONS * HTTP/1.1\nHost: a")
    assert environ["REQUEST_METHOD"] == "OPTIONS"
    assert environ["PATH_INFO"] in ("*", "")


def test_http_1_0_without_host(server: Served) -> None:
    """HTTP/1.0 may come without Host; the protocol is passed on as it was."""
    with server.raw() as client:
        client.send(b"GET /raw/environ HTTP/1.0\r\n\r\n")
        environ = json.loads(client.rest().partition(b"\r\n\r\n")[2])["cgi"]
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.0"
    assert "HTTP_HOST" not in environ
    assert environ["SERVER_NAME"]


def test_environ_of_one_request_does_not_reach_the_next(client: RawClient) -> None:
    """On one connection nothing of an earlier environ is left over."""
    first = cgi(client, "GET /raw/environ?a=1 HTTP/1.1\nHost: a\nX-Secret: mine\nCookie: a=b")
    second = cgi(client, "GET /raw/environ HTTP/1.1\nHost: b")
    assert "HTTP_X_SECRET" in first
    assert set(second) - set(first) == set()
    assert {"HTTP_X_SECRET", "HTTP_COOKIE"}.isdisjoint(second)
    assert (second["HTTP_HOST"], second["QUERY_STRING"]) == ("b", "")


def test_unix_socket(tmp_path: Path) -> None:
    """Over a unix socket there is no peer address, and the validator is still content."""
    path = tmp_path / "s"
    with (
        Served("tests.apps.torture:app", "--threads", "2", "--bind", f"unix:{path}") as server,
        server.connect() as client,
    ):
        answer = client.get("/environ")
        assert answer.status == 200
        content = json.loads(answer.body)
        assert content["wrong"] == []
        environ = content["cgi"]
        assert environ["SERVER_NAME"]
        assert environ.get("SERVER_PORT") is not None
        assert environ.get("REMOTE_ADDR", "") == ""
        assert environ.get("REMOTE_PORT", "") == ""


def test_ipv6() -> None:
    """Addresses of IPv6 stand in the environ without brackets."""
    with (
        Served("tests.apps.torture:app", "--threads", "2", "--bind", "[::1]:0") as server,
        server.connect() as client,
    ):
        environ = json.loads(client.get("/environ").body)["cgi"]
    assert environ["REMOTE_ADDR"] == "::1"
    assert environ["SERVER_PORT"] == str(server.port)
    assert "[" not in environ["SERVER_NAME"]
