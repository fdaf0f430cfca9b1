"""How a server ends: what was accepted is finished, nothing new is taken, and it ends in time."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.server import Server
from tests.support.waiting import wait_until
from tests.support.wire import Client

APP = "tests.supervise.waiting_app:app"
SECONDS = 20.0

Start = Callable[..., Server]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


@pytest.fixture
def gate() -> Iterator[tuple[int, int]]:
    """A pipe: /gate waits for a byte on the first end, the test writes to the second."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def start_with_gate(serve: Start, gate: tuple[int, int], *arguments: str) -> Server:
    """A server whose /gate waits for the test."""
    return serve(APP, *arguments, env={"GATE_FD": str(gate[0])}, pass_fds=(gate[0],))


def ask(client: Client, target: str) -> None:
    """Send a request and do not wait for the answer."""
    client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())


def stop(server: Server, number: signal.Signals = signal.SIGTERM) -> None:
    """Send a signal and wait until the server has heard it."""
    server.signal(number)
    server.wait_log("Stopping: finishing what was accepted")


# ---- finishing -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_running_request_finishes(
    serve: Start, gate: tuple[int, int], number: signal.Signals
) -> None:
    """A request inside the application gets its whole answer, then the server ends with 0."""
    server = start_with_gate(serve, gate, "--threads", "4")
    with server.connect() as client:
        ask(client, "/gate")
        server.wait_log("inside /gate")
        stop(server, number)
        os.write(gate[1], b"!")
        assert client.receive().body == b"!"
        client.wait_closed()
    assert server.wait() == 0
    assert "Stopped after" in server.log
    assert "Stacks" not in server.log


def stop_for_certain(server: Server) -> None:
    """Stop, and wait until the only core has heard of it: it ends an idle connection."""
    with server.connect() as idle:
        assert idle.get("/").status == 200
        stop(server)
        idle.wait_closed()


def test_upload_finishes(serve: Start) -> None:
    """A request whose body is still arriving counts as accepted."""
    server = serve(APP, "--workers", "1")
    with server.connect() as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
        stop_for_certain(server)
        client.send(b"def")
        response = client.receive()
        assert (response.body, response.get("Connection")) == (b"abcdef", "close")
        client.wait_closed()
    assert server.wait() == 0


def test_head_finishes(serve: Start) -> None:
    """So does one whose head has begun."""
    server = serve(APP, "--workers", "1")
    with server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHo")
        stop_for_certain(server)
        client.send(b"st: a\r\n\r\n")
        response = client.receive()
        assert (response.status, response.get("Connection")) == (200, "close")
        client.wait_closed()
    assert server.wait() == 0


def test_accepted_connection_may_still_ask(serve: Start) -> None:
    """A client that was connected before the signal, and asks right after it, is served."""
    server = serve(APP, "--workers", "1")
    with server.connect() as client:
        stop_for_certain(server)
        response = client.get("/")
        assert (response.status, response.get("Connection")) == (200, "close")
        client.wait_closed()
    assert server.wait() == 0


def test_idle_connections_end_at_once(serve: Start) -> None:
    """Keep-alive connections without a request do not hold the end up."""
    server = serve(APP, "--keep-alive", "60", "--graceful-timeout", "60")
    clients = [server.connect() for _ in range(20)]
    try:
        for client in clients:
            assert client.get("/").status == 200
        stop(server)
        for client in clients:
            client.wait_closed()
    finally:
        for client in clients:
            client.close()
    assert server.wait(10) == 0


@pytest.mark.parametrize("threads", ["1", "4"])
def test_new_connections_are_refused_while_stopping(
    serve: Start, gate: tuple[int, int], threads: str
) -> None:
    """While the last requests finish, clients are sent elsewhere at once instead of hanging."""
    server = start_with_gate(serve, gate, "--threads", threads)

    def refused() -> bool:
        try:
            server.connect().close()
        except ConnectionRefusedError:
            return True
        return False

    with server.connect() as client:
        ask(client, "/gate")
        server.wait_log("inside /gate")
        stop(server)
        wait_until(refused, 5, "connections are still accepted")
        os.write(gate[1], b"!")
        assert client.receive().body == b"!"
    assert server.wait() == 0


# ---- the deadline ----------------------------------------------------------------------------


def test_deadline_ends_what_is_stuck(serve: Start) -> None:
    """After --graceful-timeout the process ends with 0 and shows where its threads were."""
    server = serve(APP, "--threads", "4", "--graceful-timeout", "0.5")
    with server.connect() as client:
        ask(client, "/stuck")
        server.wait_log("inside /stuck")
        stop(server)
        assert server.wait(10) == 0
        client.wait_closed()
    assert (
        "Not finished in 0.5 s: cutting off 1 connection; inside the application: GET /"
        in server.log
    )
    assert "in stuck_on_purpose" in server.log


def test_deadline_with_every_thread_stuck(serve: Start) -> None:
    """The deadline holds although no thread is left to do anything."""
    server = serve(APP, "--threads", "1", "--graceful-timeout", "0.5")
    with server.connect() as client:
        ask(client, "/stuck")
        server.wait_log("inside /stuck")
        server.signal(signal.SIGTERM)
        assert server.wait(10) == 0
        client.wait_closed()
    assert "in stuck_on_purpose" in server.log


def test_no_time_to_finish_but_nothing_to_finish(serve: Start) -> None:
    """--graceful-timeout 0 on an idle server is an ordinary end."""
    server = serve(APP, "--graceful-timeout", "0")
    with server.connect() as client:
        assert client.get("/").status == 200
        client.close()
    assert server.stop() == 0
    assert "not finished" not in server.log
    assert "Stopped after" in server.log


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_at_once(
    serve: Start, first: signal.Signals, second: signal.Signals
) -> None:
    """Told twice, the server does not wait any longer."""
    server = serve(APP, "--threads", "4", "--graceful-timeout", "60")
    with server.connect() as client:
        ask(client, "/stuck")
        server.wait_log("inside /stuck")
        stop(server, first)
        server.signal(second)
        assert server.wait(10) == 0
        client.wait_closed()
    assert "Told twice: cutting off 1 connection; inside the application: GET /" in server.log


def test_second_signal_with_every_thread_stuck(serve: Start) -> None:
    """So it is when no thread is left to stop accepting."""
    server = serve(APP, "--threads", "1", "--graceful-timeout", "60")
    with server.connect() as client:
        ask(client, "/stuck")
        server.wait_log("inside /stuck")
        stop(server)
        server.signal(signal.SIGTERM)
        assert server.wait(10) == 0


def test_second_signal_while_the_access_log_is_written(serve: Start, tmp_path: Path) -> None:
    """A signal in the last moments does not spoil an orderly end."""
    fifo, path = tmp_path / "log", tmp_path / "s"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        server = serve(APP, "--uds", str(path), "--access-log", str(fifo))
        with server.connect() as client:
            for _ in range(20):  # more than a pipe holds, and nobody reads it
                assert client.get("/?" + "x" * 8000).status == 200
        stop(server)
        server.wait_log("Stopped after")
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGINT)
        assert server.wait(15) == 0
        assert not path.exists()
    finally:
        os.close(reader)


@pytest.mark.parametrize("signals", [1, 2])
def test_forced_end_removes_the_unix_socket(serve: Start, tmp_path: Path, signals: int) -> None:
    """However it ends, short of SIGKILL, the file of a unix socket is removed."""
    timeout = "0.2" if signals == 1 else "60"
    server = serve(APP, "--uds", str(tmp_path / "s"), "--graceful-timeout", timeout)
    with server.connect() as client:
        ask(client, "/stuck")
        server.wait_log("inside /stuck")
        stop(server)
        if signals == 2:
            server.signal(signal.SIGTERM)
        assert server.wait(10) == 0
    assert not (tmp_path / "s").exists()


def test_signal_before_the_server_is_ready(serve: Start, tmp_path: Path) -> None:
    """SIGTERM while the application is imported ends the process; nothing was ever bound."""
    (tmp_path / "slow.py").write_text(
        "import sys, threading\nprint('importing', file=sys.stderr, flush=True)\n"
        "threading.Event().wait(60)\n"
    )
    server = serve("slow", "--uds", str(tmp_path / "s"), cwd=tmp_path, wait_ready=False)
    server.wait_log("importing")
    assert not (tmp_path / "s").exists()
    server.signal(signal.SIGTERM)
    assert server.wait(10) == -signal.SIGTERM
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("threads", ["1", "16"])
def test_signal_as_soon_as_the_server_is_ready(serve: Start, threads: str) -> None:
    """SIGTERM right after the address was announced is an orderly end, every time."""
    servers = [serve(APP, "--threads", threads, wait_ready=False) for _ in range(4)]
    for server in servers:
        server.wait_ready()
        server.signal(signal.SIGTERM)
    for server in servers:
        assert server.wait(10) == 0
        assert "0 requests on 0 connections" in server.log
