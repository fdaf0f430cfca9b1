"""The admin address: metrics, probes, who may do what, and that it stays while generations go."""

import http.client
import json
import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from tests.support.server import Server, children_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")

TOKEN = "a-token-of-these-tests"
ADMIN = r"Status page at http://127\.0\.0\.1:(\d+)/"

Answer = tuple[int, dict[str, str], str]


def ask(
    server: Server,
    path: str,
    *,
    method: str = "GET",
    token: str = "",
    body: dict[str, Any] | None = None,
    host: str = "",
    accept: str = "",
) -> Answer:
    """Status, fields and text of an answer of the admin address."""
    port = int(server.wait_log(ADMIN)[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    fields = {"Host": host} if host else {}
    if token:
        fields["Authorization"] = f"Bearer {token}"
    if accept:
        fields["Accept"] = accept
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, fields)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read().decode()
    finally:
        connection.close()


def get(server: Server, path: str) -> str:
    """The body of an answer of the application."""
    with server.connect() as client:
        return client.get(path).body.decode()


def samples(
    server: Server, accept: str = ""
) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All samples of /metrics, by name and labels; every family has to be readable."""
    status, fields, text = ask(server, "/metrics", accept=accept)
    assert status == 200, text
    read = read_openmetrics if "openmetrics" in fields["Content-Type"] else read_prometheus
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in read(text)
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def admin() -> Iterator[Server]:
    """A server with an admin address, shared by tests that leave it as it is."""
    with Server(
        "tests.apps.observed:app",
        *("--admin", "127.0.0.1:0", "--admin-token", TOKEN, "--threads", "4"),
        *("--metrics-route", "/api", "--workers", "2"),
    ) as server:
        yield server


def test_metrics_count_requests_by_method_status_and_route(admin: Server) -> None:
    """What was asked is found in both formats, buckets add up, and refusals have a reason."""
    before = samples(admin)
    for path in ("/", "/api/users", "/api", "/apiary", "/fail"):
        get(admin, path)
    with admin.connect() as client:
        client.send(b"GARBAGE\r\n\r\n")
        assert client.receive().status == 400
    for accept in ("", "application/openmetrics-text; version=1.0.0"):
        now = samples(admin, accept)

        def grown(name: str, **labels: str) -> float:
            key = (name, tuple(sorted(labels.items())))
            return now.get(key, 0) - before.get(key, 0)  # noqa: B023

        requests = "nogilserve_requests_total"
        assert grown(requests, method="GET", status="200", route="/api") == 2
        assert grown(requests, method="GET", status="200", route="") == 2
        assert grown(requests, method="GET", status="500", route="") == 1
        assert grown(requests, method="OTHER", status="400", route="") == 1
        duration = "nogilserve_request_duration_seconds"
        assert grown(f"{duration}_count", method="GET", status="2xx", route="/api") == 2
        top = grown(f"{duration}_bucket", method="GET", status="2xx", route="/api", le="+Inf")
        assert top == 2
        assert any(name == "nogilserve_refused_total" and labels for name, labels in now)
        assert now["nogilserve_threads", ()] == 4
        assert now["nogilserve_ready", ()] == 1
        assert now["nogilserve_generations", (("state", "serving"),)] == 1
        roles = {dict(labels).get("role") for name, labels in now if "resident_memory" in name}
        assert {"master", "generation", "admin"} <= roles


def test_requests_inside_the_application_are_seen(admin: Server) -> None:
    """A request that waits is in flight, keeps a thread busy, and its stack says where."""
    with admin.connect() as client:
        client.send(b"GET /wait?secret=1 HTTP/1.1\r\nHost: x\r\n\r\n")

        def inside() -> list[dict[str, Any]]:
            answer = json.loads(ask(admin, "/api/look", token=TOKEN)[2])
            return [item for look in answer["answers"].values() for item in look["now"]["inside"]]

        wait_until(inside, 10)
        (item,) = inside()
        assert (item["method"], item["path"], item["query"]) == ("GET", "/wait", "?secret=1")
        now = samples(admin)
        assert now["nogilserve_requests_in_flight", ()] == 1
        assert now["nogilserve_threads_busy", ()] == 1
        assert now["nogilserve_saturation_ratio", ()] == 0.25
        stacks = json.loads(ask(admin, f"/api/stacks?thread={item['key']}")[2])
        (thread,) = stacks["answers"]["1"]["threads"]
        assert "wait_here" in [name for _, _, name in thread["stack"]]
        # Nobody without the token sees what may hold secrets.
        public = ask(admin, "/api/look")[2]
        assert "/wait" in public
        assert "secret" not in public
        get(admin, "/go")
        assert client.receive().status == 200


def test_probes(admin: Server) -> None:
    """/healthz says that it lives, /readyz whether new clients are welcome."""
    assert ask(admin, "/healthz")[::2] == (200, "alive\n")
    assert ask(admin, "/readyz")[::2] == (200, "ready\n")
    assert ask(admin, "/api/drain", method="POST", token=TOKEN)[0] == 200
    assert ask(admin, "/readyz")[0] == 503
    assert ask(admin, "/healthz")[0] == 200
    assert get(admin, "/").isdecimal()
    assert ask(admin, "/api/drain", method="POST", token=TOKEN, body={"off": True})[0] == 200
    assert ask(admin, "/readyz")[0] == 200


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/api/reload", "POST", 401),
        ("/api/stop", "POST", 401),
        ("/api/profile", "POST", 401),
        ("/api/memory", "POST", 401),
        ("/api/reload", "GET", 405),
        ("/metrics", "POST", 405),
        ("/nothing", "GET", 404),
        ("/api/stacks?thread=x", "GET", 400),
        ("/api/stacks?thread=" + "9" * 5000, "GET", 400),
    ],
)
def test_what_is_refused(admin: Server, path: str, method: str, status: int) -> None:
    """What changes something needs the token; the answer says what to do."""
    answer = ask(admin, path, method=method)
    assert answer[0] == status
    assert answer[2].strip()
    wrong = ask(admin, path, method=method, token="not the token, but as long")
    assert wrong[0] == status


def test_strangers_names_are_refused(admin: Server) -> None:
    """A name that a stranger made up (DNS rebinding) gets nothing, addresses and localhost do."""
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example"):
        for path in ("/", "/metrics", "/api/look"):
            assert ask(admin, path, host=host)[0] == 421
    for host in ("localhost:9000", "127.0.0.1", "[::1]:9000"):
        assert ask(admin, "/healthz", host=host)[0] == 200
    fields = ask(admin, "/", host="localhost")[1]
    assert "Access-Control-Allow-Origin" not in fields
    assert "default-src 'none'" in fields["Content-Security-Policy"]
    assert fields["X-Frame-Options"] == "DENY"


def test_commands(admin: Server) -> None:
    """Threads, log level, garbage collection and memory, each with an answer to read."""

    def order(name: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        status, _, text = ask(admin, f"/api/{name}", method="POST", token=TOKEN, body=body)
        found: dict[str, Any] = json.loads(text)
        assert status == (200 if found["ok"] else 409)
        return found

    assert order("threads", {"change": 2})["answers"]["1"] == {"now": 6}
    assert order("threads", {"to": 4})["answers"]["1"] == {"now": 4}
    for far in ({"to": 99999}, {"change": 5000}, {"to": 0}):
        assert "from 1 to 4096" in order("threads", far)["text"]
    junk: list[dict[str, Any]] = [{"to": "x"}, {"to": 1.5}, {"change": None}, {}]
    for wrong in junk:
        assert "whole number" in order("threads", wrong)["text"]
    assert order("threads", {"change": 0})["answers"]["1"] == {"now": 4}
    assert order("gc")["answers"]["1"]["longest_seconds"] > 0
    assert "str" in order("memory")["answers"]["1"]["types"]
    assert order("log-level", {"level": "debug"})["ok"]
    assert "none of" in order("log-level", {"level": "loud"})["text"]
    assert order("log-level", {"level": "info"})["ok"]


def test_profile_is_a_flame_graph(admin: Server) -> None:
    """A profile of busy threads names the function that they are in."""
    clients = [admin.connect() for _ in range(2)]
    try:
        for client in clients:
            client.send(b"GET /compute HTTP/1.1\r\nHost: x\r\n\r\n" * 4)
        answer = ask(admin, "/api/profile", method="POST", token=TOKEN, body={"seconds": 0.8})
        assert answer[0] == 200
        assert answer[1]["Content-Type"] == "image/svg+xml"
        assert "compute (apps/observed.py" in answer[2]
        for client in clients:
            for _ in range(4):
                assert client.receive().status == 200
    finally:
        for client in clients:
            client.close()


def test_it_outlives_generations_and_itself() -> None:
    """The address stays over a reload, counters never fall, and a killed process comes back."""
    with Server(
        "tests.apps.observed:app",
        *("--admin", "127.0.0.1:0", "--admin-token", TOKEN, "--workers", "1"),
    ) as server:
        key = ("nogilserve_requests_total", (("method", "GET"), ("route", ""), ("status", "200")))
        first = get(server, "/")
        assert samples(server)[key] == 1
        answer = ask(server, "/api/reload", method="POST", token=TOKEN)
        assert json.loads(answer[2])["ok"], answer
        assert samples(server)[key] == 1
        assert get(server, "/") != first
        wait_until(lambda: samples(server)[key] == 2, 10)
        (admin_process,) = [
            pid for pid in children_of(server.pid) if str(pid) not in (first, get(server, "/"))
        ]
        os.kill(admin_process, signal.SIGKILL)
        server.wait_log("process of the admin address is gone")
        port = int(server.wait_log(ADMIN)[1])

        def back() -> bool:
            try:
                return ask(server, "/healthz")[0] == 200
            except (OSError, http.client.HTTPException):
                return False

        wait_until(back, 20)
        assert samples(server)[key] >= 2
    with socket.socket() as sock:
        assert sock.connect_ex(("127.0.0.1", port)) != 0


def test_an_open_address_needs_a_token() -> None:
    """An address that others reach is refused without --admin-token, and the message says so."""
    with Server("tests.apps.observed:app", "--admin", "0.0.0.0:0", wait_ready=False) as server:
        assert server.wait() == 2
        assert "--admin-token" in server.log
