"""Resources that belong to one event loop, with real servers behind them.

Kept in module globals or on the application object they make the server choose one loop and say
why; in the lifespan state, or made by `per_loop`, each loop has its own. No request ever fails.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any

import pytest

from tests.apps.asgi_served import NO_UVLOOP, TORTURE, AsgiServed
from tests.support.services import postgresql, redis_server

APP = "tests.apps.loopbound_app:app"
CLIENTS, REQUESTS = 8, 8
NAMES = {
    "sqlalchemy": "AsyncEngine",
    "redis": "redis.asyncio",
    "httpx": "httpx.AsyncClient",
    "aiohttp": "ClientSession",
    "lock": "asyncio",
}


@contextmanager
def database() -> Iterator[str]:
    """A PostgreSQL."""
    for name in ("sqlalchemy", "asyncpg", "greenlet"):
        if find_spec(name) is None:
            pytest.skip(f"{name} has no wheel for this interpreter")
    with postgresql() as url:
        yield url


@contextmanager
def upstream() -> Iterator[str]:
    """A slow page for HTTP clients."""
    with AsgiServed(TORTURE, "--loops", "1") as server:
        yield f"{server.url}/sleep?ms=5"


def on_uvloop(place: str) -> Any:
    """A place and the loop; the other places are tested on the other one."""
    return pytest.param(place, "uvloop", marks=pytest.mark.skipif(NO_UVLOOP, reason="no uvloop"))


SERVICES: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "sqlalchemy": database,
    "redis": redis_server,
    "httpx": upstream,
    "aiohttp": upstream,
    "lock": lambda: nullcontext(""),
}


@pytest.fixture(scope="module", params=list(SERVICES))
def resource(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Which resource, and the URL of what it connects to."""
    with SERVICES[request.param]() as url:
        yield request.param, url


def use(server: AsgiServed) -> Counter[int]:
    """Eight clients at once, each with connections of its own; which loops answered."""

    def visit(_: int) -> list[int]:
        loops = []
        for _turn in range(REQUESTS):
            with server.raw() as client:
                answer = client.get("/use")
                assert answer.status == 200, answer
                document = json.loads(answer.body)
                assert document["values"] == [42] * 4
                loops.append(document["loop"])
        return loops

    with ThreadPoolExecutor(CLIENTS) as pool:
        return Counter(loop for loops in pool.map(visit, range(CLIENTS)) for loop in loops)


def served(resource: tuple[str, str], place: str, *arguments: str) -> AsgiServed:
    """The application with that resource kept there. First imports may take their time."""
    kind, url = resource
    arguments += ("--workers", "4", "--threads", "16", "--blocked-loop-timeout", "0")
    environment = {"TORTURE_KIND": kind, "TORTURE_PLACE": place, "TORTURE_URL": url}
    return AsgiServed(APP, *arguments, env=environment)


@pytest.mark.parametrize(("place", "loop"), [("module", "asyncio"), on_uvloop("app")])
def test_kept_for_the_whole_process(resource: tuple[str, str], place: str, loop: str) -> None:
    """One loop serves; the warning names the object, where it lives, and the ways to fix it."""
    with served(resource, place, "--loop", loop) as server:
        loops = use(server)
        log = server.log
        assert server.stop() == 0
    assert len(loops) == 1
    assert "WARNING" in log
    assert NAMES[resource[0]] in log
    assert ("loopbound_app:resource" if place == "module" else "state.resource") in log
    assert "per_loop" in log
    assert "state of the lifespan" in log or "lifespan state" in log
    assert "Traceback" not in server.log


@pytest.mark.parametrize(("place", "loop"), [on_uvloop("state"), ("per_loop", "asyncio")])
def test_one_for_each_loop(resource: tuple[str, str], place: str, loop: str) -> None:
    """All loops serve, each with its own; nothing to warn of, and all of them are closed."""
    with served(resource, place, "--loop", loop) as server:
        loops = use(server)
        log = server.log
        assert server.stop() == 0
    assert len(loops) == 4
    assert "WARNING" not in log
    for word in ("Traceback", "Unclosed", "never awaited", "different loop"):
        assert word not in server.log


def test_synchronous_endpoints_keep_all_cores() -> None:
    """Where one loop serves, functions that are not asynchronous run in threads all the same."""
    with served(("lock", ""), "module") as server:

        def visit(_: int) -> int:
            with server.raw() as client:
                return int(json.loads(client.get("/sync").body)["thread"])

        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(visit, range(40)))) > 1


def test_overruled() -> None:
    """--loops N is obeyed, with a warning; the request that fails is explained in the log."""
    with served(("lock", ""), "module", "--loops", "4") as server:
        assert "WARNING" in server.log
        for _ in range(40):
            with server.raw() as client, server.raw() as other, server.raw() as third:
                for one in (client, other, third):
                    one.send(b"GET /use HTTP/1.1\r\nHost: a\r\n\r\n")
                statuses = {one.response().status for one in (client, other, third)}
            if 500 in statuses:
                break
        else:
            pytest.fail("no lock was waited for on two loops")
        server.wait_log("different (event )?loop")
        server.wait_log("per_loop|event-loops.md")
