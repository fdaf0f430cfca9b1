"""Several event loops in one process: shares of the connections, and a loop that is blocked."""

import os
import re
import time
from collections import Counter
from contextlib import ExitStack

import pytest

from tests.apps.asgi_served import LOOPS, TORTURE, AsgiServed
from tests.apps.raw_client import SECONDS, request
from tests.support.waiting import wait_until


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("connections", [64, 61])
def test_each_loop_gets_its_share(loop: str, connections: int) -> None:
    """With 64 connections on 8 loops no loop has more than its share plus one."""
    with ExitStack() as stack:
        server = stack.enter_context(AsgiServed(TORTURE, "--loops", "8", "--loop", loop))
        clients = [stack.enter_context(server.raw()) for _ in range(connections)]
        for client in clients:
            client.send(request("/thread"))
        held = Counter(client.response().body for client in clients)
        assert len(held) == 8, held
        assert max(held.values()) <= -(-connections // 8) + 1, held
        # Those that stay keep their loop; who comes new goes where there is room.
        leaving = max(held, key=lambda thread: held[thread])
        for client in clients:
            client.send(request("/thread"))
            if client.response().body == leaving:
                client.close()
        wait_until(lambda: connections_of(server) <= connections - held[leaving], SECONDS)
        fresh = [stack.enter_context(server.raw()) for _ in range(held[leaving])]
        for client in fresh:
            client.send(request("/thread"))
        refilled = Counter(client.response().body for client in fresh)
        assert refilled[leaving] >= held[leaving] - 2, (held, refilled)


def connections_of(server: AsgiServed) -> int:
    """How many connected sockets the server holds, as the kernel tells."""
    port = f":{server.port:04X}"
    with open(f"/proc/{server.pid}/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return sum(row[1].endswith(port) and row[3] == "01" for row in rows)


@pytest.mark.parametrize("loop", LOOPS)
def test_blocked_loop_is_reported_once(loop: str) -> None:
    """The log has the stack of the code that blocks, once per occurrence."""
    arguments = ("--loops", "2", "--loop", loop, "--blocked-loop-timeout", "0.1")
    with AsgiServed(TORTURE, *arguments) as server:
        with server.raw() as client:
            for number in (1, 2):
                assert client.get("/block?ms=600").body == b"blocked\n"
                server.wait_log("is blocked: ", count=number)
        assert len(re.findall("is blocked: ", server.log)) == 2
        assert "_hold_the_loop" in server.log
        assert "asgi_torture.py" in server.log


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_that_waits_is_not_blocked(loop: str) -> None:
    """A handler that awaits, and a server without requests, are never reported."""
    arguments = ("--loops", "2", "--loop", loop, "--blocked-loop-timeout", "0.1")
    with AsgiServed(TORTURE, *arguments) as server, server.raw() as client:
        before = server.log
        assert client.get("/sleep?ms=500").body == b"slept\n"
        assert server.log == before


def test_watchdog_can_be_off() -> None:
    """With 0 nobody watches."""
    with AsgiServed(TORTURE, "--loops", "1", "--blocked-loop-timeout", "0") as server:
        with server.raw() as client:
            before = server.log
            assert client.get("/block?ms=400").body == b"blocked\n"
            assert server.log == before


@pytest.mark.parametrize("loop", LOOPS)
def test_new_connections_avoid_a_blocked_loop(loop: str) -> None:
    """While one of two loops is blocked, whoever comes is answered by the other at once."""
    arguments = ("--loops", "2", "--loop", loop, "--blocked-loop-timeout", "0.1")
    with AsgiServed(TORTURE, *arguments) as server, server.raw() as blocker:
        blocker.send(request("/block?ms=3000"))
        server.wait_log("_hold_the_loop")
        began = time.monotonic()
        with ExitStack() as stack:
            for _ in range(10):
                client = stack.enter_context(server.raw())
                assert client.get("/hello").body == b"hello\n"
        assert time.monotonic() - began < 1.5
        assert blocker.response().body == b"blocked\n"


def test_loops_are_as_many_as_asked_for() -> None:
    """`--loops 3` makes three threads that serve."""
    with AsgiServed(TORTURE, "--loops", "3") as server, ExitStack() as stack:
        clients = [stack.enter_context(server.raw()) for _ in range(9)]
        assert len({client.get("/thread").body for client in clients}) == 3


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("poller", ["poll", "select"])
def test_other_pollers(loop: str, poller: str) -> None:
    """Those which uvloop cannot watch leave connections to its own transports."""
    with AsgiServed(TORTURE, "--loop", loop, "--poller", poller) as server:
        with server.raw() as client:
            for _ in range(2):
                assert client.get("/hello").body == b"hello\n"
            assert client.post("/echo", bytes(300_000)).body == bytes(300_000)


def switches(pid: int) -> int:
    """The voluntary context switches of all threads of a process so far."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status") as status:
            found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read(), re.MULTILINE)
        total += int(found[1]) if found else 0
    return total


@pytest.mark.alone("counts how often threads wake up")
def test_idle_loops_sleep() -> None:
    """Eight loops without a request hardly ever wake up."""
    with AsgiServed(TORTURE, "--loops", "8") as server:
        with server.raw() as client:
            client.get("/hello")
        before = switches(server.serving)
        with server.raw() as client:
            client.get("/sleep?ms=3000")
        assert switches(server.serving) - before < 60
