"""Static files from real servers: the same on threads and on both kinds of event loops."""

import email.parser
import email.policy
import gzip
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import pytest

from tests.apps.asgi_served import LOOPS
from tests.apps.raw_websocket import RawWebSocket
from tests.support.server import Server
from tests.support.waiting import Deadline
from tests.support.wire import Client, Response

BIG = os.urandom(1 << 20) + b"end"
PAGE = (Path(__file__).resolve().parents[1] / "docs" / "static.md").read_text()
WSGI = ("tests.apps.behind_files:wsgi",)
ENGINES = [
    pytest.param(WSGI, id="wsgi"),
    *(
        pytest.param(
            ("tests.apps.behind_files:asgi", "--loop", getattr(each, "values", [each])[0]),
            id=f"asgi-{getattr(each, 'values', [each])[0]}",
            marks=getattr(each, "marks", ()),
        )
        for each in LOOPS
    ),
]


def fill(root: Path) -> None:
    """The files that are served."""
    (root / "docs").mkdir(parents=True)
    (root / "many" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "hello.txt").write_text("hello world\n")
    (root / "empty.txt").write_text("")
    (root / "big.bin").write_bytes(BIG)
    (root / "docs" / "index.html").write_text("<h1>documents</h1>")
    (root / "many" / "a & <b>.txt").write_text("odd")
    (root / "many" / "javascript:alert(1)").write_text("x")
    (root / "many" / "ü 100%.txt").write_text("ü")
    (root / "many" / ".hidden").write_text("hidden")
    (root / "many" / "leads-out").symlink_to("/etc/hostname")
    (root / "app.3f2a9c1b.js").write_text("1" * 3000)
    (root / "app.3f2a9c1b.js.gz").write_bytes(gzip.compress(b"1" * 3000))
    (root / "app.3f2a9c1b.js.br").write_bytes(b"brotli")
    (root / "old.css").write_text("new")
    (root / "old.css.gz").write_bytes(gzip.compress(b"old"))
    os.utime(root / "old.css.gz", (1_000_000_000, 1_000_000_000))
    os.utime(root / "hello.txt", (784111777, 784111777))
    (root / "future.txt").write_text("from the future")
    os.utime(root / "future.txt", (4e9, 4e9))
    (root / "module.mjs").write_text("export default 1")
    (root / "lib.wasm").write_bytes(b"\0asm")
    (root / "out").symlink_to("/etc/passwd")
    (root / "locked.txt").write_text("locked")
    (root / "locked.txt").chmod(0)
    os.mkfifo(root / "fifo")


@pytest.fixture(scope="module", params=ENGINES)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server of files for all tests that change nothing, in front of an application."""
    root = tmp_path_factory.mktemp("files")
    fill(root / "public")
    arguments = ("--static-path", str(root / "public"), "--static-listing", "--access-log")
    with Server(*request.param, *arguments, cwd=root) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A connection."""
    with server.connect() as connection:
        yield connection


def test_a_file(client: Client) -> None:
    """Content, type, validators; and the connection goes on."""
    assert client.get("/static/hello.txt").body == b"hello world\n"
    answer = client.get("/static/hello.txt")
    assert (answer.status, answer.body) == (200, b"hello world\n")
    assert answer.get("Content-Type") == "text/plain; charset=utf-8"
    assert answer.get("Last-Modified") == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert re.fullmatch(r'"[0-9a-f]+-c"', answer.get("ETag"))
    assert answer.get("Content-Length") == "12"
    assert answer.get("Accept-Ranges") == "bytes"
    assert answer.get("Cache-Control") == "no-cache"
    assert answer.get("X-Content-Type-Options") == "nosniff"


def test_large_and_empty_files(client: Client) -> None:
    """By sendfile, and nothing at all."""
    assert client.get("/static/big.bin").body == BIG
    answer = client.get("/static/empty.txt")
    assert (answer.status, answer.body, answer.get("Content-Length")) == (200, b"", "0")


def test_application_has_the_rest(client: Client) -> None:
    """Only whole names of the route count."""
    for path in ("/", "/statics/x", "/hello.txt", "/static.txt"):
        answer = client.get(path)
        assert answer.get("X-By") == "application"
        assert answer.body == f"GET {path}".encode()


def test_head(client: Client) -> None:
    """As GET, without the body."""
    for path in ("/static/hello.txt", "/static/big.bin", "/static/many/", "/static/missing"):
        with_body = client.get(path)
        without = client.request("HEAD", path)
        assert without.body == b""
        leave = {"date"}
        assert [pair for pair in without.headers if pair[0].lower() not in leave] == [
            pair for pair in with_body.headers if pair[0].lower() not in leave
        ]


def test_types(client: Client) -> None:
    """Those of the modern web."""
    assert client.get("/static/module.mjs").get("Content-Type") == "text/javascript; charset=utf-8"
    assert client.get("/static/lib.wasm").get("Content-Type") == "application/wasm"
    assert client.get("/static/big.bin").get("Content-Type") == "application/octet-stream"


def test_conditions(client: Client) -> None:
    """304 with what belongs to it, 412, on the same connection."""
    first = client.get("/static/hello.txt")
    tag, date = first.get("ETag"), first.get("Last-Modified")
    for headers in (
        {"If-None-Match": tag},
        {"If-None-Match": f'"x", W/{tag}'},
        {"If-Modified-Since": date},
    ):
        answer = client.request("GET", "/static/hello.txt", headers)
        assert (answer.status, answer.body) == (304, b"")
        assert (answer.get("ETag"), answer.get("Cache-Control")) == (tag, "no-cache")
        assert answer.get("Vary") == "Accept-Encoding"
        assert answer.get("Content-Type") == ""
    answer = client.get("/static/app.3f2a9c1b.js", If_Match='"x"')
    assert (answer.status, answer.get("Cache-Control")) == (412, "")
    answer = client.get("/static/future.txt")
    assert "2096" not in answer.get("Last-Modified")
    assert client.get("/static/hello.txt", If_None_Match='"x"').status == 200


def test_a_range(client: Client) -> None:
    """One range, with and without If-Range; what is not there."""
    answer = client.get("/static/big.bin", Range="bytes=1048570-")
    assert (answer.status, answer.body) == (206, BIG[1048570:])
    assert answer.get("Content-Range") == f"bytes 1048570-{len(BIG) - 1}/{len(BIG)}"
    answer = client.get("/static/big.bin", Range="bytes=100-700000", If_Range=answer.get("ETag"))
    assert (answer.status, answer.body) == (206, BIG[100:700001])
    assert client.get("/static/hello.txt", Range="bytes=0-1", If_Range='"x"').status == 200
    assert client.request("HEAD", "/static/hello.txt", {"Range": "bytes=0-1"}).status == 200
    answer = client.get("/static/hello.txt", Range="bytes=12-")
    assert (answer.status, answer.get("Content-Range")) == (416, "bytes */12")


@pytest.mark.parametrize("size", [100, 300_000])
def test_several_ranges(client: Client, size: int) -> None:
    """multipart/byteranges, read by the standard library; small ones at once, large ones sent."""
    spans = [(500_000, 500_000 + size), (10, 10 + size), (len(BIG) - 5, len(BIG))]
    value = "bytes=" + ",".join(f"{start}-{stop - 1}" for start, stop in spans)
    answer = client.get("/static/big.bin", Range=value)
    assert answer.status == 206
    head = f"Content-Type: {answer.get('Content-Type')}\r\n\r\n".encode()
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    parts = list(parser.parsebytes(head + answer.body).iter_parts())
    assert [part["Content-Range"] for part in parts] == [
        f"bytes {start}-{stop - 1}/{len(BIG)}" for start, stop in spans
    ]
    pieces = re.split(rb"(?:^|\r\n)--[0-9a-f]{24}(?:--)?\r\n", answer.body)[1:-1]
    bodies = [piece.partition(b"\r\n\r\n")[2] for piece in pieces]
    assert bodies == [BIG[start:stop] for start, stop in spans]


def test_too_many_ranges_are_the_whole(client: Client) -> None:
    """A thousand of them cost no more than the file."""
    value = "bytes=" + ",".join("0-0" for _ in range(1000))
    assert client.get("/static/hello.txt", Range=value).status == 200


def test_compressed_siblings(client: Client) -> None:
    """The client's preference, then ours; each with its own tag; ranges are of what is sent."""
    path = "/static/app.3f2a9c1b.js"
    plain = client.get(path)
    assert (plain.get("Content-Encoding"), len(plain.body)) == ("", 3000)
    tags = {plain.get("ETag")}
    for accepted, coding in (
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "br"),
        ("br;q=0.5, gzip", "gzip"),
        ("br;q=0, *", "gzip"),
        ("identity, gzip;q=0.5", ""),
        ("zstd", ""),
    ):
        answer = client.get(path, Accept_Encoding=accepted)
        assert answer.get("Content-Encoding") == coding, accepted
        assert answer.get("Vary") == "Accept-Encoding"
        assert answer.get("Content-Type") == "text/javascript; charset=utf-8"
        assert answer.get("Cache-Control") == "public, max-age=31536000, immutable"
        tags.add(answer.get("ETag"))
    assert len(tags) == 3
    zipped = client.get(path, Accept_Encoding="gzip")
    assert gzip.decompress(zipped.body) == plain.body
    part = client.get(path, Accept_Encoding="gzip", Range="bytes=2-5")
    assert (part.status, part.body) == (206, zipped.body[2:6])
    assert client.get("/static/old.css", Accept_Encoding="gzip").body == b"new"
    assert client.get(path + ".gz").get("Content-Type") == "application/gzip"


@pytest.mark.parametrize(
    "path",
    [
        *("../app.py", "%2e%2e/app.py", "..%2fapp.py", "docs/../hello.txt", "./hello.txt"),
        *("/hello.txt", "docs//index.html", "docs%2findex.html", "docs%5cindex.html"),
        *("hello.txt%00", "out", "fifo", "many/.hidden", "hello.txt/", "missing", "many/leads-out"),
        *("%zz", "%", "a" * 3000, "hello.txt%20", "HELLO.TXT"),
    ],
)
def test_nothing_else_is_served(client: Client, path: str) -> None:
    """404 for each, and the connection goes on."""
    answer = client.get("/static/" + path)
    assert (answer.status, answer.body) == (404, b"404 Not Found\n")
    assert client.get("/static/hello.txt").status == 200


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(client: Client) -> None:
    """403, not a failure."""
    assert client.get("/static/locked.txt").status == 403


def test_other_methods(client: Client) -> None:
    """405 and 204, both with Allow; a body that came along does no harm."""
    for method in ("POST", "PUT", "DELETE", "PATCH", "PROPFIND"):
        answer = client.request(method, "/static/hello.txt", body=b"x" * 5000)
        assert (answer.status, answer.get("Allow")) == (405, "GET, HEAD, OPTIONS")
    answer = client.request("OPTIONS", "/static/hello.txt")
    assert (answer.status, answer.get("Allow")) == (204, "GET, HEAD, OPTIONS")


def test_directory_without_slash(client: Client, server: Server) -> None:
    """Redirected to the same path with one, with its query, never to another host."""
    for path, place in (
        ("/static/docs", "/static/docs/"),
        ("/static", "/static/"),
        ("/static/docs?a=//b", "/static/docs/?a=//b"),
        ("/static/%64ocs", "/static/%64ocs/"),
    ):
        answer = client.get(path)
        assert answer.status == 301
        assert not answer.get("Location").startswith("/")
        assert urljoin(server.url + path, answer.get("Location")) == server.url + place
    for path in ("//static/docs", "/static//evil.example", "/static//evil.example/docs"):
        assert client.get(path).status != 301
    assert client.get("/static/docs/").body == b"<h1>documents</h1>"


class Links(HTMLParser):
    """The links of a page, and whether anything runs in it."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "a":
            self.links.append(dict(attrs)["href"] or "")


def test_listing(client: Client, server: Server) -> None:
    """Every link leads to what it names; nothing hidden, nothing that runs."""
    answer = client.get("/static/many/")
    assert answer.get("Content-Type") == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.get("Content-Security-Policy")
    text = answer.body.decode()
    assert "a &amp; &lt;b&gt;.txt" in text
    assert "hidden" not in text
    assert "leads-out" not in text
    page = Links()
    page.feed(text)
    assert not page.tags & {"script", "b", "img"}
    assert page.links[:2] == ["../", "./deep/"]
    assert len(page.links) == 5
    for link in page.links[2:]:
        place = urljoin(server.url + "/static/many/", link)
        assert place.startswith(server.url + "/static/many/")
        assert client.get(place.removeprefix(server.url)).status == 200
    top = Links()
    top.feed(client.get("/static/").body.decode())
    assert "../" not in top.links
    assert client.get("/static/empty/").status == 200


def test_pipelined_requests(client: Client) -> None:
    """Answered in order, whatever is sent of which."""
    paths = ["hello.txt", "big.bin", "missing", "docs/", "big.bin", "hello.txt", "many/"] * 3
    client.send(
        b"".join(f"GET /static/{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths)
    )
    answers = [client.receive() for _ in paths]
    expected = {"missing": 404}
    assert [answer.status for answer in answers] == [expected.get(path, 200) for path in paths]
    assert answers[1].body == answers[4].body == BIG


def test_client_that_leaves(server: Server) -> None:
    """In the middle of a file: the next one is served, nothing is logged as an error."""
    for _ in range(5):
        with server.connect() as impatient:
            impatient.send(b"GET /static/big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
            impatient.receive_head()
            impatient.reset()
    with server.connect() as client:
        assert client.get("/static/big.bin").body == BIG
    assert "Traceback" not in server.log


def test_access_log(client: Client, server: Server) -> None:
    """As for any other request."""
    client.get("/static/big.bin?logged", Range="bytes=5-9")
    server.output.wait(r'"GET /static/big\.bin\?logged HTTP/1\.1" 206 5 ', 10)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_goes_on_with_a_download(server: Server, tmp_path: Path) -> None:
    """What a real client makes of redirects, ranges, conditions and codings."""

    def curl(*arguments: str) -> str:
        command = ["curl", "-sS", "--fail", "--max-time", "20", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    file = tmp_path / "big.bin"
    file.write_bytes(BIG[:400_000])
    curl("-C", "-", "-o", str(file), f"{server.url}/static/big.bin")
    assert file.read_bytes() == BIG
    where = curl("-L", "-o", os.devnull, "-w", "%{url_effective}", f"{server.url}/static/docs")
    assert where == f"{server.url}/static/docs/"
    assert curl(
        "--compressed", "-H", "Accept-Encoding: gzip", f"{server.url}/static/app.3f2a9c1b.js"
    )
    tag = tmp_path / "tag"
    url = f"{server.url}/static/hello.txt"
    code = ("-o", os.devnull, "-w", "%{http_code}", "--etag-save", str(tag))
    assert curl(*code, url) == "200"
    assert curl(*code, "--etag-compare", str(tag), url) == "304"


@pytest.mark.parametrize("engine", ENGINES)
def test_single_page_application(
    tmp_path: Path, serve: Callable[..., Server], engine: tuple[str, ...]
) -> None:
    """The command on the page: pages fall back, scripts do not, /api is the application's."""
    found = re.search(r"nogilserve main:app (--static-path /=dist .*)", PAGE)
    assert found is not None
    (tmp_path / "dist" / "assets").mkdir(parents=True)
    (tmp_path / "dist" / "index.html").write_text("<h1>app</h1>")
    (tmp_path / "dist" / "assets" / "main.js").write_text("1")
    server = serve(*engine, *found[1].split(), "--static-immutable", "assets/*", cwd=tmp_path)
    page = "text/html,application/xhtml+xml,*/*;q=0.8"
    with server.connect() as client:
        for path in ("/", "/orders/17", "/index.html", "/user/john.doe"):
            assert client.get(path, Accept=page).body == b"<h1>app</h1>"
        assert client.get("/orders/17").status == 200
        assert client.get("/missing.js", Accept="*/*").status == 404
        assert client.get("/orders/17", Accept="application/json").status == 404
        assert client.get("/api/x", Accept=page).body == b"GET /api/x"
        assert client.request("POST", "/api").body == b"POST /api"
        assert client.get("/apis", Accept=page).body == b"<h1>app</h1>"
        assert "immutable" in client.get("/assets/main.js").get("Cache-Control")
        assert client.get("/").get("Cache-Control") == "no-cache"
        assert client.get("/%2e%2e/secret", Accept="*/*").body == b"<h1>app</h1>"


@pytest.mark.parametrize("engine", ENGINES)
def test_fallthrough_and_routes(
    tmp_path: Path, serve: Callable[..., Server], engine: tuple[str, ...]
) -> None:
    """Several directories below a prefix; what is not there is the application's."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").write_text(name)
    (tmp_path / "c" / "link").symlink_to("../a/a.txt")
    arguments = ["--static-path", "a", "--static-path", "/static/deep=b", "--static-path=/c=c"]
    more = ["--static-fallthrough", "--static-cache", "none", "--static-symlinks"]
    server = serve(*engine, *arguments, *more, "--root-path", "/shop", cwd=tmp_path)
    with server.connect() as client:
        for prefix in ("", "/shop"):
            assert client.get(f"{prefix}/static/a.txt").body == b"a"
            assert client.get(f"{prefix}/static/deep/b.txt").body == b"b"
            assert client.get(f"{prefix}/c/c.txt").body == b"c"
        assert client.get("/c/link").body == b"a"
        assert client.get("/c/c.txt").get("Cache-Control") == ""
        for path in ("/static/missing", "/c/", "/static/deep/a.txt"):
            assert client.get(path).get("X-By") == "application"
        assert client.request("POST", "/c/c.txt", body=b"x").get("X-By") == "application"


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_websockets_are_the_applications(
    tmp_path: Path, serve: Callable[..., Server], engine: tuple[str, ...]
) -> None:
    """Also below the route of files."""
    server = serve(*engine, "--static-path", f"/={tmp_path}")
    with RawWebSocket(("127.0.0.1", server.port)) as websocket:
        websocket.open("/static/ws")
        assert websocket.message() == "/static/ws"


@pytest.mark.parametrize("engine", ENGINES)
def test_file_that_is_always_being_replaced(
    tmp_path: Path, serve: Callable[..., Server], engine: tuple[str, ...]
) -> None:
    """Every answer is one version as a whole, with the tag of that version."""
    file, other = tmp_path / "x.txt", tmp_path / "new"
    versions = [bytes([65 + index]) * (20_000 + index * 1000) for index in range(8)]
    file.write_bytes(versions[0])
    server = serve(*engine, "--static-path", str(tmp_path))
    tags: dict[str, bytes] = {}
    with server.connect() as client, ExitStack() as stack:
        clients = [client, *(stack.enter_context(server.connect()) for _ in range(3))]
        deadline = Deadline(60)
        for turn in range(200):
            deadline.require(f"only {turn} turns")
            for each in clients:
                each.send(b"GET /static/x.txt HTTP/1.1\r\nHost: x\r\n\r\n")
            other.write_bytes(versions[turn % 8])
            os.replace(other, file)
            for answer in [each.receive() for each in clients]:
                check_version(answer, versions, tags)
    assert "Traceback" not in server.log


def check_version(answer: Response, versions: list[bytes], tags: dict[str, bytes]) -> None:
    """A whole version; the same tag never has another content."""
    if answer.status == 503:  # replaced again and again while it was looked at
        return
    assert answer.status == 200
    assert answer.body in versions
    assert tags.setdefault(answer.get("ETag"), answer.body) == answer.body
