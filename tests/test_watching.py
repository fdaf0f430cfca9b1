"""Slow-request reports, statsd, members, and a process without a master."""

import json
import os
import re
import socket
from collections.abc import Iterator

import pytest

from tests.support.server import Server
from tests.support.waiting import Deadline, wait_until
from tests.test_admin import ADMIN, TOKEN, ask, get, samples

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")


@pytest.mark.parametrize("kind", ["observed", "asgi_observed"])
def test_slow_requests_are_reported(kind: str) -> None:
    """One report, when it is over, says for how long, and the function that it was in."""
    with Server(f"tests.apps.{kind}:app", "--slow", "0.1", "--no-master") as server:
        with server.connect() as client:
            get(server, "/")
            client.send(b"GET /wait?page=2 HTTP/1.1\r\nHost: x\r\n\r\n")
            began = Deadline(0.6)
            wait_until(lambda: not began.left, 5)
            get(server, "/go")
            assert client.receive().status == 200
        match = server.wait_log(r"\[([0-9a-f]{12})\] GET /wait\?page=2 was inside .* for (\S+) s:")
        assert 0.3 <= float(match[2]) < 5
        assert "in wait_here" in server.log
        report = server.log[match.start() :]
        assert re.search(r"in \d+ of \d+ looks at", report)
        assert "nogilserve/engine" not in report
        assert "was inside" not in server.log[: match.start()]


def test_statsd_gets_counters() -> None:
    """What was counted reaches the server, at the latest when the process ends."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        statsd.settimeout(10)
        port = statsd.getsockname()[1]
        with Server(
            "tests.apps.observed:app",
            *("--statsd", f"127.0.0.1:{port}", "--statsd-prefix", "shop"),
        ) as server:
            for path in ("/", "/", "/fail"):
                get(server, path)
        received = ""
        while "shop.requests:" not in received:
            received += statsd.recv(65536).decode() + "\n"
    lines = received.splitlines()
    assert "shop.requests:3|c" in lines
    assert "shop.responses.2xx:2|c" in lines
    assert "shop.responses.5xx:1|c" in lines
    assert any(re.fullmatch(r"shop\.request_duration:[0-9.]+\|ms", line) for line in lines)
    assert any(re.fullmatch(r"shop\.threads:\d+\|g", line) for line in lines)


@pytest.fixture(scope="module")
def members() -> Iterator[Server]:
    """A server whose cores are processes."""
    with Server(
        "tests.apps.observed:app",
        *("--runtime", "processes", "--workers", "2", "--threads", "4"),
        *("--admin", "127.0.0.1:0", "--admin-token", TOKEN),
    ) as server:
        yield server


def test_members_are_added_up(members: Server) -> None:
    """Counters of all members are one sum, their threads are told apart."""
    pids = {get(members, "/") for _ in range(8)}
    assert len(pids) == 2
    key = ("nogilserve_requests_total", (("method", "GET"), ("route", ""), ("status", "200")))
    now = samples(members)
    assert now[key] == 8
    assert now["nogilserve_threads", ()] == 4
    look = json.loads(ask(members, "/api/look")[2])["answers"]["1"]["now"]
    assert {lane["member"] for lane in look["lanes"]} == {0, 1}
    assert {str(item["pid"]) for item in look["interpreters"]} == pids
    stacks = json.loads(ask(members, "/api/stacks")[2])["answers"]["1"]["threads"]
    assert {thread["member"] for thread in stacks} == {0, 1}
    everything = "nogilserve_gc_collections_total", (("gc_generation", "2"),)
    took = "nogilserve_gc_seconds_total", (("gc_generation", "2"),)
    collected = ask(members, "/api/gc", method="POST", token=TOKEN)
    assert json.loads(collected[2])["answers"]["1"]["longest_seconds"] > 0
    after = samples(members)
    assert after[everything] >= now[everything] + 2
    assert after[took] > now[took]


def test_it_works_without_a_master() -> None:
    """The process serves its own admin address; only what needs a master is refused."""
    with Server(
        "tests.apps.observed:app",
        *("--no-master", "--threads", "4", "--admin", "127.0.0.1:0", "--admin-token", TOKEN),
    ) as server:
        server.wait_log(ADMIN)
        get(server, "/fail")
        key = ("nogilserve_requests_total", (("method", "GET"), ("route", ""), ("status", "500")))
        wait_until(lambda: samples(server).get(key) == 1, 10)
        assert ask(server, "/readyz")[0] == 200
        order = ask(server, "/api/threads", method="POST", token=TOKEN, body={"change": 1})
        assert json.loads(order[2])["answers"]["1"] == {"now": 5}
        refused = ask(server, "/api/reload", method="POST", token=TOKEN)
        assert refused[0] == 409
        assert "--no-master" in refused[2]
        assert ask(server, "/api/drain", method="POST", token=TOKEN)[0] == 200
        assert ask(server, "/readyz")[0] == 503
        assert ask(server, "/api/stop", method="POST", token=TOKEN)[0] == 200
        assert server.wait() == 0
