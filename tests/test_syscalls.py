"""What a request on a kept connection asks of the system, counted by strace."""

import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.apps.asgi_served import LOOPS
from tests.support.server import Output, Server, children_of
from tests.support.wire import Client

STRACE = shutil.which("strace")

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="strace and epoll are Linux's"),
    pytest.mark.skipif(STRACE is None, reason="strace is not installed"),
]

CONNECTIONS = 16
ROUNDS = 25
REQUESTS = CONNECTIONS * ROUNDS
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
RECEIVE = ("recvfrom", "read")
SEND = ("sendto", "write")
WAIT = ("epoll_wait", "epoll_pwait", "epoll_pwait2")
ASIDE = ("sched_yield", "clock_nanosleep", "restart_syscall")
"""Of a loop that lets others go first before it waits, and of threads that look after others once
in a while."""
CALL = re.compile(r"^\d+ +(\w+)\(", re.MULTILINE)

Serve = Callable[..., Server]


@contextmanager
def traced(pids: list[int], file: Path) -> Iterator[None]:
    """All threads of these processes write their calls to `file`."""
    assert STRACE is not None
    command = [STRACE, "-f", "-o", str(file)]
    for pid in pids:
        command += ["-p", str(pid)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    output = Output(process.stderr, "strace")
    try:
        try:
            output.wait(r"Process \d+ attached", 20, count=len(pids))
        except EOFError:
            if "not permitted" in output.text:
                pytest.skip("strace may not look into other processes here")
            raise
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
        output.thread.join(20)


def ask_all(clients: list[Client]) -> None:
    """One request on each connection, all at once."""
    for client in clients:
        client.send(REQUEST)
    for client in clients:
        assert client.receive().body == b"Hello, World!"


def processes_of(pid: int) -> list[int]:
    """That process and all below it."""
    return [pid, *(below for child in children_of(pid) for below in processes_of(child))]


def calls_of(server: Server, file: Path) -> Counter[str]:
    """What the processes of the server ask for while they answer all requests."""
    with ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(CONNECTIONS)]
        for _ in range(3):
            ask_all(clients)
        with traced(processes_of(server.pid), file):
            for _ in range(ROUNDS):
                ask_all(clients)
    return Counter(CALL.findall(file.read_text()))


def require_frugal(calls: Counter[str]) -> None:
    """One call to receive, one to send, and for several requests together one to wait. A busy
    machine adds a few of whoever looks whether a thread is blocked, or wakes one to help. Traced,
    requests take long enough for responses to leave together (engine.corked): one call more."""

    def total(*names: str) -> int:
        return sum(calls[name] for name in names)

    few = REQUESTS // 10
    assert REQUESTS <= total(*RECEIVE) <= REQUESTS + few, calls
    assert REQUESTS <= total(*SEND) <= REQUESTS + 2 * few, calls
    assert 0 < total(*WAIT) <= REQUESTS * 3 // 4, calls
    assert calls["setsockopt"] <= 2 * REQUESTS, calls  # the monitor may come before the driver
    assert calls.total() - total(*RECEIVE, *SEND, *WAIT, *ASIDE, "setsockopt") <= 3 * few, calls


@pytest.mark.alone("how many requests come at once depends on who else runs")
@pytest.mark.parametrize("threads", ["1", "4"])
def test_wsgi_hello_receives_once_and_sends_once(
    serve: Serve, tmp_path: Path, threads: str
) -> None:
    """By one thread, and where others might take over."""
    server = serve("benchmarks.apps.hello:wsgi", "--threads", threads)
    require_frugal(calls_of(server, tmp_path / "calls"))


@pytest.mark.alone("how many requests come at once depends on who else runs")
@pytest.mark.parametrize("loop", LOOPS)
def test_asgi_hello_receives_once_and_sends_once(serve: Serve, tmp_path: Path, loop: str) -> None:
    """On either event loop."""
    server = serve("benchmarks.apps.hello:asgi", "--loops", "1", "--loop", loop)
    require_frugal(calls_of(server, tmp_path / "calls"))
