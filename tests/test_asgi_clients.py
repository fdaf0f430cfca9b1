"""Clients that leave, dawdle or say nothing: what an ASGI application is told, and when."""

import random
import time
from collections.abc import Iterator

import pytest

from tests.apps.asgi_served import LOOPS, TORTURE, AsgiServed
from tests.apps.raw_client import SECONDS, RawClient, request
from tests.support.waiting import Deadline, wait_until

PROMPTLY = 1.0
MIB = 1 << 20


@pytest.fixture(scope="module", params=LOOPS)
def server(request: pytest.FixtureRequest) -> Iterator[AsgiServed]:
    """One server with short deadlines for all tests here."""
    arguments = ("--keep-alive", "1", "--header-timeout", "2", "--body-timeout", "2")
    with AsgiServed(TORTURE, "--loops", "2", "--loop", request.param, *arguments) as running:
        yield running
    assert "Traceback" not in running.log


@pytest.fixture
def key() -> str:
    """A name that no other test uses."""
    return f"key-{random.random()}"


def leave(client: RawClient, how: str) -> None:
    """End the connection with a FIN or a reset."""
    if how == "reset":
        client.reset()
    else:
        client.close()


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_waiting_receive_is_told(server: AsgiServed, key: str, how: str, method: str) -> None:
    """A receive() that waits gets http.disconnect as soon as the client is gone."""
    with server.raw() as client:
        extra = "Content-Length: 3\r\n" if method == "POST" else ""
        client.send(request(f"/wait-disconnect?key={key}&send=1", extra, method))
        client.send(b"abc" if method == "POST" else b"")
        wait_until(lambda: server.count(f"entered {key}") == 1, SECONDS)
        leave(client, how)
    wait_until(lambda: server.count(f"disconnect {key}") == 1, PROMPTLY)
    wait_until(
        lambda: server.count(f"raised OSError {key}") + server.count(f"ignored {key}") == 1, SECONDS
    )


@pytest.mark.parametrize("how", ["close", "reset"])
def test_stream_of_events_ends(server: AsgiServed, key: str, how: str) -> None:
    """An application that streams and listens beside that is told within a second."""
    with server.raw() as client:
        client.send(request(f"/events?key={key}"))
        assert client.chunk_of_response() == b"event\n"
        leave(client, how)
    wait_until(lambda: server.count(f"stopped {key}") == 1, PROMPTLY)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_send_raises(server: AsgiServed, key: str, how: str) -> None:
    """An application that only sends gets an OSError instead of sending into the void for ever."""
    with server.raw() as client:
        client.send(request(f"/flood?key={key}&piece=1000"))
        client.chunk_of_response()
        leave(client, how)
    wait_until(lambda: server.count(f"stopped {key}") == 1, SECONDS)
    assert server.count(f"raised True {key}") == 1


@pytest.mark.parametrize("coding", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_body_that_breaks_off(server: AsgiServed, key: str, coding: str) -> None:
    """A body cut off is http.disconnect, never an end that looks complete."""
    with server.raw() as client:
        client.send(request(f"/upload?key={key}", coding + "\r\n", "POST") + b"3\r\nabc\r\n")
        wait_until(lambda: server.count(f"entered {key}") == 1, SECONDS)
    wait_until(lambda: server.count(f"disconnect {key}") == 1, PROMPTLY)
    assert server.count(f"complete {key}") == 0


def test_body_that_stands_still(server: AsgiServed, key: str) -> None:
    """After --body-timeout without a byte the application is told, and the connection ends."""
    with server.raw() as client:
        client.send(request(f"/upload?key={key}", "Content-Length: 10\r\n", "POST") + b"abc")
        wait_until(lambda: server.count(f"disconnect {key}") == 1, SECONDS)
        client.rest()


def test_half_closed_client_gets_its_answer(server: AsgiServed) -> None:
    """A client that has said all it wants to say still listens (RFC 9112 §9.6)."""
    with server.raw() as client:
        client.send(request("/sleep?ms=50"))
        client.half_close()
        assert client.response().body == b"slept\n"
        assert client.rest() == b""


def test_slow_reader_holds_its_own_request_only(server: AsgiServed, key: str) -> None:
    """send() waits at the high-water mark: memory stays flat, others go on."""
    with server.raw(receive_buffer=4096) as slow, server.raw() as other:
        other.get("/hello")
        before = server.memory()
        slow.send(request(f"/flood?key={key}"))
        slow.final_head()
        taken = -1
        moment = Deadline(0.2)
        while moment.left or taken != server.count(f"pieces {key}"):
            if not moment.left:
                taken, moment = server.count(f"pieces {key}"), Deadline(0.3)
            assert other.get("/hello").body == b"hello\n"
        assert taken * 65536 < 16 * MIB
        assert server.memory() - before < 32 * MIB
        for _ in range(400):
            assert slow.chunk() == b"f" * 65536
        assert server.count(f"pieces {key}") > taken
    wait_until(lambda: server.count(f"stopped {key}") == 1, SECONDS)


def test_upload_waits_for_the_application(server: AsgiServed, key: str) -> None:
    """What the application does not receive, the server does not read: the client has to wait."""
    size = 64 * MIB
    with server.raw() as client, server.raw() as other:
        other.get("/hello")
        before = server.memory()
        head = f"Content-Length: {size}\r\n"
        client.send(request(f"/upload?key={key}&gate={key}", head, "POST"))
        sent = 0
        client.sock.settimeout(0.5)
        try:
            while sent < size:
                sent += client.sock.send(b"u" * min(MIB, size - sent))
        except TimeoutError:
            pass
        assert sent < 32 * MIB
        assert server.memory() - before < 32 * MIB
        assert other.get(f"/release?key={key}").status == 200
        client.sock.settimeout(SECONDS)
        while sent < size:
            sent += client.sock.send(b"u" * min(MIB, size - sent))
        assert b'"size": %d,' % size in client.response().body


def test_idle_connection_is_closed(server: AsgiServed) -> None:
    """After --keep-alive seconds without a request, not much earlier and not much later."""
    with server.raw() as client:
        client.get("/hello")
        began = time.monotonic()
        assert client.rest() == b""
        assert 0.7 < time.monotonic() - began < 4


def test_silent_connection_is_closed(server: AsgiServed) -> None:
    """One that never says anything, too."""
    with server.raw() as client:
        assert client.rest() == b""


def test_slow_head_is_refused(server: AsgiServed) -> None:
    """Half a head is answered with 408 after --header-timeout."""
    with server.raw() as client:
        client.send(b"GET /hello HTTP/1.1\r\nHost: a\r\nX-A")
        assert client.response().status == 408
        assert client.rest() == b""


def test_long_request_outlives_the_deadlines(server: AsgiServed) -> None:
    """The deadlines are for clients that dawdle, not for applications that take their time."""
    with server.raw() as client:
        assert client.get("/sleep?ms=2500").body == b"slept\n"
        assert client.get("/hello").body == b"hello\n"


def test_nothing_is_left_of_those_who_left(server: AsgiServed, key: str) -> None:
    """A hundred clients that break off leave no descriptor behind."""
    wait_until(lambda: len(server.descriptors()) < 60, SECONDS)
    before = len(server.descriptors())
    for number in range(100):
        with server.raw() as client:
            client.send(request(f"/events?key={key}") if number % 2 else b"POST / HTTP/1.1\r\nHos")
    wait_until(lambda: len(server.descriptors()) <= before, SECONDS)
