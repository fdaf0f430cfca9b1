"""The environ of PEP 3333, to the letter."""

import io
import sys
from functools import partial
from typing import Any

import pytest

from nogilserve import __version__
from nogilserve.gateways.wsgi import FileWrapper, PrefixedWsgiGateway, WsgiGateway
from nogilserve.messages import CHUNKED, Headers, HeaderSection, Request
from tests.gateways.recording import Recorder, ask, run


def environ_of(request: Request | None = None, body: bytes = b"", **options: Any) -> dict[str, Any]:
    """The environ that an application gets for a request."""
    seen: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ)
        start_response("200 OK", [])
        return []

    exchange = run(app, request, body, **options)
    assert exchange.status == "200 OK", exchange.sent
    [environ] = seen
    return environ


def http(headers: Headers) -> dict[str, str]:
    """The variables that come from header fields, Host apart."""
    environ = environ_of(ask(headers=headers))
    return {
        key: value
        for key, value in environ.items()
        if key.startswith(("HTTP_", "CONTENT_")) and key != "HTTP_HOST"
    }


def test_every_key_of_an_ordinary_request() -> None:
    """The keys and values of a plain GET, none missing and none that was not promised."""
    environ = environ_of(ask("GET", "/a/b", "x=1&y=?"))
    stream, errors = environ.pop("wsgi.input"), environ.pop("wsgi.errors")
    assert callable(environ.pop("wsgi.early_hints"))
    assert stream.read() == b""
    assert isinstance(errors, io.TextIOBase)
    assert environ == {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a/b",
        "QUERY_STRING": "x=1&y=?",
        "REQUEST_URI": "/a/b?x=1&y=?",
        "RAW_URI": "/a/b?x=1&y=?",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_SOFTWARE": f"nogilserve/{__version__}",
        "REMOTE_ADDR": "192.0.2.7",
        "REMOTE_PORT": "50123",
        "HTTP_HOST": "localhost",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
    }


def test_types() -> None:
    """The environ is a dict itself, not a subclass, and CGI variables are str themselves."""
    environ = environ_of(ask(headers=[("x-a", "1"), ("content-type", "a/b")], body=3), b"abc")
    assert type(environ) is dict
    for key, value in environ.items():
        assert type(key) is str
        if "." not in key:
            assert type(value) is str


def test_environ_belongs_to_one_request() -> None:
    """What an application puts into its environ is not there for the next request."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        found = str("mine" in environ).encode()
        environ["mine"] = environ["SCRIPT_NAME"] = "/changed"
        return [found]

    assert [run(app).sent for _ in range(2)] == [b"False", b"False"]


@pytest.mark.parametrize("prefix", ["", "/shop"])
@pytest.mark.parametrize("client", [("192.0.2.1", "1"), None])
@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", []),
        ("/shop/a%20b", [("x-a", "1"), ("x-a", "2"), ("cookie", "a=b"), ("cookie", "c=d")]),
        ("/shop", [(f"x-{number}", "y") for number in range(60)] + [("proxy", "evil")]),
    ],
)
def test_environ_of_a_head_that_is_kept(
    path: str, headers: Headers, client: tuple[str, str] | None, prefix: str
) -> None:
    """It is the same as that of a new one, whatever the applications before did with theirs; what
    does not come from the head is that of its own exchange."""
    seen: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ.copy())
        environ.clear()
        environ["wsgi.input"] = environ["mine"] = None
        start_response("200 OK", [])
        return []

    make = partial(PrefixedWsgiGateway, root_path=prefix) if prefix else WsgiGateway
    gateway = make(app, "tests:app")

    def environ(request: Request, client: tuple[str, str] | None) -> dict[str, Any]:
        exchange = Recorder(request, client=client)
        exchange.server = client or ("unix", "")
        gateway.run(exchange)
        assert exchange.status == "200 OK"
        found = seen.pop()
        assert found.pop("wsgi.input").read() == b""
        assert found.pop("wsgi.early_hints") == exchange.send_early_hints
        return found

    request = ask(path=path, headers=headers)
    request.kept = True
    for other in (("192.0.2.9", "9"), client, ("192.0.2.9", "9"), client):
        assert environ(request, other) == environ(ask(path=path, headers=headers), other)


def test_environ_of_a_section_that_is_kept() -> None:
    """What several requests have in common is told to each of several applications as if it had
    come to that one alone."""
    seen: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        own = {"wsgi.input", "wsgi.errors", "wsgi.early_hints"}
        seen.append({key: value for key, value in environ.items() if key not in own})
        environ.clear()
        start_response("200 OK", [])
        return []

    fields = [("host", "a"), ("cookie", "a=1"), ("cookie", "b=2"), ("x-odd", "1")]
    section = HeaderSection(ask(headers=fields))
    gateways = [WsgiGateway(app, "a"), PrefixedWsgiGateway(app, "b", "/below")]
    for path in ("/one", "/below/two%20", "/one", "/below"):
        for gateway in (*gateways, *gateways):
            for shared in (None, section):
                request = ask(path=path, headers=fields)
                request.section = shared
                gateway.run(Recorder(request))
            assert seen.pop() == seen.pop()


def test_nothing_is_kept_of_a_head_that_is_not() -> None:
    """Of a request that the protocol makes once, no environ is kept for the next."""
    request = ask()
    environ_of(request)
    assert request.made_of_it is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("/a%20b", "/a b"),
        ("/a%2Fb", "/a/b"),
        ("/a%2fb", "/a/b"),
        ("/a%00b", "/a\0b"),
        ("/%C3%A9", "/\xc3\xa9"),
        ("/%ff", "/\xff"),
        ("/%2541", "/%41"),
        ("/%", "/%"),
        ("/%zz%4", "/%zz%4"),
        ("/a+b", "/a+b"),
        ("/a;b=c", "/a;b=c"),
        ("//double", "//double"),
        ("/../up", "/../up"),
        ("*", "*"),
    ],
)
def test_path_info(path: str, expected: str) -> None:
    """%XX is undone once, giving latin-1 text (PEP 3333, "Unicode Issues"); nothing else is."""
    environ = environ_of(ask(path=path))
    assert environ["PATH_INFO"] == expected
    environ["PATH_INFO"].encode("latin-1")
    assert environ["REQUEST_URI"] == path


def test_query_is_left_alone() -> None:
    """QUERY_STRING stays encoded, and is there, empty, when there is none."""
    assert environ_of(ask(query="a=%20b?c"))["QUERY_STRING"] == "a=%20b?c"
    assert environ_of(ask())["QUERY_STRING"] == ""


def test_http_1_0() -> None:
    """SERVER_PROTOCOL is that of the request."""
    assert environ_of(ask(minor=0))["SERVER_PROTOCOL"] == "HTTP/1.0"


def test_unix_socket_has_no_remote_port() -> None:
    """On a unix socket REMOTE_ADDR is empty and REMOTE_PORT is missing."""
    environ = environ_of(client=None)
    assert environ["REMOTE_ADDR"] == ""
    assert "REMOTE_PORT" not in environ


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("user-agent", "a/1")], {"HTTP_USER_AGENT": "a/1"}),
        ([("x-made-up", "1")], {"HTTP_X_MADE_UP": "1"}),
        ([("accept", "a"), ("accept", "b")], {"HTTP_ACCEPT": "a,b"}),
        ([("x-made-up", "1"), ("x-made-up", "2")], {"HTTP_X_MADE_UP": "1,2"}),
        ([("cookie", "a=1"), ("x-a", ""), ("cookie", "b=2")], {"HTTP_COOKIE": "a=1; b=2"}),
        ([("content-type", "a/b"), ("content-length", "0")], {}),
        ([("x-bytes", "\xe9\xff")], {"HTTP_X_BYTES": "\xe9\xff"}),
        ([("x_forwarded_for", "evil")], {}),
        ([("content_length", "5"), ("x-a_b", "1")], {}),
        ([("proxy", "http://evil")], {}),
        ([("transfer-encoding", "chunked")], {}),
        ([("proxy-authorization", "x")], {"HTTP_PROXY_AUTHORIZATION": "x"}),
        ([("content", "1")], {"HTTP_CONTENT": "1"}),
    ],
)
def test_fields_become_variables(headers: Headers, expected: dict[str, str]) -> None:
    """Names in upper case with "_"; repeated fields joined; dangerous ones left out."""
    found = {key: value for key, value in http(headers).items() if key.startswith("HTTP_")}
    assert {key: value for key, value in found.items() if value} == expected


def test_content_variables_go_without_http() -> None:
    """CONTENT_TYPE and CONTENT_LENGTH (RFC 3875 §4.1.2 and §4.1.3), once."""
    assert http([("content-type", "a/b"), ("content-length", "3")]) == {
        "CONTENT_TYPE": "a/b",
        "CONTENT_LENGTH": "3",
    }
    assert http([]) == {}


def test_chunked_body_gets_its_length() -> None:
    """A chunked body is complete when the application is called, so its length is stated."""
    environ = environ_of(
        ask("POST", headers=[("transfer-encoding", "chunked")], body=CHUNKED), b"seven b"
    )
    assert environ["CONTENT_LENGTH"] == "7"
    assert environ["wsgi.input"].read() == b"seven b"
    assert "HTTP_TRANSFER_ENCODING" not in environ


def test_input_is_not_said_to_be_terminated() -> None:
    """wsgi.input_terminated is no part of PEP 3333, and frameworks read too far with it."""
    assert "wsgi.input_terminated" not in environ_of()


def test_errors_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """wsgi.errors is text, can be flushed, and nobody can close it."""
    errors = environ_of()["wsgi.errors"]
    assert errors.write("one\n") == 4
    errors.writelines(["two\n", "\u2603\n"])
    errors.flush()
    errors.close()
    print("three", file=errors)
    assert errors.writable()
    assert capsys.readouterr().err == "one\ntwo\n\u2603\nthree\n"


def test_errors_follow_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error is looked up when something is written: programs replace it."""
    errors = environ_of()["wsgi.errors"]
    replaced = io.StringIO()
    monkeypatch.setattr(sys, "stderr", replaced)
    errors.write("there")
    assert replaced.getvalue() == "there"


def test_early_hints_reach_the_client() -> None:
    """wsgi.early_hints passes its fields on before the response."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
        assert not exchange.status
        start_response("200 OK", [])
        return [b"ok"]

    exchange = Recorder()
    WsgiGateway(app, "tests:app").run(exchange)
    assert exchange.hints == [[("Link", "</a.css>; rel=preload")]]
    assert exchange.sent == b"ok"


@pytest.mark.parametrize(
    ("root_path", "path", "expected"),
    [
        ("/shop", "/shop/cart", ("/shop", "/cart")),
        ("/shop", "/shop", ("/shop", "")),
        ("/shop", "/shop/", ("/shop", "/")),
        ("/shop", "/cart", ("/shop", "/cart")),
        ("/shop", "/shopping", ("/shop", "/shopping")),
        ("/shop", "/", ("/shop", "/")),
        ("/shop", "/%73hop/a%20b", ("/shop", "/a b")),
        ("/shop", "*", ("/shop", "*")),
        ("/a/b", "/a/b/a/b", ("/a/b", "/a/b")),
        ("/ü", "/%C3%BC/x", ("/Ã¼", "/x")),
    ],
)
def test_path_below_a_prefix(root_path: str, path: str, expected: tuple[str, str]) -> None:
    """SCRIPT_NAME is the prefix, PATH_INFO the rest, whether or not the proxy took it off."""
    seen: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ)
        start_response("200 OK", [])
        return []

    exchange = Recorder(ask("GET", path))
    PrefixedWsgiGateway(app, "tests:app", root_path).run(exchange)
    [environ] = seen
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == expected
    assert environ["REQUEST_URI"] == path
    assert exchange.status == "200 OK"
