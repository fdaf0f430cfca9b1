"""The access log of a real server: every request a line, with its real size and time."""

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import Server
from tests.support.waiting import wait_until

TORTURE = "tests.apps.torture:app"
SECONDS = 10.0

Start = Callable[..., Server]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log is written."""
    return tmp_path / "access.log"


def lines_of(path: Path, count: int) -> list[dict[str, Any]]:
    """The JSON lines of a log, once there are `count`."""
    wait_until(lambda: path.read_text().count("\n") >= count, SECONDS, "a line is missing")
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(found) == count
    return found


def test_sizes_are_those_of_the_bodies(serve: Start, path: Path) -> None:
    """Bytes of the response body and of the request body, without framing, however sent."""
    server = serve(TORTURE, "--access-log", str(path), "--access-log-format", "json")
    chunks = b"5\r\nabcde\r\n2;x=y\r\nfg\r\n0\r\nX-T: 1\r\n\r\n"
    with server.connect() as client:
        client.get("/raw/whole?n=12345")
        client.get("/raw/download?n=200000&piece=1000")
        client.get("/raw/file?n=3000")
        client.request("HEAD", "/raw/whole?n=12345")
        client.request("HEAD", "/raw/download?n=12345")
        client.request("POST", "/raw/echo?how=read", body=b"x" * 500)
        client.request("POST", "/raw/hello", {"Transfer-Encoding": "chunked"}, chunks)
        client.get("/raw/status?code=204")
        client.get("/bad/raises")
    found = lines_of(path, 9)
    assert [(line["status"], line["sent"], line["received"]) for line in found[:8]] == [
        (200, 12345, 0),
        (200, 200000, 0),
        (200, 3000, 0),
        (200, 0, 0),
        (200, 0, 0),
        (200, 500, 500),
        (200, 6, 7),
        (204, 0, 0),
    ]
    assert found[8]["status"] == 500
    assert found[3]["method"] == "HEAD"
    assert found[0]["target"] == "/raw/whole?n=12345"


def test_times_are_real(serve: Start, path: Path) -> None:
    """Start and duration, the wait inside the application included."""
    server = serve(TORTURE, "--access-log", str(path), "--access-log-format", "%D %t")
    before = time.time()
    with server.connect() as client:
        client.get("/raw/sleep?ms=150")
        client.get("/raw/hello")
    took = (time.time() - before) * 1e6
    wait_until(lambda: path.read_text().count("\n") == 2, SECONDS)
    slow, quick = (int(line.split()[0]) for line in path.read_text().splitlines())
    assert 150_000 <= slow <= took
    assert 0 < quick <= took - 150_000
    year = time.strftime("%Y", time.localtime(before))
    assert re.search(
        rf"\[\d\d/[A-Z][a-z][a-z]/{year}:\d\d:\d\d:\d\d [+-]\d{{4}}\]", path.read_text()
    )


def test_time_of_an_upload_counts(serve: Start, path: Path) -> None:
    """The time runs from the complete head, so a slow upload is seen."""
    server = serve(TORTURE, "--access-log", str(path), "--access-log-format", "json")
    with server.connect() as client, server.connect() as other:
        client.send(b"POST /raw/echo?how=read HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
        other.get("/raw/sleep?ms=150")
        client.send(b"def")
        assert client.receive().body == b"abcdef"
    upload = next(line for line in lines_of(path, 2) if line["received"])
    assert upload["seconds"] >= 0.15


def test_fields_of_the_response(serve: Start, path: Path) -> None:
    """%{name}o shows what was sent, our own fields included."""
    form = "%{Content-Length}o %{Server}o %{Date}o"
    server = serve(TORTURE, "--access-log", str(path), "--access-log-format", form)
    with server.connect() as client:
        response = client.get("/raw/hello")
    wait_until(lambda: path.read_text().endswith("\n"), SECONDS)
    assert path.read_text() == f"6 nogilserve {response.get('Date')}\n"


def test_id_is_that_of_the_error_log(serve: Start, path: Path) -> None:
    """The traceback, the answer and the line have one id."""
    server = serve(TORTURE, "--access-log", str(path), "--access-log-format", "json")
    with server.connect() as client:
        body = client.get("/bad/raises").body
        client.get("/raw/hello")
    first, second = lines_of(path, 2)
    assert first["id"].encode() in body
    server.wait_log(re.escape(f"[{first['id']}] GET /bad/raises: "))
    assert first["id"] != second["id"]


def test_refused_requests_are_logged(serve: Start, path: Path) -> None:
    """A request that never reached the application has its line, with what is known of it."""
    server = serve(
        *(TORTURE, "--access-log", str(path), "--access-log-format", "json"),
        *("--limit-request-body", "10", "--limit-request-line", "64"),
    )
    for request, status in (
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /" + b"x" * 100 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", 413),
    ):
        with server.connect() as client:
            client.send(request)
            assert client.receive().status == status
    found = lines_of(path, 3)
    assert sorted(line["status"] for line in found) == [400, 413, 414]
    assert all(line["client"] == "127.0.0.1" for line in found)
    assert all(line["sent"] > 10 for line in found)


def test_refused_request_line(serve: Start, path: Path) -> None:
    """Where no head was understood the request line is a dash, so that the columns stay."""
    server = serve(TORTURE, "--access-log", str(path), "--access-log-format", '"%r" %>s %U')
    with server.connect() as client:
        client.send(b"\x16\x03\x01\x02\x00")
        assert client.receive().status == 400
    wait_until(lambda: path.read_text().endswith("\n"), SECONDS)
    assert path.read_text() == '"-" 400 -\n'


def test_client_that_went_away(serve: Start, path: Path) -> None:
    """What was sent until then is the size; a request without an answer has no status."""
    server = serve(TORTURE, "--access-log", str(path), "--access-log-format", "json")
    with server.connect() as client:
        client.send(b"POST /raw/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
        client.reset()
    with server.connect() as client:
        client.send(b"GET /raw/endless?key=log HTTP/1.1\r\nHost: a\r\n\r\n")
        client.receive_head()
        client.reset()
    found = {line["target"].partition("?")[0]: line for line in lines_of(path, 2)}
    assert found["/raw/upload"]["status"] is None
    assert found["/raw/endless"]["status"] == 200
    assert found["/raw/endless"]["sent"] > 0


def test_nobody_can_forge_a_line(serve: Start, path: Path) -> None:
    """Quotes, escape sequences and bytes beyond ASCII of a client come out as \\xhh."""
    server = serve(TORTURE, "--access-log", str(path))
    with server.connect() as client:
        agent = b'x" 200 1 "\x80\xe2\x80\xa8'
        client.send(b'GET /a"b HTTP/1.1\r\nHost: a\r\nUser-Agent: ' + agent + b"\r\n\r\n")
        assert client.receive().status == 404
    wait_until(lambda: path.read_text().endswith("\n"), SECONDS)
    [line] = path.read_text().splitlines()
    assert '"GET /a\\x22b HTTP/1.1" 404' in line
    assert line.endswith('"x\\x22 200 1 \\x22\\x80\\xe2\\x80\\xa8"')


def test_pipelined_requests_have_a_line_each(serve: Start, path: Path) -> None:
    """In the order in which they were answered; nothing waits at the end."""
    server = serve(TORTURE, "--access-log", str(path), "--access-log-format", "%q")
    with server.connect() as client:
        client.send(
            b"".join(b"GET /raw/hello?%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(200))
        )
        for _ in range(200):
            assert client.receive().status == 200
    assert server.stop() == 0
    assert path.read_text().split() == [f"?{n}" for n in range(200)]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no /dev/full")
def test_full_disk_does_not_end_serving(serve: Start) -> None:
    """Lines are lost and reported, requests are not, and the end is orderly."""
    server = serve(TORTURE, "--access-log", "/dev/full")
    with server.connect() as client:
        for _ in range(3):
            assert client.get("/raw/hello").status == 200
    assert server.stop() == 0
    assert "the access log lost 3 records" in server.log
    assert "Traceback" not in server.log


def test_closed_standard_output_does_not_end_serving(serve: Start) -> None:
    """When whoever read the log is gone, the server goes on and ends with 0."""
    server = serve(TORTURE, "--access-log", "-", env={"PYTHONUNBUFFERED": ""})
    with server.connect() as client:
        assert client.get("/raw/hello").status == 200
        server.wait_out("GET /raw/hello")
        # The pipe has its reader in this process: give the descriptor another meaning.
        null = os.open(os.devnull, os.O_RDONLY)
        assert server.process.stdout is not None
        os.dup2(null, server.process.stdout.fileno())
        os.close(null)
        for _ in range(3):
            assert client.get("/raw/hello").status == 200
    assert server.stop() == 0
    assert "Traceback" not in server.log
