"""Which certificate is shown, who has to show one, and what happens when files change."""

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.certificates import NEEDS_OPENSSL, Authority, TlsClient, openssl, trusting
from tests.support.server import ROOT, Server
from tests.support.waiting import wait_until
from tests.support.wire import Client

pytestmark = NEEDS_OPENSSL

WSGI, ASGI = "tests.apps.tls_apps:wsgi", "tests.apps.tls_apps:asgi"
PROXY = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One for all tests here."""
    return Authority(tmp_path_factory.mktemp("ca"))


def pair(certificate: Path, key: Path) -> list[str]:
    """The options for a certificate."""
    return ["--certfile", str(certificate), "--ssl-keyfile", str(key)]


@pytest.fixture(scope="module")
def several(authority: Authority) -> Iterator[Server]:
    """A server with certificates for several names, plain HTTP and a redirect beside."""
    options = [
        *pair(*authority.issue("localhost", "127.0.0.1")),
        *pair(*authority.issue("shop.test", "www.shop.test")),
        *pair(*authority.issue("*.any.test")),
        *pair(*authority.issue("both.test", label="both-ec")),
        *pair(*authority.issue("both.test", label="both-rsa", key="rsa")),
        *("--insecure-bind", "127.0.0.1:0", "--redirect-http", "0"),
    ]
    with Server(WSGI, *options, addresses=3) as server:
        yield server


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("shop.test", "shop.test,www.shop.test"),
        ("WWW.shop.test", "shop.test,www.shop.test"),
        ("a.any.test", "*.any.test"),
        ("a.b.any.test", "localhost,127.0.0.1"),
        ("any.test", "localhost,127.0.0.1"),
        ("other.test", "localhost,127.0.0.1"),
        ("", "localhost,127.0.0.1"),
    ],
)
def test_certificate_for_a_name(
    several: Server, authority: Authority, name: str, shown: str
) -> None:
    """The exact name, then *, then the first certificate."""
    context = trusting(authority)
    context.check_hostname = False
    with TlsClient(several.addresses[0], context, name) as client:
        assert client.certificate() == shown
        assert client.get("/").body == b"hello"


@pytest.mark.parametrize(("ciphers", "kind"), [("ECDHE+aRSA", "RSA"), ("ECDHE+aECDSA", "ECDSA")])
def test_kind_of_key(several: Server, authority: Authority, ciphers: str, kind: str) -> None:
    """Of two certificates for a name a client gets the one that it can read."""
    context = trusting(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)
    with TlsClient(several.addresses[0], context, "both.test") as client:
        suite = client.tls.cipher()
        assert suite is not None
        assert f"-{kind}-" in suite[0]


def test_plain_beside(several: Server) -> None:
    """--insecure-bind speaks plain HTTP, and says so."""
    with Client(several.addresses[1]) as client:
        found = json.loads(client.get("/env").body)
    assert found["wsgi.url_scheme"] == "http"
    assert "HTTPS" not in found
    assert "SSL_PROTOCOL" not in found


@pytest.mark.parametrize("app", [WSGI, ASGI])
def test_strict_transport_is_promised_with_tls_only(authority: Authority, app: str) -> None:
    """Also where an application answers the same on both again and again (RFC 6797 §7.2)."""
    options = [*pair(*authority.issue("localhost", "127.0.0.1")), "--hsts", "--workers", "1"]
    with (
        Server(app, *options, "--insecure-bind", "127.0.0.1:0", addresses=2) as server,
        TlsClient(server.addresses[0], trusting(authority)) as secure,
        Client(server.addresses[1]) as plain,
    ):
        for _ in range(4):
            for _ in range(4):
                assert secure.get("/").get("Strict-Transport-Security") == "max-age=31536000"
            for _ in range(4):
                assert plain.get("/").get("Strict-Transport-Security") == ""


@pytest.mark.parametrize(
    ("request_line", "host", "expected"),
    [
        ("GET /a%20b?c=%2F HTTP/1.1", "shop.test:80", "308 https://shop.test:{port}/a%20b?c=%2F"),
        ("POST / HTTP/1.1", "127.0.0.1", "308 https://127.0.0.1:{port}/"),
        ("GET / HTTP/1.1", "[::1]:8080", "308 https://[::1]:{port}/"),
        ("GET /old HTTP/1.0", "shop.test", "301 https://shop.test:{port}/old"),
        ("GET http://else.test/x HTTP/1.1", "else.test", "308 https://else.test:{port}/x"),
        ("GET //evil.test/ HTTP/1.1", "shop.test", "308 https://shop.test:{port}//evil.test/"),
    ],
)
def test_redirect(several: Server, request_line: str, host: str, expected: str) -> None:
    """Plain HTTP on the port of --redirect-http is led to HTTPS, and to nothing else."""
    with Client(several.addresses[2]) as client:
        client.send(f"{request_line}\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n".encode())
        response = client.receive()
    status, _, where = expected.partition(" ")
    assert (str(response.status), response.get("Location")) == (
        status,
        where.replace("{port}", str(several.port)),
    )


def test_redirect_without_host(several: Server) -> None:
    """Without a host there is nowhere to go."""
    with Client(several.addresses[2]) as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert client.receive().status == 400


def test_redirect_of_an_upload(several: Server) -> None:
    """The body is not waited for: it has to be sent elsewhere."""
    with Client(several.addresses[2]) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 1000000\r\n\r\n")
        response = client.receive()
        assert (response.status, response.get("Connection")) == (308, "close")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(several: Server, authority: Authority) -> None:
    """A client that everybody has, following the redirect."""
    address = several.addresses[2]
    assert isinstance(address, tuple)
    url = f"http://127.0.0.1:{address[1]}/env"
    command = ["curl", "-sSL", "--cacert", str(authority.file), "--max-time", "10", url]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=15)
    assert json.loads(done.stdout)["HTTPS"] == "on"


def test_openssl_client(several: Server, authority: Authority) -> None:
    """OpenSSL's own client finds nothing to complain of."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{several.port}", "-quiet"]
    command += ["-servername", "shop.test", "-CAfile", str(authority.file), "-verify_return_error"]
    request = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n"
    done = subprocess.run(command, input=request, capture_output=True, text=True, timeout=15)
    assert done.stdout.endswith("hello")


def test_httpx(several: Server, authority: Authority) -> None:
    """httpx, on one connection for several requests."""
    httpx = pytest.importorskip("httpx")
    with httpx.Client(verify=trusting(authority)) as client:
        url = f"https://localhost:{several.port}"
        assert [client.get(url).text for _ in range(3)] == ["hello"] * 3
        assert client.post(f"{url}/size", content=b"x" * 300_000).text == "300000"


@pytest.mark.parametrize("app", [WSGI, ASGI])
def test_client_certificates(app: str, authority: Authority, serve: Callable[..., Server]) -> None:
    """Who shows a good certificate is named to the application; nobody else gets in."""
    subject = "/C=DE/O=Ex, Inc./CN=Some Body"
    mine = authority.issue("client.test", label="client", subject=subject)
    options = [*pair(*authority.issue("localhost")), "--ca-certs", str(authority.file)]
    server = serve(app, *options, "--cert-reqs", "required", "--http", "1")
    context = trusting(authority)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        with TlsClient(server.addresses[0], context) as client:
            client.get("/env")
    context.load_cert_chain(*mine)
    with TlsClient(server.addresses[0], context) as client:
        found = json.loads(client.get("/env").body)
    name = r"CN=Some Body,O=Ex\, Inc.,C=DE"
    if app == WSGI:
        assert found["SSL_CLIENT_VERIFY"] == "SUCCESS"
        assert found["SSL_CLIENT_S_DN"] == name
        assert found["SSL_CLIENT_S_DN_CN"] == "Some Body"
        assert found["SSL_CLIENT_I_DN"] == "CN=Test authority"
        assert found["SSL_CLIENT_CERT"].startswith("-----BEGIN CERTIFICATE-----")
    else:
        assert found["tls"]["client_cert_name"] == name
        assert len(found["tls"]["client_cert_chain"]) == 2
    other = Authority(authority.folder / "other")
    stranger = trusting(authority)
    stranger.load_cert_chain(*other.issue("client.test"))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        with TlsClient(server.addresses[0], stranger) as client:
            client.get("/env")


@pytest.mark.parametrize("app", [WSGI, ASGI])
def test_behind_a_load_balancer(
    app: str, authority: Authority, serve: Callable[..., Server]
) -> None:
    """TLS that begins behind a PROXY header, also in one piece with it."""
    options = [*pair(*authority.issue("localhost")), "--http", "1"]
    server = serve(app, *options, "--proxy-protocol", "required")
    with TlsClient(server.addresses[0], trusting(authority), first=PROXY) as client:
        found = json.loads(client.get("/env").body)
        assert (found.get("REMOTE_ADDR") or found["client"][0]) == "192.0.2.7"
        assert "https" in (found.get("wsgi.url_scheme"), found.get("scheme"))
    # The header and the beginning of TLS together.
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting(authority).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with Client(server.addresses[0]) as raw:
        said = PROXY
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.send(said + outgoing.read())
                said = b""
                incoming.write(raw.sock.recv(65536))
        tls.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        raw.send(outgoing.read())
        received = b""
        while not received.endswith(b"hello"):
            incoming.write(raw.sock.recv(65536))
            with_more = True
            while with_more:
                try:
                    received += tls.read(65536)
                except ssl.SSLWantReadError:
                    with_more = False


def test_files_that_change(
    authority: Authority, serve: Callable[..., Server], tmp_path: Path
) -> None:
    """New files are shown to new connections, old connections go on, and bad files change
    nothing."""
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    replace(certificate, key, authority.issue("localhost", "one.test", label="first"))
    server = serve(WSGI, *pair(certificate, key), "--http", "1", "--keep-alive", "60")
    context = trusting(authority)

    def shown() -> str:
        with TlsClient(server.addresses[0], context) as client:
            return client.certificate()

    with TlsClient(server.addresses[0], context) as old:
        assert old.certificate() == "localhost,one.test"
        certificate.write_text("nonsense")
        key.write_text("nonsense")
        wait_until(lambda: shown() and "cannot be used, the old stay" in server.log, 10)
        assert "holds no certificate" in server.log
        assert shown() == "localhost,one.test"
        replace(certificate, key, authority.issue("localhost", "two.test", label="second"))
        wait_until(lambda: shown() == "localhost,two.test", 10)
        assert old.get("/").body == b"hello"
    assert server.log.count("cannot be used") == 1


def replace(certificate: Path, key: Path, made: tuple[Path, Path]) -> None:
    """Put new files in the place of old ones, as certificate clients do."""
    for target, source in zip((certificate, key), made, strict=True):
        draft = target.with_suffix(".new")
        shutil.copy(source, draft)
        os.replace(draft, target)


@pytest.mark.parametrize("app", [WSGI, ASGI])
def test_reload_loses_nothing(app: str, authority: Authority, serve: Callable[..., Server]) -> None:
    """Generations follow each other while clients connect and ask, and no request fails."""
    server = serve(app, *pair(*authority.issue("localhost")), "--http", "1")
    context = trusting(authority)
    ended = threading.Event()
    failed: list[Exception] = []
    answered = [0, 0]

    def ask(number: int) -> None:
        while not ended.is_set():
            try:
                with TlsClient(server.addresses[0], context) as client:
                    for _ in range(3):
                        if client.get("/").get("Connection") == "close":
                            break
                        answered[number] += 1
            except Exception as exc:
                failed.append(exc)
                return

    askers = [threading.Thread(target=ask, args=(number,)) for number in range(2)]
    for asker in askers:
        asker.start()
    try:
        for generation in (2, 3):
            server.signal(signal.SIGHUP)
            server.wait_log(f"Generation {generation} serves", 20)
            before = sum(answered)
            wait_until(lambda before=before: failed or sum(answered) > before + 10, 10)  # type: ignore[misc]
    finally:
        ended.set()
        for asker in askers:
            asker.join(20)
    assert failed == []


def test_reload_with_bad_files(
    authority: Authority, serve: Callable[..., Server], tmp_path: Path
) -> None:
    """A generation that cannot read its certificate does not get the sockets; the old one stays."""
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    replace(certificate, key, authority.issue("localhost", label="reloaded"))
    server = serve(WSGI, *pair(certificate, key))
    key.unlink()
    server.signal(signal.SIGHUP)
    server.wait_log(r"did not start; .* option --keyfile: \S+ cannot be read: No such file", 20)
    with TlsClient(server.addresses[0], trusting(authority)) as client:
        assert client.get("/").body == b"hello"


@pytest.mark.parametrize("app", [WSGI, ASGI])
def test_number_of_connections(
    app: str, authority: Authority, serve: Callable[..., Server]
) -> None:
    """Connections are counted with TLS as well; one too many ends before its handshake."""
    server = serve(app, *pair(*authority.issue("localhost")), "--limit-connections", "1")
    context = trusting(authority)
    with TlsClient(server.addresses[0], context) as first:
        assert first.get("/").body == b"hello"
        with pytest.raises(OSError, match=r"(EOF|reset)"):
            TlsClient(server.addresses[0], context)
        assert first.get("/").body == b"hello"

    def again() -> bool:
        try:
            with TlsClient(server.addresses[0], context) as client:
                return client.get("/").body == b"hello"
        except OSError:
            return False

    wait_until(again, 10)


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The command, which is expected to refuse."""
    command = ["-m", "nogilserve", WSGI, "--bind", "127.0.0.1:0", "--no-master", *arguments]
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
    )


def test_what_cannot_be_used(authority: Authority, tmp_path: Path) -> None:
    """Each mistake is named with its file, and nothing is listened on."""
    certificate, key = map(str, authority.issue("localhost", label="good"))
    _, foreign = map(str, authority.issue("other.test", label="foreign"))
    _, hidden = map(str, authority.issue("localhost", label="hidden", password="secret"))
    _, other = map(str, authority.issue("other.test", label="of another kind", key="rsa"))
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    cases = [
        (["--certfile", "missing.pem"], "'missing.pem' cannot be read: No such file"),
        (["--certfile", str(empty)], "holds no certificate"),
        (["--certfile", certificate], "holds no private key in PEM form; write --keyfile"),
        (["--certfile", certificate, "--keyfile", foreign], "does not belong to the certificate"),
        (["--certfile", certificate, "--keyfile", other], "does not belong to the certificate"),
        (
            [
                *(f"--certfile={certificate}", f"--keyfile={key}", f"--ca-certs={key}"),
                "--cert-reqs=required",
            ],
            "holds no certificate",
        ),
        (["--certfile", certificate, "--keyfile", hidden], "is encrypted; set NOGILSERVE_SSL"),
        (
            ["--certfile", certificate, "--keyfile", key, "--ssl-ciphers", "NOSUCH"],
            "names no cipher",
        ),
    ]
    for arguments, expected in cases:
        done = run(*arguments)
        assert done.returncode == 2, done.stderr
        assert expected in done.stderr


def test_password_and_one_file(
    authority: Authority, serve: Callable[..., Server], tmp_path: Path
) -> None:
    """A certificate and its encrypted key may stand in one file."""
    certificate, key = authority.issue("localhost", label="locked", password="secret")
    both = tmp_path / "both.pem"
    both.write_text(key.read_text() + certificate.read_text())
    env = {"NOGILSERVE_SSL_KEYFILE_PASSWORD": "secret"}
    server = serve(WSGI, "--ssl-certfile", str(both), "--no-master", env=env)
    with TlsClient(server.addresses[0], trusting(authority)) as client:
        assert client.get("/").body == b"hello"


def test_soon_over(serve: Callable[..., Server], authority: Authority, tmp_path: Path) -> None:
    """A certificate that is nearly over is warned of."""
    key, certificate = tmp_path / "k.pem", tmp_path / "c.pem"
    shutil.copy(authority.issue("localhost", label="base")[1], key)
    openssl(
        *("req", "-x509", "-key", str(key), "-subj", "/CN=localhost", "-days", "1"),
        *("-addext", "subjectAltName=DNS:localhost", "-out", str(certificate)),
    )
    server = serve(WSGI, *pair(certificate, key), "--no-master")
    server.wait_log(r"The certificate in \S+ expires on 20", 5)
