"""OpenTelemetry: a span of each call, below the one of the request, above the application's."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.server import Server
from tests.support.waiting import wait_until

pytest.importorskip("opentelemetry.sdk")

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@pytest.fixture(scope="module", params=["app", "asgi"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that makes spans, with an application that keeps them."""
    with Server(f"tests.apps.traced:{request.param}", "--trace") as started:
        yield started


def spans(server: Server, path: str) -> list[dict[str, Any]]:
    """What was exported, as soon as the span of that path is there: it ends after the response."""
    found: list[dict[str, Any]] = []

    def there() -> bool:
        with server.connect() as client:
            found[:] = json.loads(client.get("/spans").body)
        return any(span["attributes"].get("url.path") == path for span in found)

    wait_until(there, 10)
    return found


def test_a_span_of_each_call(server: Server) -> None:
    """It has the request's trace and parent, the attributes of the conventions, and the spans that
    the application makes are below it."""
    with server.connect() as client:
        client.get("/items?page=2", traceparent=f"00-{TRACE}-{PARENT}-01", User_Agent="test/1")
    found = [span for span in spans(server, "/items") if span["trace"] == TRACE]
    (ours,) = [span for span in found if span["kind"] == "SERVER"]
    (work,) = [span for span in found if span["name"] == "work"]
    assert ours["name"] == "GET"
    assert ours["parent"] == PARENT
    assert work["parent"] == ours["id"]
    assert ours["attributes"] | {"server.port": 0} == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "url.path": "/items",
        "url.query": "page=2",
        "server.address": "localhost",
        "server.port": 0,
        "network.protocol.version": "1.1",
        "user_agent.original": "test/1",
    }
    assert ours["status"] == "UNSET"


def test_failures_are_errors(server: Server) -> None:
    """An application that raises makes an error of its span; a broken traceparent begins anew."""
    with server.connect() as client:
        client.get("/fail", traceparent="00-nonsense-01")
    ours = [
        span for span in spans(server, "/fail") if span["attributes"].get("url.path") == "/fail"
    ]
    (span,) = ours
    assert span["status"] == "ERROR"
    assert span["attributes"]["http.response.status_code"] == 500
    assert span["parent"] == ""
    assert span["trace"] != TRACE
