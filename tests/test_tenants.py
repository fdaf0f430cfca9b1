"""Tenants as a user sees them: real virtual environments, processes and clients."""

import http.client
import json
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.apps.raw_websocket import RawWebSocket
from tests.support import commands
from tests.support.server import WITH_GIL, Server, children_of
from tests.support.tenants import APP, make_tenants, tenant
from tests.support.waiting import wait_until
from tests.support.wire import Client, Response

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sockets are passed as on POSIX")


def ask(client: Client, name: str, path: str = "/", **more: Any) -> Response:
    """A request to a tenant on a connection that may be another's."""
    return client.request("GET", path, {"Host": f"{name}.example.com"} | more)


def get(server: Server, name: str, path: str = "/") -> Response:
    """The same, on a connection of its own."""
    with server.connect(timeout=20) as client:
        return ask(client, name, path)


def told(response: Response) -> dict[str, Any]:
    """What the application has seen."""
    assert response.status == 200, response
    found: dict[str, Any] = json.loads(response.body)
    return found


def command(server: Server, *words: str) -> "subprocess.CompletedProcess[str]":
    """A control command for it."""
    path = next(word.partition("=")[2] for word in server.command if "control-socket=" in word)
    return commands.command(Path(path), *words)


def serve(root: Path, *arguments: str, app: str = "main:app", **more: Any) -> Server:
    """A server of the tenants in `root`."""
    return Server(
        app,
        f"--working-dir={root}/{{host.labels.2}}",
        "--venv=.venv",
        f"--control-socket={root}.sock",
        *arguments,
        **more,
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of shop, blog and broken."""
    return make_tenants(tmp_path_factory.mktemp("tenants") / "apps")


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[Server]:
    """A server that several tests use."""
    (root / "shop" / "own.env").write_text("OWN=shop's\nGREETING=from the file\n")
    (root / "blog" / "own.env").write_text("OWN=blog's\n")
    (root / "broken" / "own.env").write_text("")
    arguments = ["--env-file=own.env", "--env=GREETING=hello {host}", "--tenant-host=*.example.com"]
    secrets = {"NOGILSERVE_ADMIN_TOKEN": "a-token-of-the-server"}
    with serve(root, *arguments, env=secrets) as running:
        yield running


def test_three_tenants(server: Server, root: Path) -> None:
    """The same module in three folders; each has its own packages, directory and variables."""
    for name, version in (("shop", "1.0"), ("blog", "2.0"), ("shop", "1.0")):
        found = told(get(server, name))
        assert found["gadget"] == version
        assert found["cwd"] == f"{root}/{name}"
        assert found["prefix"] == f"{root}/{name}/.venv"
        assert found["client"] == "127.0.0.1"
        assert found["environ"] == {
            "VIRTUAL_ENV": f"{root}/{name}/.venv",
            "GREETING": f"hello {name}.example.com",
            "NOGILSERVE_TENANT": f"{name}/{name}.example.com",
            "OWN": f"{name}'s",
            "NOGILSERVE_ADMIN_TOKEN": None,
        }
    assert len(children_of(server.pid)) == 2
    assert "shop/shop.example.com: generation 1 serves main:app" in server.log


def test_a_broken_one_fails_alone(server: Server) -> None:
    """503 with Retry-After, for a while without a new try; the traceback is in the log."""
    for _ in range(3):
        response = get(server, "broken")
        assert response.status == 503
        assert 1 <= int(response.get("Retry-After")) <= 5
    server.wait_log("No module named 'no_such_thing'")
    assert server.log.count("broken/broken.example.com: starting") == 1
    assert get(server, "shop").status == 200


@pytest.mark.parametrize(
    "host",
    [
        "nobody.example.com",
        "example.com",
        "shop.example.org",
        "shop.example.com.evil.org",
        "..example.com",
        "%2e%2e.example.com",
        "[::1]",
        "127.0.0.1",
    ],
)
def test_unknown_tenants(server: Server, host: str) -> None:
    """404, whatever the name looks like."""
    with server.connect() as client:
        response = client.request("GET", "/", {"Host": host})
    assert response.status in (400, 404)
    assert response.get("Connection") == "close"


def test_bad_heads_are_answered_at_the_front(server: Server) -> None:
    """They belong to no tenant."""
    with server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + b"x" * 100_000)
        assert client.receive().status == 400
        client.wait_closed()
    with server.connect() as client:
        client.send(b"\x16\x03\x01\x00\x05hello")
        client.receive_rest()


def test_slow_heads_hold_nobody_up(server: Server) -> None:
    """A head in pieces is waited for while others are served; all of it reaches the tenant."""
    head = b"POST /echo HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 4\r\n\r\nbody"
    with server.connect() as slow:
        for size in range(0, len(head), 9):
            slow.send(head[size : size + 9])
            assert get(server, "blog").status == 200
        assert slow.receive("POST").body == b"body"


def test_a_kept_connection_changes_tenants(server: Server) -> None:
    """As proxies use it: every request reaches the tenant it is for, with its body, in order."""
    with server.connect() as client:
        for name in ("shop", "blog", "blog", "shop"):
            found = told(ask(client, name))
            assert found["environ"]["OWN"] == f"{name}'s"
            assert found["client"] == "127.0.0.1"
        body = os.urandom(200_000)
        fields = {"Host": "blog.example.com"}
        assert client.request("POST", "/echo", fields, body).body == body
        pipelined = b"".join(
            b"POST /echo HTTP/1.1\r\nHost: %b.example.com\r\nContent-Length: 4\r\n\r\n%b" % (n, n)
            for n in (b"shop", b"blog", b"shop", b"shop", b"blog")
        )
        client.send(pipelined)
        for name in ("shop", "blog", "shop", "shop", "blog"):
            assert client.receive("POST").body == name.encode()
        response = ask(client, "nobody")
        assert response.status == 404
        client.wait_closed()


@pytest.mark.parametrize("runtime", ["processes", "subinterpreters"])
def test_members_give_connections_back(tmp_path: Path, runtime: str) -> None:
    """A tenant may be several processes or interpreters itself."""
    if runtime == "subinterpreters" and not WITH_GIL:
        pytest.skip("subinterpreters are for builds with the GIL")
    root = make_tenants(tmp_path / "apps")
    with serve(root, f"--runtime={runtime}", "--workers=1") as server:
        with server.connect(timeout=30) as client:
            for name in ("shop", "blog", "shop"):
                found = told(ask(client, name))
                assert found["environ"]["NOGILSERVE_TENANT"] == name
                fields = {"Host": "blog.example.com"}
                assert client.request("POST", "/echo", fields, b"body").body == b"body"


def test_status_and_reload_of_one(server: Server) -> None:
    """The commands take the name of a tenant."""
    get(server, "shop")
    get(server, "blog")
    status = command(server, "status").stdout
    assert "shop/shop.example.com, serving" in status
    assert "blog/blog.example.com, serving" in status
    before = {name: told(get(server, name))["pid"] for name in ("shop", "blog")}
    done = command(server, "reload", "shop/shop.example.com")
    assert "has taken over" in done.stdout, done.stderr
    assert told(get(server, "shop"))["pid"] != before["shop"]
    assert told(get(server, "blog"))["pid"] == before["blog"]
    refused = command(server, "reload", "nobody")
    assert refused.returncode == 1
    assert "there is no tenant 'nobody' at work" in refused.stderr


def test_hangup_reloads_all(server: Server) -> None:
    """Each tenant gets a new process."""
    before = {name: told(get(server, name))["pid"] for name in ("shop", "blog")}
    server.signal(signal.SIGHUP)
    for name, pid in before.items():
        wait_until(partial(changed, server, name, pid), timeout=10)


def changed(server: Server, name: str, pid: int) -> bool:
    """Whether another process serves it by now."""
    return bool(told(get(server, name))["pid"] != pid)


def test_a_crash_costs_one_process(server: Server) -> None:
    """The next one serves, and what came meanwhile has waited for it."""
    with server.connect() as client:
        ask(client, "shop")
        client.send(b"GET /crash HTTP/1.1\r\nHost: shop.example.com\r\n\r\n")
        client.receive_rest()
    assert get(server, "shop").status == 200
    assert get(server, "blog").status == 200


def has_ipv6() -> bool:
    """Whether there is a loopback address of version 6."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_what_dies_and_cannot_start_again(tmp_path: Path) -> None:
    """Is like one that cannot start, until it can; over a unix socket and IPv6, too."""
    root = tmp_path / "apps"
    main = tenant(root / "shop", "1.0") / "main.py"
    tenant(root / "blog", "2.0")
    path = str(tmp_path / "s")
    binds = ["--bind", f"unix:{path}"] + (["--bind", "[::1]:0"] if has_ipv6() else [])
    with serve(root, *binds, addresses=len(binds) // 2) as server:
        for index in range(len(server.addresses)):
            with server.connect(index, timeout=20) as client:
                for name in ("shop", "blog", "shop"):
                    assert told(ask(client, name))["client"] == ("", "::1")[index]
        main.write_text("import no_such_thing\n")
        with server.connect() as client:
            client.send(b"GET /crash HTTP/1.1\r\nHost: shop.example.com\r\n\r\n")
            client.receive_rest()
        response = get(server, "shop")
        assert response.status == 503
        assert response.get("Retry-After")
        assert get(server, "blog").status == 200
        main.write_text(APP)
        command(server, "reload")
        assert get(server, "shop").status == 200


def test_those_who_come_first_wait_for_one_start(tmp_path: Path) -> None:
    """Twenty at once, one process; and it ends when it is idle."""
    root = make_tenants(tmp_path / "apps")
    with serve(root, "--tenant-idle=1") as server:
        clients = [server.connect(timeout=20) for _ in range(20)]
        for client in clients:
            client.send(b"GET / HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n")
        pids = {json.loads(client.receive().body)["pid"] for client in clients}
        for client in clients:
            client.close()
        assert len(pids) == 1
        server.wait_log(r"shop: ending: it was idle for \d s", timeout=15)
        server.wait_log(r"shop: ended", timeout=15)
        assert children_of(server.pid) == []
        found = told(get(server, "shop"))
        assert found["pid"] not in pids


class Regular(threading.Thread):
    """Asks three tenants in turn until it is told to leave; what is not 200 is kept."""

    def __init__(self, server: Server, first: int) -> None:
        super().__init__(name=f"regular-{first}")
        self.server, self.first = server, first
        self.leave = threading.Event()
        self.bad: list[tuple[str, object]] = []
        self.good = 0

    def run(self) -> None:
        """Owner of `bad` and `good` until it ends."""
        names = ("shop", "blog", "wiki")
        turn = self.first
        while not self.leave.is_set():
            name = names[turn % 3]
            try:
                self.ask(name)
            except Exception as error:
                self.bad.append((name, error))
            turn += 1

    def ask(self, name: str) -> None:
        """Some requests to a tenant on one connection, as long as that may stay open."""
        with self.server.connect(timeout=30) as client:
            for _ in range(4):
                response = ask(client, name)
                if response.status != 200 or f"{name}.example" not in response.body.decode():
                    self.bad.append((name, response))
                    return
                self.good += 1
                if response.get("Connection") == "close":
                    return


def test_eviction_and_reload_under_load(tmp_path: Path) -> None:
    """Places for two tenants, three that are asked for, reloads meanwhile: no request fails."""
    root = make_tenants(tmp_path / "apps")
    tenant(root / "wiki", "3.0")
    with serve(root, "--max-tenants=2", "--keep-alive=1") as server:
        regulars = [Regular(server, first) for first in range(2)]
        for regular in regulars:
            regular.start()
        for count in (1, 2):
            server.wait_log("its place is needed", timeout=30, count=count)
            server.signal(signal.SIGHUP)
            server.wait_log("told to reload", timeout=30, count=count)
        for regular in regulars:
            regular.leave.set()
        for regular in regulars:
            regular.join(60)
        assert [regular.bad for regular in regulars] == [[], []]
        assert sum(regular.good for regular in regulars) > 8


def reachable(path: str) -> bool:
    """Whether any user may run what lies there."""
    found = Path(path).resolve()
    return all(folder.stat().st_mode & 0o005 == 0o005 for folder in (found, *found.parents))


def test_bounds(tmp_path: Path) -> None:
    """Memory and processors of a tenant; the user too, for a server that root has started."""
    root = tmp_path / "apps"
    tenant(root / "shop", "1.0")
    user, arguments = os.geteuid(), ["--tenant-memory=300MiB", "--tenant-cpu=1"]
    if user == 0 and reachable(sys.executable):
        user = 12345
        os.chown(root / "shop", user, user)
        for folder in tmp_path, *tmp_path.parents[:2]:  # pytest's are closed to others
            folder.chmod(0o755)
        arguments.append("--tenant-user=owner")
    with serve(root, *arguments) as server:
        data, processors, seen, files = json.loads(get(server, "shop", "/limits").body)
    assert seen == user
    assert files == resource.getrlimit(resource.RLIMIT_NOFILE)[0], "the master's is higher"
    if "No cgroups for tenants" in server.log:
        assert 300 << 20 < data < 1 << 30
        assert len(processors) == 1


SITES = """
[[site]]
hosts = ["*.apps.example"]
app = "main:app"
working-dir = "ROOT/{host.labels.2}"
venv = ".venv"

[[site]]
name = "second"
hosts = ["second.example"]
path = "/shop"
app = "main:app"
working-dir = "ROOT/shop"
venv = ".venv"
env = { GREETING = "hello" }

[[site]]
hosts = ["second.example", "plain.example"]
respond = "plain"
"""


def test_sites_with_processes_of_their_own(tmp_path: Path) -> None:
    """One with placeholders, one with an environment, and one that shares the process of the rest,
    over one connection."""
    root = make_tenants(tmp_path / "apps")
    (tmp_path / "nogilserve.toml").write_text(SITES.replace("ROOT", str(root)))
    control = f"--control-socket={root}.sock"
    with Server("--tenant-idle=60", control, cwd=tmp_path) as server:
        with server.connect(timeout=20) as client:

            def said(host: str, path: str = "/") -> str:
                response = client.request("GET", path, {"Host": host})
                assert response.status == 200, response
                return response.body.decode()

            for _ in range(2):
                assert json.loads(said("shop.apps.example"))["gadget"] == "1.0"
                assert json.loads(said("blog.apps.example"))["gadget"] == "2.0"
                assert said("plain.example") == "plain"
                found = json.loads(said("second.example", "/shop/x"))
                assert found["script"] == "/shop"
                assert found["environ"]["GREETING"] == "hello"
                assert found["environ"]["NOGILSERVE_TENANT"] == "second"
                assert said("second.example", "/") == "plain"
            assert "second: starting, in" in server.log
            assert client.request("GET", "/", {"Host": "nobody.apps.example"}).status == 404
        status = command(server, "status").stdout
        for name in ("sites", "second", "*.apps.example/shop", "*.apps.example/blog"):
            assert f"\n{name}, serving" in status


FOLDERS = """
working-dir = "all"

[[site]]
hosts = ["inherits.example"]
app = "main:app"
env = { WHO = "a process of its own" }

[[site]]
hosts = ["own.example"]
app = "main:app"
working-dir = "one"

[[site]]
hosts = ["shares.example"]
app = "main:app"
"""
WHERE = """
import os

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.getcwd().encode()]
"""


def test_relative_folders_are_taken_once(tmp_path: Path) -> None:
    """That of the server counts from where it was started, that of a site from there; one that a
    site has not said itself is the server's. The same after a reload, which says what it cannot
    follow."""
    for folder in (tmp_path / "all", tmp_path / "all" / "one", tmp_path / "other"):
        folder.mkdir()
        (folder / "main.py").write_text(WHERE)
    file = tmp_path / "sites.toml"
    file.write_text(FOLDERS)
    arguments = ("--config=sites.toml", f"--control-socket={tmp_path}/c.sock")
    check = [sys.executable, "-m", "nogilserve", "--check-config", *arguments]
    done = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    with Server(*arguments, "--tenant-idle=60", cwd=tmp_path) as server:
        wanted = {"inherits": "all", "own": "all/one", "shares": "all"}

        def found() -> dict[str, str]:
            folders = {}
            for name in wanted:
                with server.connect(timeout=20) as client:
                    answer = client.request("GET", "/", {"Host": f"{name}.example"})
                    assert answer.status == 200, (name, answer, server.log)
                    folders[name] = str(Path(answer.body.decode()).relative_to(tmp_path.resolve()))
            return folders

        assert found() == wanted
        file.write_text(FOLDERS.replace('"all"', '"other"'))
        server.signal(signal.SIGHUP)
        server.wait_log("--chdir changed, which only another master can follow")
        assert found() == wanted


def test_a_site_whose_environment_is_missing(tmp_path: Path) -> None:
    """The check says so beforehand; a request that asks for it finds the reason in the log, and
    the master has no trouble of its own."""
    (tmp_path / "nogilserve.toml").write_text(
        '[[site]]\nhosts = ["a.example"]\napp = "main:app"\nvenv = "gone"\n'
        '[[site]]\nhosts = ["b.example"]\nrespond = "b"\n'
    )
    command = [sys.executable, "-m", "nogilserve", "--check-config"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"a.example: there is no virtual environment {tmp_path}/gone" in done.stderr
    with Server("--tenant-idle=60", cwd=tmp_path) as server:
        with server.connect(timeout=20) as client:
            assert client.request("GET", "/", {"Host": "b.example"}).status == 200
        with server.connect(timeout=20) as client:
            assert client.request("GET", "/", {"Host": "a.example"}).status == 404
        server.wait_log(r"There is no tenant a.example: .*gone")
        assert "sites: starting, in" in server.log
        assert "CRITICAL" not in server.log


LIVE = """
async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"live"})
"""


def test_asgi_and_websockets(tmp_path: Path) -> None:
    """Event loops take connections from the front, too; one that is open is work, not idleness."""
    root = tmp_path / "apps"
    tenant(root / "live", "1.0", LIVE)
    tenant(root / "shop", "1.0")
    with serve(root, "--tenant-idle=1") as server:
        with RawWebSocket(("127.0.0.1", server.port)) as socket:
            socket.open("http://live.example.com/")
            wait_until(lambda: "1 connections" in command(server, "status").stdout, timeout=10)
            for _ in range(3):
                wait_until(lambda: "live, serving" in command(server, "status").stdout)
                socket.say("still here")
                assert socket.message() == "still here"
        with server.connect() as client:
            for name in ("live", "shop", "live", "live", "shop"):
                response = ask(client, name)
                assert response.status == 200
                assert (response.body == b"live") == (name == "live")
            one = b"GET / HTTP/1.1\r\nHost: live.example.com\r\n\r\n"
            two = b"POST /echo HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 3\r\n\r\n123"
            client.send(one + two + one + one + two)
            for expected in (b"live", b"123", b"live", b"live", b"123"):
                assert client.receive().body == expected


def test_metrics(tmp_path: Path) -> None:
    """The admin address tells of every tenant, and of all together; commands ask one of them."""
    pytest.importorskip("prometheus_client")
    root = make_tenants(tmp_path / "apps")
    with serve(root, "--admin=127.0.0.1:0") as server:
        for name, times in (("shop", 3), ("blog", 1)):
            for _ in range(times):
                assert get(server, name).status == 200
        admin = server.wait_log(r"Status page at http://\S+:(\d+)/")[1]

        def metrics() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=10) as answer:
                text: str = answer.read().decode()
            return text

        for line in ('{tenant="shop"} 3.0', '{tenant="blog"} 1.0'):
            wanted = f"nogilserve_tenant_requests_total{line}"
            wait_until(lambda wanted=wanted: wanted in metrics(), timeout=10)  # type: ignore[misc]
        found = metrics()
        assert 'nogilserve_tenants{state="serving"} 2.0' in found
        assert 'status="200"' in found


def test_changed_files(tmp_path: Path) -> None:
    """With --reload a tenant is started anew when its files change, and shows what is wrong."""
    pytest.importorskip("watchfiles")
    root = tmp_path / "apps"
    main = tenant(root / "shop", "1.0") / "main.py"
    with serve(root, "--reload") as server:
        before = told(get(server, "shop"))["pid"]
        main.write_text("import no_such_thing\n")
        wait_until(lambda: get(server, "shop").status != 200, timeout=15)
        assert b"no_such_thing" in get(server, "shop").body
        main.write_text(APP)
        wait_until(lambda: get(server, "shop").status == 200, timeout=15)
        assert told(get(server, "shop"))["pid"] != before


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For *.example.com, with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    path = tmp_path_factory.mktemp("certificate") / "all.pem"
    what = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -batch"
    names = ["-subj", "/CN=tenants", "-addext", "subjectAltName=DNS:*.example.com"]
    subprocess.run(
        [openssl, *what.split(), *names, "-keyout", path.with_suffix(".key"), "-out", path],
        check=True,
        capture_output=True,
        timeout=30,
    )
    path.write_text(path.read_text() + path.with_suffix(".key").read_text())
    return path


def get_securely(server: Server, certificate: Path, name: str, host: str = "") -> Response:
    """A request over TLS for `name`; the Host may be another."""
    context = ssl.create_default_context(cafile=str(certificate))
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as plain:
        with context.wrap_socket(plain, server_hostname=f"{name}.example.com") as sock:
            client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
            client.sock = sock
            client.request("GET", "/", headers={"Host": f"{host or name}.example.com"})
            answer = client.getresponse()
            return Response(11, answer.status, answer.reason, answer.getheaders(), answer.read())


def test_tls(tmp_path: Path, certificate: Path) -> None:
    """The name in the ClientHello says whose it is; the tenant decrypts. What is asked for after
    that is for this tenant, or misdirected."""
    root = make_tenants(tmp_path / "apps")
    tenant(root / "live", "1.0", LIVE)
    with serve(root, f"--certfile={certificate}") as server:
        for name, version in (("shop", "1.0"), ("blog", "2.0")):
            assert told(get_securely(server, certificate, name))["gadget"] == version
        assert get_securely(server, certificate, "live").body == b"live"
        assert get_securely(server, certificate, "shop", "blog").status == 421
        assert get_securely(server, certificate, "live", "shop").status == 421
        for name in ("nobody", "broken"):
            with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name|internal.error"):
                get_securely(server, certificate, name)


def test_variables_that_are_refused(tmp_path: Path) -> None:
    """A tenant's file cannot say what is loaded into its process."""
    root = tmp_path / "apps"
    tenant(root / "shop", "1.0", APP)
    (root / "shop" / ".env").write_text("LD_PRELOAD=/tmp/x.so\n")
    with serve(root, "--env-file=.env") as server:
        assert get(server, "shop").status == 503
        server.wait_log("LD_PRELOAD cannot stand in .*: it tells the system which code to load")
        (root / "shop" / ".env").write_text("OWN=1\n")
        command(server, "reload")
        wait_until(lambda: get(server, "shop").status == 200, timeout=10)
