"""Behind real proxies: the configurations of docs/proxies.md in nginx, Caddy and HAProxy."""

import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import Server
from tests.support.waiting import wait_until
from tests.support.wire import Client

ROOT = Path(__file__).resolve().parents[1]
APP = "tests.apps.origin:wsgi"
Serve = Callable[..., Server]
Start = Callable[[list[str], socket.socket], None]


def block(language: str) -> str:
    """A configuration as the page has it."""
    text = (ROOT / "docs" / "proxies.md").read_text()
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert isinstance(found, str)
    return found


def replaced(text: str, **changes: str) -> str:
    """The text with each `key` (spaces for underscores) replaced; it must be there."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def needs(program: str) -> str:
    """The path of a program, or skip the test."""
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Certificate and key for example.org in one file."""
    path = tmp_path / "example.org.pem"
    openssl = needs("openssl")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=example.org"]
    key = tmp_path / "key.pem"
    command += ["-addext", "subjectAltName=DNS:example.org"]
    command += ["-keyout", str(key), "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    path.write_text(path.read_text() + key.read_text())
    return path


@pytest.fixture
def address() -> Iterator[socket.socket]:
    """A TCP address of this machine for a proxy: bound, so that nobody else gets it.

    Not listening: nginx and Caddy bind it again, sharing the port; HAProxy inherits it.
    """
    with closing(socket.socket()) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", 0))
        yield sock


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Run a proxy until the end of the test; returns when it accepts connections."""
    with ExitStack() as running:

        def run(command: list[str], sock: socket.socket) -> None:
            log = running.enter_context((tmp_path / "proxy.log").open("wb"))
            environment = os.environ | {"HOME": str(tmp_path)}
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                pass_fds=[sock.fileno()],
                cwd=tmp_path,
            )
            running.callback(ended, process)
            wait_until(lambda: process.poll() is not None or accepts(sock), 15, "no proxy")
            assert process.poll() is None, (tmp_path / "proxy.log").read_text()

        yield run


def accepts(sock: socket.socket) -> bool:
    """Whether somebody listens where this socket is bound."""
    try:
        socket.create_connection(sock.getsockname(), 1).close()
    except ConnectionRefusedError:
        return False
    return True


def ended(process: subprocess.Popen[bytes]) -> None:
    """Stop a proxy that was started."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


class Https(http.client.HTTPSConnection):
    """A connection of a client at `source` to the proxy behind `sock`, for example.org."""

    def __init__(self, sock: socket.socket, source: str = "127.0.0.1") -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        port = sock.getsockname()[1]
        super().__init__("127.0.0.1", port, timeout=10, context=context)
        self.tls, self.source = context, source

    def connect(self) -> None:
        """With the name that the certificate is for."""
        plain = socket.create_connection((self.host, self.port), 10, (self.source, 0))
        self.sock = self.tls.wrap_socket(plain, server_hostname="example.org")

    def ask(self, path: str = "/a", **headers: str) -> dict[str, Any]:
        """What the application saw of a GET; header names with "_" for "-"."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        self.request("GET", path, headers={"Host": "example.org"} | fields)
        response = self.getresponse()
        body = response.read()
        assert response.status == 200, body
        found: dict[str, Any] = json.loads(body)
        return found


def check(sock: socket.socket, server: Server) -> None:
    """Clients at several addresses, each with a connection of its own, take turns."""
    sources = [f"127.0.0.{number}" for number in range(2, 8)]
    with ExitStack() as stack:
        clients = {source: stack.enter_context(closing(Https(sock, source))) for source in sources}
        for turn in range(20):
            for source, client in clients.items():
                told = client.ask(f"/a?{turn}", X_Forwarded_For="10.0.0.1", X_Forwarded_Proto="ftp")
                assert told["REMOTE_ADDR"] == source
                assert told["url"] == f"https://example.org/a?{turn}"
    server.stop()
    counts = server.wait_log(r"(\d+) requests? on (\d+) connections?")
    assert int(counts[1]) == 20 * len(sources)
    assert int(counts[2]) < 20 * len(sources) / 2, "connections were not kept"


def nginx_config(tmp_path: Path, server: str) -> Path:
    """A whole nginx.conf around the part that the page shows."""
    path = tmp_path / "nginx.conf"
    temp = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path.write_text(
        f"daemon off; master_process off; pid {tmp_path}/nginx.pid; error_log stderr;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temp}{server}\n}}\n"
    )
    return path


def nginx_command(tmp_path: Path, server: str) -> list[str]:
    """Start nginx in the foreground, with nothing from the system's configuration."""
    config = nginx_config(tmp_path, server)
    return [needs("nginx"), "-p", str(tmp_path), "-e", "stderr", "-c", str(config)]


def nginx_server(tmp_path: Path, sock: socket.socket, upstream: str) -> str:
    """The configuration of the page for this test's addresses and files."""
    certificate = str(tmp_path / "example.org.pem")
    return replaced(
        block("nginx"),
        **{
            "127.0.0.1:8000": upstream,
            "listen 443 ssl": f"listen 127.0.0.1:{sock.getsockname()[1]} ssl reuseport",
            "/etc/ssl/example.org.pem": certificate,
            "/etc/ssl/example.org.key": certificate,
        },
    )


@pytest.mark.usefixtures("certificate")
def test_nginx(serve: Serve, start: Start, tmp_path: Path, address: socket.socket) -> None:
    """nginx as the page has it: right clients on kept connections."""
    needs("nginx")
    server = serve(APP, "--keep-alive=75")
    upstream = f"127.0.0.1:{server.port}"
    start(nginx_command(tmp_path, nginx_server(tmp_path, address, upstream)), address)
    check(address, server)


@pytest.mark.usefixtures("certificate")
def test_nginx_to_a_unix_socket(
    serve: Serve, start: Start, tmp_path: Path, address: socket.socket
) -> None:
    """The same over a unix socket."""
    needs("nginx")
    server = serve(APP, "--keep-alive=75", f"--bind=unix:{tmp_path}/app.sock")
    upstream = f"unix:{tmp_path}/app.sock"
    start(nginx_command(tmp_path, nginx_server(tmp_path, address, upstream)), address)
    check(address, server)


@pytest.mark.usefixtures("certificate")
def test_nginx_and_a_stranger_at_its_side(
    serve: Serve, start: Start, tmp_path: Path, address: socket.socket
) -> None:
    """What clients send in fields of proxies changes nothing, whatever it is."""
    needs("nginx")
    server = serve(APP, "--keep-alive=75")
    upstream = f"127.0.0.1:{server.port}"
    start(nginx_command(tmp_path, nginx_server(tmp_path, address, upstream)), address)
    with closing(Https(address, "127.0.0.9")) as client:
        for headers in (
            {"X-Forwarded-For": "127.0.0.1, junk, ,"},
            {"X-Forwarded-For": '"[::1'},
            {"Forwarded": 'for=127.0.0.1;proto=http;host="evil.example'},
            {"X-Forwarded-Host": "evil.example", "X-Forwarded-Port": "no"},
            {"X_Forwarded_For": "127.0.0.1", "X-Real-IP": "127.0.0.1"},
            {"X-Forwarded-Proto": "http, javascript"},
        ):
            client.request("GET", "/", headers={"Host": "example.org"} | headers)
            told = json.loads(client.getresponse().read())
            assert (told["REMOTE_ADDR"], told["url"]) == ("127.0.0.9", "https://example.org/")


@pytest.mark.usefixtures("certificate")
@pytest.mark.parametrize("strip", [True, False])
def test_nginx_below_a_path(
    serve: Serve, start: Start, tmp_path: Path, address: socket.socket, strip: bool
) -> None:
    """--root-path behind an nginx that takes the prefix off, and one that does not."""
    needs("nginx")
    server = serve(APP, "--keep-alive=75", "--root-path=/shop")
    location = block("nginx-location")
    if not strip:
        location = replaced(location, **{"http://app/;": "http://app;"})
    text = nginx_server(tmp_path, address, f"127.0.0.1:{server.port}")
    text = text.rstrip().removesuffix("}") + location + "}\n"
    start(nginx_command(tmp_path, text), address)
    with closing(Https(address)) as client:
        told = client.ask("/shop/cart?x")
    assert (told["SCRIPT_NAME"], told["PATH_INFO"]) == ("/shop", "/cart")
    assert told["url"] == "https://example.org/shop/cart?x"


@pytest.mark.usefixtures("certificate")
def test_nginx_behind_nginx(
    serve: Serve, start: Start, tmp_path: Path, address: socket.socket
) -> None:
    """Two proxies in a row, the inner one on a unix socket: the client is still found."""
    needs("nginx")
    server = serve(APP, "--keep-alive=75")
    text = nginx_server(tmp_path, address, f"unix:{tmp_path}/inner.sock")
    outer = text.replace("upstream app", "upstream inner").replace("http://app", "http://inner")
    inner = nginx_server(tmp_path, address, f"127.0.0.1:{server.port}")
    inner = re.sub(r"listen [^;]+", f"listen unix:{tmp_path}/inner.sock", inner)
    inner = inner.replace("X-Forwarded-Proto $scheme", "X-Forwarded-Proto $http_x_forwarded_proto")
    start(nginx_command(tmp_path, outer + inner), address)
    with closing(Https(address, "127.0.0.9")) as client:
        told = client.ask(X_Forwarded_For="10.0.0.1")
    assert told["HTTP_X_FORWARDED_FOR"] == "10.0.0.1, 127.0.0.9, unix:"
    assert (told["REMOTE_ADDR"], told["wsgi.url_scheme"]) == ("127.0.0.9", "https")


def caddy_config(tmp_path: Path, sock: socket.socket, upstream: str) -> str:
    """The configuration of the page, with a certificate, and nothing asked from the network."""
    certificate = tmp_path / "example.org.pem"
    site = replaced(
        block("caddy"),
        **{
            "127.0.0.1:8000": upstream,
            "example.org {": f"https://example.org:{sock.getsockname()[1]} {{\n"
            f"    bind 127.0.0.1\n    tls {certificate} {certificate}",
        },
    )
    return f"{{\n    admin off\n    auto_https disable_redirects\n}}\n{site}"


@pytest.mark.usefixtures("certificate")
@pytest.mark.parametrize("unix", [False, True])
def test_caddy(
    serve: Serve, start: Start, tmp_path: Path, address: socket.socket, unix: bool
) -> None:
    """Caddy as the page has it, to a TCP address and to a unix socket."""
    caddy = needs("caddy")
    bind = f"unix:{tmp_path}/app.sock" if unix else "127.0.0.1:0"
    server = serve(APP, "--keep-alive=150", f"--bind={bind}")
    upstream = f"unix/{tmp_path}/app.sock" if unix else f"127.0.0.1:{server.port}"
    (tmp_path / "Caddyfile").write_text(caddy_config(tmp_path, address, upstream))
    start([caddy, "run", "--config", str(tmp_path / "Caddyfile")], address)
    port = address.getsockname()[1]
    host = f"example.org:{port}"
    sources = [f"127.0.0.{number}" for number in range(2, 8)]
    for turn in range(10):
        for source in sources:
            with closing(Https(address, source)) as client:
                headers = {"Host": host, "X_Forwarded_For": "10.0.0.1", "X_Forwarded_Proto": "ftp"}
                told = client.ask(f"/a?{turn}", **headers)
            assert told["REMOTE_ADDR"] == source
            assert told["url"] == f"https://{host}/a?{turn}"
    server.stop()
    counts = server.wait_log(r"(\d+) requests? on (\d+) connections?")
    assert int(counts[2]) < int(counts[1]) / 2, "connections were not kept"


@pytest.mark.usefixtures("certificate")
@pytest.mark.parametrize(
    ("sender", "scheme"),
    [("send-proxy", "http"), ("send-proxy-v2", "http"), ("send-proxy-v2-ssl", "https")],
)
def test_haproxy(
    serve: Serve,
    start: Start,
    tmp_path: Path,
    address: socket.socket,
    sender: str,
    scheme: str,
) -> None:
    """HAProxy as the page has it speaks the PROXY protocol, either version."""
    haproxy = needs("haproxy")
    server = serve(APP, "--proxy-protocol=required")
    text = replaced(
        block("haproxy"),
        **{
            "127.0.0.1:8000": f"127.0.0.1:{server.port}",
            "bind :443": f"bind fd@{address.fileno()}",
            "/etc/ssl/example.org.pem": str(tmp_path / "example.org.pem"),
            "send-proxy-v2-ssl": sender,
        },
    )
    times = "defaults\n    timeout connect 5s\n    timeout client 20s\n    timeout server 20s\n"
    (tmp_path / "haproxy.cfg").write_text(times + text)
    start([haproxy, "-db", "-f", str(tmp_path / "haproxy.cfg")], address)
    for source in ("127.0.0.2", "127.0.0.3"):
        with closing(Https(address, source)) as client:
            for _ in range(3):
                told = client.ask(X_Forwarded_For="10.0.0.1")
                assert told["REMOTE_ADDR"] == source
                assert told["SERVER_PORT"] == str(address.getsockname()[1])
                assert told["url"] == f"{scheme}://example.org/a"
    with Client(("127.0.0.1", server.port)) as past_it:
        past_it.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert past_it.receive().status == 400
