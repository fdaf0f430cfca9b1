"""Start-up and shutdown of ASGI applications: which come, where, and what their failure does."""

import json
import re
import signal
import socket
import time
from collections.abc import Callable

import pytest

from tests.apps.asgi_served import AsgiServed
from tests.apps.raw_client import request
from tests.support.server import Server

APPS = "tests.apps.asgi_lifespan"
Serve = Callable[..., Server]


def document(server: Server) -> dict[str, object]:
    """What the application answers."""
    with server.connect() as client:
        found: dict[str, object] = json.loads(client.get("/").body)
    return found


def threads(server: Server, what: str) -> list[str]:
    """The threads in which that ran, as the application told."""
    return re.findall(rf"torture: {what} in thread (\d+)", server.log)


def test_startup_and_shutdown(serve: Serve) -> None:
    """Both run once for one loop, the second where the first ran; requests see the state."""
    server = serve(f"{APPS}:ok", "--loops", "1")
    with server.connect() as client:
        found = json.loads(client.get("/").body)
    assert len(threads(server, "startup ran")) == 1
    assert found["loop"] == found["thread"] == int(threads(server, "startup ran")[0])
    assert server.stop() == 0
    assert threads(server, "shutdown ran") == threads(server, "startup ran")


def test_state_is_per_loop(serve: Serve) -> None:
    """A lifespan that fills its state runs on each loop; a request sees the state of its own."""
    with AsgiServed(f"{APPS}:ok", "--loops", "4") as server:
        seen = set()
        for _ in range(8):
            with server.raw() as client:
                found = json.loads(client.get("/").body)
                assert found["loop"] == found["thread"]
                seen.add(found["thread"])
        started = threads(server, "startup ran")
        assert len(started) == len(set(started)) == 4
        assert seen <= {int(thread) for thread in started}
        assert server.stop() == 0
        assert sorted(threads(server, "shutdown ran")) == sorted(started)


def test_scope_generation(serve: Serve) -> None:
    """With --lifespan-scope generation it runs once, and all loops share what it put there."""
    with AsgiServed(f"{APPS}:ok", "--loops", "4", "--lifespan-scope", "generation") as server:
        loops = set()
        for _ in range(8):
            with server.raw() as client:
                loops.add(json.loads(client.get("/").body)["loop"])
        assert [str(loop) for loop in loops] == threads(server, "startup ran")
        assert server.stop() == 0
        assert threads(server, "shutdown ran") == threads(server, "startup ran")


@pytest.mark.parametrize("scope", ["loop", "auto"])
def test_lifespan_without_a_state(serve: Serve, scope: str) -> None:
    """One that puts nothing into the state runs once by default, on each loop when asked to."""
    server = serve(f"{APPS}:shutdown_noted", "--loops", "3", "--lifespan-scope", scope)
    with server.connect() as client:
        assert client.get("/").status == 200
    assert server.stop() == 0
    assert len(threads(server, "shutdown ran")) == (3 if scope == "loop" else 1)


@pytest.mark.parametrize("app", ["failing", "raising"])
@pytest.mark.parametrize("mode", ["auto", "on"])
def test_startup_that_fails(app: str, mode: str) -> None:
    """Status 3, the reason is on standard error, and nobody could connect at any moment.

    An exception counts too, once the application has received lifespan.startup.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    server = Server(
        f"{APPS}:{app}", "--lifespan", mode, "--bind", f"127.0.0.1:{port}", wait_ready=False
    )
    try:
        assert server.wait() == 3
    finally:
        server.kill()
    assert "Listening" not in server.log
    want = "database is away" if app == "failing" else "startup raised"
    assert want in server.log


def test_startup_that_fails_on_another_loop() -> None:
    """When the start-up of a later loop fails, those that had started are shut down."""
    server = Server(f"{APPS}:second_fails", "--loops", "3", wait_ready=False)
    try:
        assert server.wait() == 3
    finally:
        server.kill()
    assert "Listening" not in server.log
    assert "the second one fails" in server.log
    assert len(threads(server, "shutdown ran")) == len(threads(server, "startup ran")) >= 1


@pytest.mark.parametrize("app", ["unsupported", "returning"])
def test_auto_serves_without_a_lifespan(serve: Serve, app: str) -> None:
    """An application that knows no lifespan is served; no `state` is promised that is not there."""
    server = serve(f"{APPS}:{app}", "--loops", "2")
    with server.connect() as client:
        assert client.get("/").status == 200


@pytest.mark.parametrize("app", ["unsupported", "returning"])
def test_on_insists(app: str) -> None:
    """With --lifespan on an application without one is not served."""
    server = Server(f"{APPS}:{app}", "--lifespan", "on", wait_ready=False)
    try:
        assert server.wait() == 3
    finally:
        server.kill()
    assert "lifespan" in server.log.lower()


def test_off_runs_nothing(serve: Serve) -> None:
    """With --lifespan off neither event comes."""
    server = serve(f"{APPS}:ok", "--lifespan", "off")
    assert "loop" not in document(server)
    assert server.stop() == 0
    assert "torture:" not in server.log


@pytest.mark.parametrize("app", ["Double", "instance", "plain_call"])
def test_shapes_of_applications(serve: Serve, app: str) -> None:
    """ASGI 2, instances and callables that return coroutines are recognised."""
    server = serve(f"{APPS}:{app}", "--loops", "1")
    assert document(server)["loop"]


def test_lifespan_that_returns_after_startup(serve: Serve) -> None:
    """It is served and stopped like any other."""
    server = serve(f"{APPS}:leaving")
    assert document(server)
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("app", "words"),
    [("shutdown_failed", "could not flush"), ("shutdown_raises", "shutdown raised")],
)
def test_shutdown_that_fails(serve: Serve, app: str, words: str) -> None:
    """It is logged, and the server ends."""
    server = serve(f"{APPS}:{app}")
    document(server)
    server.stop()
    assert words in server.log


def test_shutdown_that_hangs(serve: Serve) -> None:
    """The graceful deadline ends it; the server says what it did not wait for any longer."""
    server = serve(f"{APPS}:hanging", "--graceful-timeout", "1")
    document(server)
    began = time.monotonic()
    server.stop()
    assert threads(server, "shutdown began")
    assert time.monotonic() - began < 6


def test_stop_while_starting() -> None:
    """SIGTERM during a start-up that takes for ever ends the server."""
    server = Server(f"{APPS}:slow", "--graceful-timeout", "1", wait_ready=False)
    try:
        server.wait_log("torture: startup began")
        server.signal(signal.SIGTERM)
        server.wait()
    finally:
        server.kill()
    assert "Listening" not in server.log


def test_requests_end_before_the_shutdown(serve: Serve) -> None:
    """A request that runs when SIGTERM comes gets its answer; then its loop's shutdown runs."""
    server = serve(f"{APPS}:ok_slow", "--loops", "2")
    client = server.connect()
    client.send(request("/"))
    server.wait_log("torture: request began")
    server.signal(signal.SIGTERM)
    assert client.receive().status == 200
    client.close()
    assert server.wait() == 0
    log = server.log
    (thread,) = threads(server, "request ended")
    shut_down = log.index(f"torture: shutdown ran in thread {thread}")
    assert log.index("torture: request ended") < shut_down
