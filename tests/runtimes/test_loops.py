"""The runtime of event loops: start and its failures, number of loops, state, drain, cut."""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import Any

import pytest

from nogilserve.engine.loop.core import LoopSettings
from nogilserve.errors import AppImportError
from nogilserve.perloop import per_loop
from nogilserve.runtimes import contract
from nogilserve.runtimes.eventloops import loop_factory
from nogilserve.runtimes.loops import LoopOptions, LoopRuntime
from tests.runtimes.served import SECONDS, Listening
from tests.support.waiting import wait_until
from tests.support.wire import Client


def nothing_bound(_: Mapping[str, Any] | None) -> list[object]:
    """No object belongs to one loop."""
    return []


class Running:
    """A runtime on a real socket. Owner: the test."""

    def __init__(self, app: Any, **options: Any) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        name, make = loop_factory("asyncio", "auto")
        chosen: dict[str, Any] = {"loops": 2, "find_bound": nothing_bound, "graceful": 4.0}
        # On a machine that has much to do a loop may count as blocked, and get no connection.
        chosen |= {"make_loop": make, "late": 0.0}
        made = LoopOptions(LoopSettings(), loop_name=name, **chosen | options)
        self.runtime = LoopRuntime(app, contract.Served("test", "asgi", "runtime threads"), made)
        self.started = False

    def start(self) -> "Running":
        """Serve."""
        host, port = self.listener.getsockname()
        self.runtime.start([Listening(self.listener, (host, str(port)))])
        self.started = True
        return self

    def connect(self) -> Client:
        """A client."""
        return Client(self.listener.getsockname(), SECONDS)

    def stop(self, seconds: float = SECONDS, *, patient: bool = False) -> bool:
        """Drain, and wait for the end."""
        self.runtime.drain(patient=patient)
        self.started = not self.runtime.join(monotonic() + seconds)
        return not self.started

    def close(self) -> None:
        """All came to an end."""
        if self.started:
            assert self.stop()
        self.listener.close()


@pytest.fixture
def run() -> Iterator[Callable[..., Running]]:
    """Make runtimes that end with the test."""
    made: list[Running] = []

    def make(app: Any, **options: Any) -> Running:
        made.append(Running(app, **options))
        return made[-1]

    yield make
    for running in made:
        running.close()


async def respond(send: Any, body: str) -> None:
    """An ordinary response."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body.encode()})


class App:
    """Answers with the thread that serves and what the state has. Any thread: `events` is only
    appended to."""

    def __init__(self, fill: str = "", fail_on: int = 0) -> None:
        self.fill = fill
        self.fail_on = fail_on
        self.events: list[tuple[str, int]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await receive()
            state = scope.get("state", {})
            await respond(send, f"{threading.get_ident()} {state.get(self.fill, '-')}")

    async def _lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        self.events.append(("startup", threading.get_ident()))
        if len(self.events) == self.fail_on:
            await send({"type": "lifespan.startup.failed", "message": "no database"})
            return
        if self.fill:
            scope["state"][self.fill] = threading.get_ident()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.events.append(("shutdown", threading.get_ident()))
        await send({"type": "lifespan.shutdown.complete"})

    def count(self, kind: str) -> int:
        """Events of a kind."""
        return [name for name, _ in self.events].count(kind)


def answers(running: Running, count: int = 4) -> list[tuple[str, str]]:
    """Thread and state of so many connections that are open together."""
    clients = [running.connect() for _ in range(count)]
    try:
        bodies = [client.get("/").body.decode() for client in clients]
    finally:
        for client in clients:
            client.close()
    return [(body.split(" ")[0], body.split(" ")[1]) for body in bodies]


@pytest.mark.parametrize("loops", [1, 2, 5])
def test_start_serve_drain(run: Callable[..., Running], loops: int) -> None:
    """Every loop serves; at the end all threads are gone (see the leak guard)."""
    app = App()
    running = run(app, loops=loops).start()
    assert len({thread for thread, _ in answers(running, loops)}) == loops
    assert f"{loops} asyncio event loop" in running.runtime.served.how
    wait_until(lambda: running.runtime.snapshot()["requests"] == loops)
    assert running.stop()
    assert [name for name, _ in app.events] == ["startup", "shutdown"]
    assert app.events[0][1] == app.events[1][1]
    assert running.runtime.unfinished() == 0


@pytest.mark.parametrize("fail_on", [1, 2, 3])
def test_startup_fails(run: Callable[..., Running], fail_on: int) -> None:
    """On the first loop or a later one: nothing is accepted, those that had started are shut
    down, no thread is left."""
    app = App(fill="pool", fail_on=fail_on)
    running = run(app, loops=3)
    with pytest.raises(AppImportError, match="no database"):
        running.start()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loop-")]
    assert app.count("shutdown") == app.count("startup") - 1
    client = running.connect()
    client.sock.settimeout(0.05)
    with client, pytest.raises(TimeoutError):
        client.sock.recv(1)


def test_a_loop_that_cannot_be_made(run: Callable[..., Running]) -> None:
    """The reason is raised, and the loops that were made end."""
    _, make = loop_factory("asyncio", "auto")
    made: list[int] = []

    def scarce() -> Any:
        if made:
            raise OSError("no more descriptors")
        made.append(1)
        return make()

    with pytest.raises(OSError, match="no more"):
        run(App(), make_loop=scarce).start()


@pytest.mark.parametrize(
    ("scope", "fill", "runs", "states"),
    [
        ("auto", "", 1, 1),
        ("auto", "pool", 2, 2),
        ("loop", "", 2, 1),
        ("loop", "pool", 2, 2),
        ("generation", "pool", 1, 1),
    ],
)
def test_lifespan_scope(
    run: Callable[..., Running], scope: str, fill: str, runs: int, states: int
) -> None:
    """How often the lifespan runs, and whose state a request sees."""
    app = App(fill)
    running = run(app, lifespan_scope=scope).start()
    got = answers(running)
    assert app.count("startup") == runs
    assert len({state for _, state in got}) == states
    if states == 2:
        assert all(thread == state for thread, state in got)
    assert running.stop()
    assert app.count("shutdown") == runs


@pytest.mark.parametrize("insist", [False, True])
def test_loop_bound_objects(
    run: Callable[..., Running], insist: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """One loop, or as many as asked for; a warning names the objects either way."""
    with caplog.at_level(logging.WARNING):
        running = run(App(), loops=3, insist=insist, find_bound=lambda _: ["app.pool"]).start()
    assert len({thread for thread, _ in answers(running, 6)}) == (3 if insist else 1)
    assert "app.pool" in caplog.text
    assert ("belong to one loop" in running.runtime.served.how) is not insist


@pytest.mark.parametrize(("scope", "seen"), [("auto", None), ("generation", {"pool"})])
def test_a_state_of_each_loop_is_not_searched(
    run: Callable[..., Running], scope: str, seen: set[str] | None
) -> None:
    """What every loop has for itself may belong to its loop."""
    asked = []

    def find(state: Mapping[str, Any] | None) -> list[object]:
        asked.append(None if state is None else set(state))
        return []

    run(App("pool"), lifespan_scope=scope, find_bound=find).start()
    assert asked == [seen]


def test_per_loop_instances_are_closed(run: Callable[..., Running]) -> None:
    """Each on its own loop, after the lifespan's shutdown."""
    closed: list[int] = []
    thread = per_loop(threading.get_ident, close=closed.append)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await respond(send, f"{threading.get_ident()} {await thread()}")

    running = run(app, loops=3).start()
    assert all(one == other for one, other in answers(running, 6))
    assert running.stop()
    assert len(set(closed)) == len(closed) == 3


async def endless(scope: Any, receive: Any, send: Any) -> None:
    """Never answers."""
    assert scope["type"] == "http"
    await asyncio.get_running_loop().create_future()


def test_cut_off(run: Callable[..., Running]) -> None:
    """A request that does not end is cancelled within the graceful time, and everything ends."""
    running = run(endless, graceful=0.4).start()
    with running.connect() as client:
        client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: running.runtime.running() == ["GET /slow"])
        assert running.stop()
        assert running.runtime.running() == []


def test_patient_then_impatient(run: Callable[..., Running]) -> None:
    """An idle connection is kept while another process serves on, until that changes."""
    running = run(App()).start()
    with running.connect() as client:
        client.get("/")
        assert not running.stop(0.2, patient=True)
        assert b"close" in client.get("/").get("connection").encode()
        assert running.stop(patient=False)


def test_leaving_the_process_from_a_task(
    run: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    """SystemExit in a task of the application is logged; its loop serves on, and is shut down."""

    async def leave() -> None:
        raise SystemExit(3)

    class Leaver(App):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                leaving.append(asyncio.ensure_future(leave()))
            await super().__call__(scope, receive, send)

    leaving: list[Any] = []
    app = Leaver()
    running = run(app, loops=1).start()
    for _ in range(3):
        assert len(answers(running, 2)) == 2
    assert running.stop()
    assert app.count("shutdown") == 1
    assert "SystemExit(3)" in caplog.text
    assert all(isinstance(task.exception(), SystemExit) for task in leaving)


def test_a_loop_that_is_done_is_not_reported_as_blocked(
    run: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    """While another loop still drains a long request."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        if scope["path"] == "/slow":
            begun.set()
            await asyncio.to_thread(go.wait, 10)
        await respond(send, "done")

    begun, go = threading.Event(), threading.Event()
    running = run(app, late=0.05).start()
    with running.connect() as slow, running.connect() as quick:
        slow.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        assert begun.wait(SECONDS)
        quick.request("GET", "/", {"Connection": "close"})
        assert not running.stop(0.8)
        go.set()
        assert slow.receive().body == b"done"
        slow.close()
        assert running.stop()
    assert "is blocked" not in caplog.text
