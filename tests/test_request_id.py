"""Request ids: in the response, the access log and the error log, and whose are believed."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.support.server import Server

APPS = ("tests.apps.observed:app", "tests.apps.asgi_observed:app")


@pytest.fixture(scope="module", params=APPS, ids=["wsgi", "asgi"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that logs JSON and tells ids."""
    with Server(
        request.param,
        *("--request-id", "--log-format", "json", "--access-log=-"),
        *("--health-path", "/alive", "--readiness-path", "/ready"),
    ) as started:
        yield started


def line_of(server: Server, request_id: str) -> dict[str, object]:
    """The line of the access log about a request."""
    match = server.wait_out(rf"^.*\"id\": \"{re.escape(request_id)}\".*$")
    found: dict[str, object] = json.loads(match[0])
    return found


def test_an_id_is_made_and_told(server: Server) -> None:
    """Each response has another one, and the access log has it too, with the generation."""
    with server.connect() as client:
        first = client.get("/").get("X-Request-ID")
        second = client.get("/").get("X-Request-ID")
    assert re.fullmatch(r"[0-9a-f]{12}", first)
    assert first != second
    assert line_of(server, second)["status"] == 200
    assert line_of(server, second)["generation"] == 1


def test_that_of_a_trusted_proxy_is_kept(server: Server) -> None:
    """Loopback is trusted by default: its id goes into the response and both logs."""
    with server.connect() as client:
        response = client.get("/fail", X_Request_ID="from-the-proxy/1")
    assert response.status == 500
    assert response.get("X-Request-ID") == "from-the-proxy/1"
    assert line_of(server, "from-the-proxy/1")["status"] == 500
    match = server.wait_log(r"^.*\"request_id\": \"from-the-proxy/1\".*$")
    error = json.loads(match[0])
    assert error["level"] == "error"
    assert error["generation"] == 1
    assert error["message"].startswith("GET /fail: exception in tests.apps.")
    assert "RuntimeError: as it was told to" in error["detail"]


@pytest.mark.parametrize("bad", ["with space", 'quote"', "x" * 129, "semi;colon"])
def test_ids_that_could_do_harm_are_replaced(server: Server, bad: str) -> None:
    """What does not look like an id is not written anywhere."""
    with server.connect() as client:
        told = client.get("/", X_Request_ID=bad).get("X-Request-ID")
    assert re.fullmatch(r"[0-9a-f]{12}", told)


def test_every_line_is_json(server: Server) -> None:
    """What stands on standard error can be read by a program, line by line."""
    lines = [json.loads(line) for line in server.log.splitlines()]
    assert {"time", "level", "logger", "pid", "message"} <= set(lines[0])
    assert any("Listening on" in line["message"] for line in lines)


def test_probes_on_the_main_address(server: Server) -> None:
    """They are answered before the application, with an id like everything else."""
    with server.connect() as client:
        for path, text in (("/alive", b"alive\n"), ("/ready", b"ready\n")):
            response = client.get(path)
            assert (response.status, response.body) == (200, text)
            assert response.get("Cache-Control") == "no-store"
        assert client.get("/alive?x=1").body != b"alive\n"


def test_a_strangers_id_is_not_believed() -> None:
    """Without trust in the peer an id is made."""
    with Server(
        "tests.apps.observed:app", "--request-id", "--forwarded-allow-ips", "192.0.2.1"
    ) as server:
        with server.connect() as client:
            told = client.get("/", X_Request_ID="mine").get("X-Request-ID")
    assert re.fullmatch(r"[0-9a-f]{12}", told)
