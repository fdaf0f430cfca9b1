"""The test support itself: a guard that never fires guards nothing."""

import os
import signal
import socket
import threading

import pytest

from tests.support.leaks import Possessions
from tests.support.server import Server
from tests.support.waiting import Deadline, wait_until
from tests.support.wire import Client


class TestPossessions:
    """Leaks are named, and what goes away in time is none."""

    def test_finds_nothing_when_nothing_changed(self) -> None:
        """A test that leaves nothing is clean at once."""
        assert Possessions().wait_for_no_leak(0) == []

    def test_names_a_descriptor(self) -> None:
        """An open pipe is reported with its number until it is closed."""
        before = Possessions()
        reader, writer = os.pipe()
        leaked = before.wait_for_no_leak(0.01)
        os.close(reader)
        os.close(writer)
        assert [line.split(":")[0] for line in leaked] == [
            f"descriptor {number}" for number in sorted((reader, writer))
        ]
        assert before.leaked() == []

    def test_names_a_thread_and_waits_for_its_end(self) -> None:
        """A running thread is reported; one that is about to end is waited for."""
        before = Possessions()
        finish = threading.Event()
        thread = threading.Thread(target=finish.wait, args=(10,), name="straggler")
        thread.start()
        assert before.wait_for_no_leak(0.01) == ["thread 'straggler'"]
        finish.set()
        assert before.wait_for_no_leak(5) == []


class TestWaiting:
    """Deadlines end waits; conditions end them earlier."""

    def test_returns_when_the_condition_holds(self) -> None:
        """The condition is asked again until it is true."""
        answers = iter([0, 0, 1])
        wait_until(lambda: next(answers))

    def test_gives_up_at_the_deadline(self) -> None:
        """A condition that never holds raises with the reason given."""
        with pytest.raises(TimeoutError, match="the moon"):
            wait_until(lambda: False, 0.01, "the moon")

    def test_deadline_says_what_was_late(self) -> None:
        """A passed deadline refuses to hand out more time."""
        with pytest.raises(TimeoutError, match="too late"):
            Deadline(-1).require("too late")


@pytest.fixture
def pair() -> tuple[Client, socket.socket]:
    """A client and the socket of the server it talks to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Client(listener.getsockname(), timeout=5)
        return client, listener.accept()[0]


class TestClient:
    """The raw client reads what is on the wire and nothing else."""

    def test_reads_pipelined_responses_one_by_one(self, pair: tuple[Client, socket.socket]) -> None:
        """Two responses that arrive in one segment are both read whole."""
        client, server = pair
        with client, server:
            server.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: 1\r\nX: 2\r\n\r\nab"
                b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nc\r\n0\r\n\r\n"
            )
            first, second = client.receive(), client.receive()
            assert (first.status, first.body) == (200, b"ab")
            assert first.headers[1:] == [("X", "1"), ("X", "2")]
            assert (second.status, second.body, second.get("x", "none")) == (404, b"c", "none")

    def test_reads_an_interim_head_before_the_final_response(
        self, pair: tuple[Client, socket.socket]
    ) -> None:
        """A raw head and a parsed response share one buffer."""
        client, server = pair
        with client, server:
            server.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
            assert client.receive_head() == b"HTTP/1.1 103 Early Hints\r\n\r\n"
            assert client.receive().status == 204

    def test_gives_up_at_the_deadline(self) -> None:
        """A server that says nothing is not waited for without end."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            with Client(listener.getsockname(), timeout=0.05) as client:
                with pytest.raises(TimeoutError):
                    client.receive()

    def test_reset_is_seen_as_a_reset(self, pair: tuple[Client, socket.socket]) -> None:
        """`reset` sends RST, not FIN."""
        client, server = pair
        with server:
            server.settimeout(5)
            client.reset()
            with pytest.raises(ConnectionResetError):
                server.recv(1)

    def test_half_close_still_reads(self, pair: tuple[Client, socket.socket]) -> None:
        """After `half_close` the server sees the end and may still answer."""
        client, server = pair
        with client, server:
            server.settimeout(5)
            client.half_close()
            assert server.recv(1) == b""
            server.sendall(b"late")
            server.shutdown(socket.SHUT_WR)
            assert client.receive_rest() == b"late"


class TestServer:
    """The launcher runs the real command line and insists on a clean end."""

    def test_serves_and_stops(self) -> None:
        """An application by path answers, then SIGTERM ends the process with status 0."""
        with Server("examples/wsgi_hello.py:app") as server:
            with server.connect() as client:
                response = client.get("/")
            assert (response.status, response.body[:5]) == (200, b"Hello")
            assert server.url == f"http://127.0.0.1:{server.port}"
        assert server.process.returncode == 0

    def test_failed_start_is_told_with_its_words(self) -> None:
        """A server that ends before it is ready raises at once, with what it wrote."""
        with pytest.raises(EOFError, match="no_such_module"):
            Server("no_such_module:app")

    def test_unclean_end_fails_the_test(self) -> None:
        """A server that died during a test is noticed even if nothing else went wrong."""
        with pytest.raises(AssertionError, match="status -9"):
            with Server("examples/wsgi_hello.py:app") as server:
                server.signal(signal.SIGKILL)

    def test_server_that_does_not_end_shows_its_stacks(self) -> None:
        """After the deadline the stacks of its threads are in the AssertionError."""
        with Server("examples/wsgi_hello.py:app") as server:
            with pytest.raises(AssertionError, match="Fatal Python error: Aborted"):
                server.wait(0.01)
