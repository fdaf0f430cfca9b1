"""Several sites in one server, asked with real connections: threads, and event loops for both."""

import concurrent.futures
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.apps.raw_websocket import TEXT, frame
from tests.support.server import Server
from tests.support.waiting import wait_until
from tests.support.wire import Response

SITES = """
root-path = "/behind"
timeout = 30

[[site]]
hosts = ["one.test", "bücher.test"]
app = "tests.apps.several:wsgi"
header = ["X-Site: one", "-X-App"]
mount = {"/also" = "tests.apps.several:wsgi"}

[[site.route]]
path = "/odd"
app = "tests.apps.several:odd"
timeout = "300ms"

[[site.route]]
path = "/keep"
prefix = "keep"
app = "tests.apps.several:wsgi"

[[site.route]]
path = "/strip"
prefix = "strip"
app = "tests.apps.several:wsgi"
limit-request-body = 10
compress = "gzip"

[[site.route]]
path = "/narrow"
app = "tests.apps.several:odd"
limit-concurrency = 1

[[site.route]]
path = "/old"
redirect = "https://{host}/new{rest}?from={path}"

[[site]]
hosts = ["*.files.test"]
static-path = "FILES"
[[site.route]]
path = "/up"
exact = true
respond = "up\\n"
header = ["Cache-Control: no-store"]
access-log = "FILES/up.log"
access-log-format = "%h %U %>s"
[[site.route]]
path = "/gone"
respond = ""
respond-status = 410
[[site.route]]
path = "/uri"
redirect = "{uri}"
redirect-status = 302
"""
ASGI = """
[[site]]
hosts = ["asgi.test"]
app = "tests.apps.several:first"
[[site.route]]
path = "/second"
app = "tests.apps.several:second"
header = ["X-Site: second"]
[[site.route]]
path = "/strip"
prefix = "strip"
app = "tests.apps.several:second"
[[site.route]]
path = "/small"
app = "tests.apps.several:second"
limit-request-body = 10
[[site.route]]
path = "/assets"
static-path = "FILES"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some files."""
    files = tmp_path_factory.mktemp("files")
    (files / "index.html").write_text("<title>index</title>")
    (files / "a.css").write_text("body {}")
    return files


@pytest.fixture(scope="module", params=["threads", "loops"])
def server(request: pytest.FixtureRequest, folder: Path) -> Iterator[Server]:
    """The sites on the threads' engine; with an ASGI site besides, on event loops."""
    path = folder / f"{request.param}.toml"
    text = SITES + (ASGI if request.param == "loops" else "")
    path.write_text(text.replace("FILES", str(folder)), encoding="utf-8")
    with Server(f"--config={path}", "--threads", "4") as running:
        yield running


@pytest.fixture(scope="module")
def loops(folder: Path) -> Iterator[Server]:
    """ASGI sites beside the others, on one event loop."""
    path = folder / "asgi.toml"
    path.write_text((SITES + ASGI).replace("FILES", str(folder)), encoding="utf-8")
    with Server(f"--config={path}", "--loops", "1", "--threads", "4") as running:
        yield running


def ask(server: Server, host: str, target: str, **more: Any) -> Response:
    """One request on a connection of its own."""
    with server.connect() as client:
        return client.request("GET", target, headers={"Host": host}, **more)


def told(answer: Response) -> Any:
    """What the application says."""
    assert answer.status == 200, answer
    return json.loads(answer.body)


@pytest.mark.parametrize(
    ("target", "script", "path"),
    [
        ("/", "/behind", "/"),
        ("/a%20b?x", "/behind", "/a b"),
        ("/behind/a", "/behind", "/a"),
        ("/also", "/behind/also", ""),
        ("/also/x/", "/behind/also", "/x/"),
        ("/behind/also/x", "/behind/also", "/x"),
        ("/%61lso/x", "/behind/also", "/x"),
        ("/alsox", "/behind", "/alsox"),
        ("/keep/x", "/behind", "/keep/x"),
        ("/behind/keep/x", "/behind", "/keep/x"),
        ("/strip/x", "/behind", "/x"),
        ("/strip", "/behind", ""),
    ],
)
def test_wsgi_is_told_where_it_is(server: Server, target: str, script: str, path: str) -> None:
    """SCRIPT_NAME and PATH_INFO for each way to treat the prefix, with the proxy's or without."""
    answer = told(ask(server, "one.test", target))
    assert (answer["script"], answer["path"], answer["raw"]) == (script, path, target)
    assert answer["client"] == "127.0.0.1"
    assert answer["server"] == f"127.0.0.1:{server.port}"


def test_host_is_compared_without_port_and_case(server: Server) -> None:
    """So it is for international names, as browsers send them."""
    for host in ("ONE.test:1234", "one.test.", "xn--bcher-kva.test"):
        assert ask(server, host, "/").get("X-Site") == "one"


def test_unknown_host_and_path(server: Server) -> None:
    """421 where no site is meant (RFC 9110 §15.5.20), 404 where its paths are others."""
    answer = ask(server, "nobody.test", "/")
    assert answer.status == 421
    assert b"no site" in answer.body
    assert ask(server, "a.files.test", "/nothing").status == 404
    assert ask(server, "a.b.files.test", "/").status == 421


def test_header_fields_are_changed(server: Server) -> None:
    """Set and removed at its own site, and not elsewhere."""
    answer = ask(server, "one.test", "/also")
    assert answer.get("X-Site") == "one"
    assert answer.get("X-App") == ""
    assert ask(server, "one.test", "/odd/").get("X-Site") == "one"
    assert ask(server, "a.files.test", "/up").get("X-Site") == ""
    assert ask(server, "a.files.test", "/up").get("Cache-Control") == "no-store"


def test_redirects(server: Server) -> None:
    """Placeholders are filled in as the client wrote them; {uri} stays on this host."""
    answer = ask(server, "one.test:80", "/old/a%20b/")
    assert answer.status == 308
    assert answer.get("Location") == "https://one.test/new/a%20b/?from=/old/a%20b/"
    answer = ask(server, "a.files.test", "/uri//evil.test?q=1")
    assert (answer.status, answer.get("Location")) == (302, "/uri//evil.test?q=1")


def test_fixed_responses(server: Server) -> None:
    """A text, and a status without one."""
    answer = ask(server, "a.files.test", "/up")
    assert (answer.status, answer.body) == (200, b"up\n")
    assert ask(server, "a.files.test", "/up/").status == 404
    assert (ask(server, "a.files.test", "/gone/x").status) == 410
    with server.connect() as client:
        head = client.request("HEAD", "/up", headers={"Host": "a.files.test"})
        assert (head.status, head.get("Content-Length"), head.body) == (200, "3", b"")


def test_access_log_of_a_site(server: Server, folder: Path) -> None:
    """Its requests are in its own file, and no others are."""
    ask(server, "b.files.test", "/up?x")
    ask(server, "b.files.test", "/")
    wait_until(lambda: "/up 200\n" in (folder / "up.log").read_text())
    assert set((folder / "up.log").read_text().splitlines()) == {"127.0.0.1 /up 200"}


def test_files_of_a_site(server: Server) -> None:
    """Without an application the directory is at the site's own path."""
    assert ask(server, "a.files.test", "/").body == b"<title>index</title>"
    assert ask(server, "b.files.test", "/a.css").get("Content-Type").startswith("text/css")


def test_compression_of_a_site(server: Server) -> None:
    """On where its site says so, and only there."""
    fields = {"Host": "one.test", "Accept-Encoding": "gzip"}
    with server.connect() as client:
        long = "x" * 600
        there = client.request("GET", f"/strip/{long}", headers=fields)
        elsewhere = client.request("GET", f"/also/{long}", headers=fields)
    assert there.get("Content-Encoding") == "gzip"
    assert elsewhere.get("Content-Encoding") == ""


@pytest.mark.parametrize("chunked", [False, True])
def test_body_limit_of_a_site(server: Server, chunked: bool) -> None:
    """413 beyond it, by the length that is declared or by what comes; others take more."""
    for path, status in (("/strip", 413), ("/also", 200)):
        with server.connect() as client:
            size = "Transfer-Encoding: chunked" if chunked else "Content-Length: 11"
            body = "b\r\nhello world\r\n0\r\n\r\n" if chunked else "hello world"
            client.send(f"POST {path} HTTP/1.1\r\nHost: one.test\r\n{size}\r\n\r\n{body}".encode())
            answer = client.receive()
            assert answer.status == status
            if status == 200:
                assert json.loads(answer.body)["length"] == 11


def test_large_body_reaches_the_application(server: Server) -> None:
    """Through memory and a temporary file."""
    body = b"x" * 700_000
    with server.connect() as client:
        answer = client.request("POST", "/also", headers={"Host": "one.test"}, body=body)
        assert told(answer)["length"] == len(body)
        assert told(client.request("GET", "/", headers={"Host": "one.test"}))["length"] == 0


def test_streams_files_and_write(server: Server) -> None:
    """What WSGI knows besides lists, on a connection that goes on."""
    with server.connect() as client:
        for path, wanted in (
            ("/odd/", b"0\n1\n2\n"),
            ("/odd/write", b"written, returned"),
            ("/odd/file", Path("tests/apps/several.py").read_bytes()),
        ):
            answer = client.request("GET", path, headers={"Host": "one.test"})
            assert (answer.status, answer.body) == (200, wanted)


def test_failures_are_answered(server: Server) -> None:
    """An exception, illegal fields, and a failure after the head."""
    with server.connect() as client:
        for path in ("/odd/raise", "/odd/illegal"):
            answer = client.request("GET", path, headers={"Host": "one.test"})
            assert answer.status == 500
            assert b"request " in answer.body
    server.wait_log("RuntimeError: on purpose")
    with server.connect() as client:
        client.send(b"GET /odd/late HTTP/1.1\r\nHost: one.test\r\n\r\n")
        rest = client.receive_rest()
        assert b"begun" in rest
        assert not rest.endswith(b"0\r\n\r\n")
    assert ask(server, "one.test", "/").status == 200


def test_concurrency_of_a_site(server: Server) -> None:
    """One more than may be inside gets 503; the place is free again afterwards."""
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(ask, server, "one.test", "/narrow/slow") for _ in range(3)]
        answers = [future.result() for future in asked]
    assert sorted(answer.status for answer in answers) == [200, 503, 503]
    refused = next(answer for answer in answers if answer.status == 503)
    assert refused.get("Retry-After") == "1"
    assert ask(server, "one.test", "/narrow/").status == 200


def test_time_limit_of_a_site(server: Server) -> None:
    """504 for what takes too long at a site that says so; its thread is replaced."""
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(ask, server, "one.test", "/odd/slow") for _ in range(5)]
        assert [future.result().status for future in asked] == [504] * 5
    assert ask(server, "one.test", "/").status == 200
    server.wait_log("come back")


def test_asgi_is_told_where_it_is(loops: Server) -> None:
    """root_path, the whole path, and the state of its own lifespan."""
    for target, wanted in {
        "/x": ("/behind", "/behind/x", "/behind/x", "first"),
        "/second": ("/behind/second", "/behind/second", "/behind/second", "second"),
        "/behind/second/%C3%A9": (
            "/behind/second",
            "/behind/second/é",
            "/behind/second/%C3%A9",
            "second",
        ),
        "/strip/a%2Fb": ("/behind", "/behind/a/b", "/behind/a%2Fb", "second"),
        "/strip": ("/behind", "/behind/", "/behind/", "second"),
    }.items():
        answer = told(ask(loops, "asgi.test", target))
        assert (answer["root"], answer["path"], answer["raw"], answer["state"]) == wanted


def test_asgi_beside_files_and_fields(loops: Server) -> None:
    """A front-end's files below a path, fields of one application only."""
    assert ask(loops, "asgi.test", "/assets/a.css").body == b"body {}"
    assert ask(loops, "asgi.test", "/second").get("X-Site") == "second"
    assert ask(loops, "asgi.test", "/").get("X-Site") == ""


@pytest.mark.parametrize("chunked", [False, True])
def test_asgi_body_limit(loops: Server, chunked: bool) -> None:
    """413 for the site's own limit, before or while the body is read."""
    size = "Transfer-Encoding: chunked" if chunked else "Content-Length: 11"
    body = "b\r\nhello world\r\n0\r\n\r\n" if chunked else "hello world"
    with loops.connect() as client:
        client.send(f"POST /small HTTP/1.1\r\nHost: asgi.test\r\n{size}\r\n\r\n{body}".encode())
        assert client.receive().status == 413


def test_websocket_to_a_mount(loops: Server) -> None:
    """It reaches the application of its host and path; to others it is a request like any."""
    with loops.connect() as client:
        fields = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        head = f"GET /second/chat HTTP/1.1\r\nHost: asgi.test\r\n{fields}{key}\r\n"
        client.send(head.encode() + frame(TEXT, b"hello"))
        assert b" 101 " in client.receive_head()
        wanted = b"/behind/second /behind/second/chat hello"
        assert client.receive_exactly(2 + len(wanted))[2:] == wanted
    with loops.connect() as client:
        client.send(head.replace("/second/chat", "/assets/a").encode())
        assert client.receive().status == 404
        client.send(head.replace("asgi.test", "one.test").encode())
        assert client.receive().status == 200


def test_lifespans_are_their_own(loops: Server) -> None:
    """Each application is started once on this loop."""
    assert loops.out.count("first is up") == 1
    assert loops.out.count("second is up") == 1


def test_a_failed_start_shuts_the_others_down(folder: Path) -> None:
    """Where one application does not start nothing is served, and those that had are told."""
    path = folder / "broken.toml"
    path.write_text(
        '[[site]]\napp = "tests.apps.several:first"\n'
        '[[site.route]]\npath = "/b"\napp = "tests.apps.several:broken"\nlifespan = "on"\n'
    )
    server = Server(f"--config={path}", "--loops", "1", wait_ready=False)
    with server:
        assert server.wait() == 3
    assert "tests.apps.several:broken" in server.log
    assert "first is down" in server.out
