"""More than the server is to take: the rest is told so at once, and what was taken is served."""

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.apps.raw_websocket import RawWebSocket
from tests.support.server import Server
from tests.support.waiting import wait_until
from tests.support.wire import Client, Response

Serve = Callable[..., Server]
APPS = ["tests.apps.crowd:app", "tests.apps.crowd:asgi"]
NOBODY_TRUSTED = "--no-proxy-headers"


class Gate:
    """Where requests inside the application wait. Owner: the test."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listener.settimeout(10)
        self.port = self._listener.getsockname()[1]
        self.inside: list[socket.socket] = []

    def arrive(self, count: int) -> None:
        """Wait until that many more requests are inside."""
        for _ in range(count):
            self.inside.append(self._listener.accept()[0])

    def is_quiet(self) -> bool:
        """Whether no further one has come."""
        self._listener.setblocking(False)
        try:
            self.inside.append(self._listener.accept()[0])
        except BlockingIOError:
            return True
        finally:
            self._listener.settimeout(10)
        return False

    def release(self, count: int) -> None:
        """Let those that came first go."""
        for _ in range(count):
            with self.inside.pop(0) as sock:
                sock.sendall(b"!")

    def close(self) -> None:
        """Let everybody go."""
        for sock in (*self.inside, self._listener):
            sock.close()


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A closed one."""
    made = Gate()
    yield made
    made.close()


def head(path: str, *fields: str, method: str = "GET") -> bytes:
    """The bytes of a request head."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", *fields, "", ""]).encode()


def is_refusal(answer: Response) -> bool:
    """Whether it is a 503 that says when to come again."""
    return answer.status == 503 and answer.get("Retry-After") == "1"


def is_readable(client: Client) -> bool:
    """Whether something was sent to it."""
    return bool(select.select([client.sock], [], [], 0)[0])


def answered(clients: list[Client], count: int) -> list[Client]:
    """Those to whom something was sent, as soon as they are that many."""
    found: list[Client] = []

    def enough() -> bool:
        found[:] = [client for client in clients if is_readable(client)]
        return len(found) >= count

    wait_until(enough, 10)
    return found


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_limit_concurrency(serve: Serve, gate: Gate, app: str, threads: int) -> None:
    """As many as the limit says are inside or wait, the others get 503 at once, on connections that
    stay open; whoever waited is served, and afterwards there is room again."""
    limit, more, workers = 6, 4, min(threads, 2)
    server = serve(
        app, f"--threads={threads}", f"--workers={workers}", f"--limit-concurrency={limit}"
    )
    inside = threads if app.endswith(":app") else limit
    with ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(limit + more)]
        for number, client in enumerate(clients):
            client.send(head(f"/hold/{gate.port}"))
            if number < inside:
                gate.arrive(1)
        refused = answered(clients, more)
        assert all(is_refusal(client.receive()) for client in refused)
        # Two that come at once to different cores may both be refused.
        assert more <= len(refused) <= more + 2 * (workers - 1)
        assert gate.is_quiet(), "no more threads than said"
        taken = [client for client in clients if client not in refused]
        done = 0
        while done < len(taken):
            gate.release(1)
            done += 1
            if done + inside <= len(taken):
                gate.arrive(1)
        assert [client.receive().status for client in taken] == [200] * len(taken)
        assert [client.get("/now").status for client in clients] == [200] * len(clients)


@pytest.mark.parametrize("app", APPS)
def test_a_body_that_would_be_refused_is_not_read(serve: Serve, gate: Gate, app: str) -> None:
    """503 comes before the body, and the connection ends unless the body is small."""
    server = serve(app, "--threads=1", "--workers=1", "--limit-concurrency=1")
    with server.connect() as first, server.connect() as second, server.connect() as third:
        first.send(head(f"/hold/{gate.port}"))
        gate.arrive(1)
        second.send(head("/", "Content-Length: 100000000", method="POST"))
        assert is_refusal(second.receive())
        second.wait_closed()
        third.send(head("/", "Content-Length: 5", "Expect: 100-continue", method="POST"))
        answer = third.receive()
        assert is_refusal(answer)
        gate.release(1)
        assert first.receive().status == 200
        assert first.get("/").status == 200


@pytest.mark.parametrize("app", APPS)
def test_pipelined_requests_are_refused_one_by_one(serve: Serve, gate: Gate, app: str) -> None:
    """Each has its own answer, in order, and what follows is served when there is room."""
    server = serve(app, "--threads=2", "--limit-concurrency=1")
    with server.connect() as first, server.connect() as second:
        first.send(head(f"/hold/{gate.port}"))
        gate.arrive(1)
        second.send(head("/a") * 40)
        assert all(is_refusal(second.receive()) for _ in range(40))
        gate.release(1)
        assert first.receive().status == 200
        # Its request counts a moment longer than its answer takes.
        wait_until(lambda: second.get("/a").status == 200)
        second.send(head("/a") * 3)
        assert [second.receive().status for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("app", APPS)
def test_refusals_are_counted_and_logged(serve: Serve, gate: Gate, app: str) -> None:
    """The access log has them, with the client's request line."""
    server = serve(app, "--threads=1", "--workers=1", "--limit-concurrency=1", "--access-log=-")
    with server.connect() as first, server.connect() as second:
        first.send(head(f"/hold/{gate.port}"))
        gate.arrive(1)
        assert is_refusal(second.get("/too-many"))
        gate.release(1)
        assert first.receive().status == 200
    server.wait_out(r"GET /too-many HTTP/1\.1. 503")


@pytest.mark.parametrize("app", APPS)
def test_waiting_requests_are_served_before_the_end(serve: Serve, gate: Gate, app: str) -> None:
    """A server that is told to stop answers those that wait too."""
    server = serve(app, "--threads=1", "--workers=1", "--limit-concurrency=3")
    with ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(3)]
        for client in clients:
            client.send(head(f"/hold/{gate.port}"))
        gate.arrive(1)
        late = stack.enter_context(server.connect())
        late.send(head("/") * 3)
        wait_until(lambda: is_readable(late), 10)
        server.process.terminate()
        server.wait_log("(?i)stop|shut")
        if app.endswith(":asgi"):
            gate.arrive(2)
            gate.release(3)
        else:
            gate.release(1)
            for _ in range(2):
                gate.arrive(1)
                gate.release(1)
        assert [client.receive().status for client in clients] == [200] * 3
    assert server.wait() == 0


def open_up_to(server: Server, stack: ExitStack, limit: int) -> list[Client]:
    """So many connections, of which all are served."""
    clients = [stack.enter_context(server.connect()) for _ in range(limit)]
    assert [client.get("/").status for client in clients] == [200] * limit
    return clients


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize(
    "arguments",
    [["--limit-connections=4"], ["--limit-connections-per-address=4", NOBODY_TRUSTED]],
)
def test_connections_are_limited(serve: Serve, app: str, arguments: list[str]) -> None:
    """One too many is told 503 and closed; when one has gone there is room for another."""
    server = serve(app, "--threads=4", "--workers=2", "--keep-alive=30", *arguments)
    with ExitStack() as stack:
        clients = open_up_to(server, stack, 4)
        for _ in range(3):
            with server.connect() as late:
                late.send(head("/"))
                assert is_refusal(late.receive())
                late.wait_closed()
        clients.pop().close()

        def has_room() -> bool:
            with server.connect() as client:
                return client.get("/").status == 200

        wait_until(has_room, 10)
        assert [client.get("/").status for client in clients] == [200] * 3


@pytest.mark.parametrize("app", APPS)
def test_a_flood_of_connections_is_cut_off(serve: Serve, app: str) -> None:
    """Refused ones that do not leave cost no more than a bounded number of descriptors."""
    server = serve(app, "--limit-connections=2", "--keep-alive=30")
    with ExitStack() as stack:
        clients = open_up_to(server, stack, 2)
        for _ in range(300):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 10))
        assert clients[0].get("/").status == 200
        assert clients[1].get("/").status == 200


@pytest.mark.parametrize("app", APPS)
def test_a_proxy_is_not_limited(serve: Serve, app: str) -> None:
    """A trusted proxy has the connections of many clients; this machine is trusted by default."""
    server = serve(app, "--limit-connections-per-address=2")
    with ExitStack() as stack:
        open_up_to(server, stack, 8)


@pytest.mark.parametrize("app", APPS)
def test_clients_that_a_load_balancer_names_are_limited(serve: Serve, app: str) -> None:
    """With the PROXY protocol the connection is the client's, and an IPv6 client has a /64."""
    server = serve(app, "--limit-connections-per-address=2", "--proxy-protocol=required")
    lines = {
        b"PROXY TCP4 203.0.113.9 192.0.2.1 51234 443\r\n": [200, 200, 503],
        b"PROXY TCP4 203.0.113.10 192.0.2.1 51234 443\r\n": [200, 200, 503],
        b"PROXY TCP6 2001:db8::1 2001:db8::2 51234 443\r\n": [200],
        b"PROXY TCP6 2001:db8::ffff 2001:db8::2 51234 443\r\n": [200, 503],
        b"PROXY TCP6 2001:db8:0:1::1 2001:db8::2 51234 443\r\n": [200, 200, 503],
        b"PROXY UNKNOWN\r\n": [200, 200, 200],
    }
    with ExitStack() as stack:
        for line, expected in lines.items():
            got = []
            for _ in expected:
                client = stack.enter_context(server.connect())
                client.send(line + head("/"))
                got.append(client.receive().status)
            assert got == expected, line


def test_websockets_count_as_connections_and_not_as_requests(serve: Serve) -> None:
    """An open WebSocket leaves the application free for requests, and its place free at its end."""
    server = serve(
        APPS[1], "--workers=1", "--limit-concurrency=1", "--limit-connections=2", "--keep-alive=30"
    )
    address = ("127.0.0.1", server.port)
    with RawWebSocket(address) as first:
        first.open("/")
        with server.connect() as client:
            assert client.get("/").status == 200
            with server.connect() as late:
                assert is_refusal(late.get("/"))
            first.leave()

            def has_room() -> bool:
                with server.connect() as next_one:
                    return next_one.get("/").status == 200

            wait_until(has_room, 10)
