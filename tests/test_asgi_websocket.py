"""WebSockets through ASGI, served for real: handshakes, closing, mistakes, floods, other loops."""

import contextlib
import itertools
import json
import random
import zlib
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.apps.asgi_served import LOOPS, TORTURE, AsgiServed
from tests.apps.asgi_torture_ws import WRONG
from tests.apps.raw_client import SECONDS, Incomplete, request
from tests.apps.raw_websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawWebSocket,
    frame,
)
from tests.support.waiting import Deadline, wait_until

MIB = 1 << 20


@pytest.fixture(scope="module", params=LOOPS)
def server(request: pytest.FixtureRequest) -> Iterator[AsgiServed]:
    """One server for all tests here: whatever they do to it, it must outlive them."""
    arguments = ("--loops", "2", "--loop", request.param, "--ws-max-size", "1048576")
    with AsgiServed(TORTURE, *arguments) as running:
        yield running


@pytest.fixture(autouse=True)
def still_serving(server: AsgiServed) -> Iterator[None]:
    """After every test both loops answer others, over HTTP and WebSocket."""
    yield
    for _ in range(2):
        with server.websocket() as other:
            other.open("/ws/echo")
            assert other.ask("still there") == "still there"
            assert other.leave() == 1000


@pytest.fixture
def client(server: AsgiServed) -> Iterator[RawWebSocket]:
    """A connection that has not asked for the upgrade yet."""
    with server.websocket() as connection:
        yield connection


@pytest.fixture
def key() -> str:
    """A name that no other test uses."""
    return f"key-{random.random()}"


@pytest.mark.parametrize("data", ["", "text", "\u2603 \U0001f600", b"", b"\x00\xff", "x" * 200_000])
def test_echo(client: RawWebSocket, data: str | bytes) -> None:
    """Text and bytes go there and back as what they were."""
    client.open("/ws/echo")
    for _ in range(3):
        assert client.ask(data) == data
    assert client.leave() == 1000


def test_scope(client: RawWebSocket) -> None:
    """The scope of a WebSocket."""
    client.open("/ws/scope/a%20b?q=1", "Sec-WebSocket-Protocol: one, two\r\nOrigin: http://a\r\n")
    scope = client.document()
    assert scope["type"] == "websocket"
    assert scope["scheme"] == "ws"
    assert scope["http_version"] == "1.1"
    assert (scope["path"], scope["query_string"]) == ("/ws/scope/a b", "q=1")
    assert scope["subprotocols"] == ["one", "two"]
    assert ["origin", "http://a"] in scope["headers"]
    assert "method" not in scope
    assert scope["state"]["answer"] == 42
    assert "websocket.http.response" in scope["extensions"]
    assert client.expect_close().code == 1000


def test_message_right_behind_the_handshake(client: RawWebSocket) -> None:
    """Bytes that come with the upgrade are the first frames."""
    client.open("/ws/echo", early=frame(TEXT, b"early") + frame(TEXT, b"bird"))
    assert client.message() == "early"
    assert client.message() == "bird"
    client.leave()


def test_request_before_the_upgrade(client: RawWebSocket) -> None:
    """A connection may have carried ordinary requests before."""
    assert client.get("/hello").body == b"hello\n"
    client.open("/ws/echo")
    assert client.ask("after http") == "after http"
    client.leave()


def test_accept_with_subprotocol_and_headers(client: RawWebSocket) -> None:
    """What the application accepts with stands in the 101."""
    answer = client.open("/ws/accept-with?subprotocol=b", "Sec-WebSocket-Protocol: a, b\r\n")
    assert answer.header("sec-websocket-protocol") == "b"
    assert answer.header("x-accepted") == "yes"
    assert answer.header("set-cookie") == "a=1"
    assert client.message() == "accepted"
    assert client.expect_close().code == 1000


def test_no_subprotocol(client: RawWebSocket) -> None:
    """None is chosen unless the application does it."""
    answer = client.open("/ws/accept-with", "Sec-WebSocket-Protocol: a, b\r\n")
    assert answer.header("sec-websocket-protocol") is None
    client.expect_close()


def test_denied(client: RawWebSocket) -> None:
    """A close instead of an accept is 403."""
    client.upgrade("/ws/deny")
    assert client.answer.status == 403


def test_denied_with_a_response(client: RawWebSocket) -> None:
    """A response of the application's own: websocket.http.response."""
    client.send(b"")
    answer = client.upgrade("/ws/deny-with?status=451")
    assert answer.status == 451
    assert answer.header("x-denied") == "yes"
    if answer.header("content-length"):
        assert client.take(7) == b"go away"
    else:
        assert b"".join(iter(client.chunk, b"")) == b"go away"


@pytest.mark.parametrize("route", ["raise-before", "return-before"])
def test_failure_before_accept(server: AsgiServed, client: RawWebSocket, route: str) -> None:
    """An application that raises or leaves before it decides: 500 or 403, never a hang."""
    status = client.upgrade(f"/ws/{route}?mark=mark-{route}").status
    assert status in ((500,) if route == "raise-before" else (403, 500))
    if route == "raise-before":
        server.wait_log(f"torture: before accept mark-{route}")


def test_raise_after_accept(server: AsgiServed, client: RawWebSocket) -> None:
    """An exception closes with 1011 and is logged with its request."""
    client.open("/ws/raise-after?mark=find-me-5678")
    assert client.expect_close().code == 1011
    server.wait_log("torture: after accept find-me-5678")
    assert "/ws/raise-after" in server.log


def test_return_after_accept(client: RawWebSocket) -> None:
    """An application that returns without closing: 1000, after what it had sent."""
    client.open("/ws/return-after")
    assert client.message() == "bye"
    assert client.expect_close().code == 1000


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4999])
def test_close_codes(server: AsgiServed, client: RawWebSocket, key: str, code: int) -> None:
    """Code and reason of the application are sent; receive() then tells of the disconnect."""
    client.open(f"/ws/close?code={code}&reason=caf%C3%A9&key={key}")
    got = client.expect_close()
    assert got.code == code
    assert got.payload[2:] in ("caf\u00e9".encode(), "caf\u00c3\u00a9".encode())
    wait_until(lambda: server.count(f"websocket.disconnect {key}") == 1, SECONDS)


def test_close_without_a_code(client: RawWebSocket) -> None:
    """The default is 1000."""
    client.open("/ws/close")
    assert client.expect_close().code == 1000


def test_close_that_is_not_answered(client: RawWebSocket) -> None:
    """A client that does not answer a Close is not waited for indefinitely."""
    client.open("/ws/close")
    assert client.expect_close(answer=False).code == 1000


@pytest.mark.parametrize(
    ("code", "told"), [(1000, "1000"), (1001, "1001"), (4321, "4321"), (None, "1005")]
)
def test_client_closes(
    server: AsgiServed, client: RawWebSocket, key: str, code: int | None, told: str
) -> None:
    """The application is told the client's code; the Close comes back with it."""
    client.open(f"/ws/echo?key={key}")
    client.ask("hello")
    assert client.leave(code, "bye" if code else "") == (code or 1005)
    reason = " bye" if code else ""
    wait_until(lambda: server.count(f"closed {key} {told}{reason}") == 1, SECONDS)


@pytest.mark.parametrize("how", ["close", "reset", "half"])
def test_client_vanishes(server: AsgiServed, client: RawWebSocket, key: str, how: str) -> None:
    """Without a Close frame the application is told 1006, and promptly."""
    client.open(f"/ws/echo?key={key}")
    client.ask("hello")
    if how == "half":
        client.half_close()
    elif how == "reset":
        client.reset()
    else:
        client.close()
    wait_until(lambda: server.count(f"closed {key} 1006") == 1, 2)


def test_send_after_close(server: AsgiServed, client: RawWebSocket, key: str) -> None:
    """A message behind the close never gets out."""
    client.open(f"/ws/send-after-close?key={key}")
    assert client.expect_close().code == 4000
    wait_until(lambda: server.count(f"raised {key}") + server.count(f"ignored {key}"), SECONDS)


def test_send_after_the_client_left(server: AsgiServed, client: RawWebSocket, key: str) -> None:
    """It raises an OSError, as the specification asks since 2.4."""
    client.open(f"/ws/send-after-leave?key={key}")
    client.leave()
    wait_until(lambda: server.count(f"raised {key}") == 1, SECONDS)


def test_receive_after_disconnect(server: AsgiServed, client: RawWebSocket, key: str) -> None:
    """It tells again or raises; it does not wait for what cannot come."""
    client.open(f"/ws/after-disconnect?key={key}")
    client.leave()
    wait_until(lambda: server.count(f"raised {key}") + server.count(f"again {key}"), SECONDS)
    assert server.count(f"hangs {key}") == 0


@pytest.mark.parametrize("case", sorted(WRONG))
def test_wrong_messages(client: RawWebSocket, case: str) -> None:
    """What no server may take ends the connection with 1011, or the handshake with 500."""
    answer = client.upgrade(f"/ws/wrong?case={case}")
    assert answer.header("x-split") is None
    if answer.status == 101:
        assert client.expect_close().code == 1011
    else:
        assert answer.status == 500


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"\xff\xfe"), 1007),
        (frame(TEXT, b"\xe2\x98", fin=False) + frame(CONTINUATION, b"\x20"), 1007),
        (frame(CONTINUATION, b"x"), 1002),
        (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
        (frame(TEXT, b"a", rsv=4), 1002),
        (frame(0x3, b"a"), 1002),
        (frame(PING, b"p" * 126), 1002),
        (frame(PING, b"p", fin=False), 1002),
        (frame(CLOSE, b"\x03"), 1002),
        (frame(CLOSE, (1005).to_bytes(2)), 1002),
        (frame(CLOSE, (1000).to_bytes(2) + b"\xff"), 1007),
        (frame(BINARY, b"b" * (MIB + 1)), 1009),
        (b"".join([frame(BINARY, b"b" * 65536, fin=False)] * 1) + frame(0, b"b" * MIB), 1009),
        (b"\x81\x05hello", 1002),
    ],
    ids=map(str, itertools.count()),  # the masks, and so the frames, are different each time
)
def test_breaches_of_the_protocol(client: RawWebSocket, data: bytes, code: int) -> None:
    """Each is answered with the code that RFC 6455 has for it."""
    client.open("/ws/echo")
    client.send_quietly(data)
    assert client.expect_close().code == code


def test_fragments_and_control_frames_between(client: RawWebSocket) -> None:
    """A message in pieces, with a ping in the middle that is answered at once."""
    client.open("/ws/echo")
    client.send(frame(TEXT, b"one,", fin=False))
    client.send(frame(PING, b"in between"))
    got = client.frame()
    assert (got.opcode, got.payload) == (PONG, b"in between")
    client.send(frame(CONTINUATION, b"", fin=False) + frame(CONTINUATION, b"two"))
    assert client.message() == "one,two"
    client.leave()


def test_largest_message(client: RawWebSocket) -> None:
    """Exactly --ws-max-size is allowed."""
    client.open("/ws/echo")
    assert client.ask(b"m" * MIB) == b"m" * MIB
    client.leave()


@pytest.mark.parametrize(
    ("extra", "status"),
    [("Sec-WebSocket-Version: 12", 426), ("Sec-WebSocket-Key: short", 400)],
)
def test_refused_handshakes(server: AsgiServed, extra: str, status: int) -> None:
    """A wrong version is told which one there is; a wrong key is a bad request."""
    name = extra.split(":")[0]
    fields = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    lines = [f"{key}: {value}" for key, value in fields.items() if key != name]
    with server.raw() as client:
        client.send(request("/ws/echo", "\r\n".join([*lines, extra, ""])))
        answer = client.response()
    assert answer.status == status
    if status == 426:
        assert answer.header("sec-websocket-version") == "13"


def test_messages_come_in_order(client: RawWebSocket) -> None:
    """Ten thousand numbered messages, none lost, none twice."""
    client.open("/ws/count?n=10000")
    assert [int(client.message()) for _ in range(10_000)] == list(range(10_000))
    assert client.expect_close().code == 1000


def test_many_messages_at_once(client: RawWebSocket) -> None:
    """A thousand messages in one packet are echoed in order."""
    client.open("/ws/echo")
    client.send(b"".join(frame(TEXT, b"%d" % number) for number in range(1000)))
    assert [client.message() for _ in range(1000)] == [str(number) for number in range(1000)]
    client.leave()


def test_huge_message(client: RawWebSocket) -> None:
    """What the server sends has no limit."""
    client.open("/ws/huge?n=30000000")
    assert len(client.message()) == 30_000_000
    client.expect_close()


def test_slow_reader(server: AsgiServed, key: str) -> None:
    """send() waits for a client that does not read; memory stays flat, others go on."""
    with server.websocket(4096) as slow, server.raw() as other:
        other.get("/hello")
        before = server.memory()
        slow.open(f"/ws/flood?key={key}")
        taken, moment = -1, Deadline(0.3)
        while moment.left or taken != server.count(f"messages {key}"):
            if not moment.left:
                taken, moment = server.count(f"messages {key}"), Deadline(0.3)
            assert other.get("/hello").body == b"hello\n"
        assert taken * 65536 < 16 * MIB
        assert server.memory() - before < 32 * MIB
        for _ in range(400):
            assert len(slow.message()) == 65536
    wait_until(lambda: server.count(f"stopped {key}") == 1, SECONDS)
    assert server.count(f"raised {key}") == 1


def test_application_that_does_not_receive(server: AsgiServed, key: str) -> None:
    """The client has to wait; nothing is lost, and memory stays flat."""
    total = 64
    with server.websocket() as client, server.raw() as other:
        other.get("/hello")
        before = server.memory()
        client.open(f"/ws/reluctant?key={key}")
        data = memoryview(frame(BINARY, b"r" * MIB) * total)
        sent = 0
        client.sock.settimeout(0.5)
        try:
            while sent < len(data):
                sent += client.sock.send(data[sent : sent + MIB])
        except TimeoutError:
            pass
        assert sent < 32 * MIB
        assert server.memory() - before < 40 * MIB
        assert other.get(f"/release?key={key}").status == 200
        client.sock.settimeout(SECONDS)
        client.sock.sendall(data[sent:])
        assert client.ask("end") == str(total * MIB)
        client.leave()


def test_contexts_are_apart(server: AsgiServed) -> None:
    """No connection sees what another has left in a context variable."""
    for _ in range(4):
        with server.websocket() as client:
            client.open("/ws/context")
            left, _ = str(client.message()).split("|")
            assert left == ""
            client.expect_close()


def test_plain_get_where_a_websocket_is_expected(server: AsgiServed) -> None:
    """Without an Upgrade it is an ordinary request."""
    with server.raw() as client:
        assert client.get("/ws/echo").status == 404


def test_deflate(client: RawWebSocket) -> None:
    """permessage-deflate is offered and used, and messages survive it."""
    answer = client.open("/ws/echo", "Sec-WebSocket-Extensions: permessage-deflate\r\n")
    assert "permessage-deflate" in (answer.header("sec-websocket-extensions") or "")
    text = b"compress me, " * 1000
    squeezed = zlib.compressobj(wbits=-15)
    data = squeezed.compress(text) + squeezed.flush(zlib.Z_SYNC_FLUSH)
    client.send(frame(TEXT, data[:-4], rsv=4))
    got = client.frame()
    assert got.first & 0x40
    assert zlib.decompressobj(wbits=-15).decompress(got.payload + b"\0\0\xff\xff") == text
    client.leave()


def test_send_from_any_loop(server: AsgiServed) -> None:
    """Members of a room live on different loops; each hears everybody, in the order they spoke."""
    with ExitStack() as stack:
        members = [stack.enter_context(server.websocket()) for _ in range(8)]
        for member in members:
            member.open("/ws/room")
        assert len({member.message() for member in members}) == 2
        for turn in range(20):
            for number, member in enumerate(members):
                member.say(json.dumps([number, turn]))
        for member in members:
            heard = [json.loads(member.message()) for _ in range(8 * 20)]
            for number in range(8):
                assert [turn for who, turn in heard if who == number] == list(range(20))
        for member in members:
            assert member.leave() == 1000


def test_keep_alive_pings() -> None:
    """An idle client is pinged; one that answers stays, one that does not is dropped."""
    arguments = ("--ws-ping-interval", "0.3", "--ws-ping-timeout", "0.5")
    with AsgiServed(TORTURE, "--loops", "1", *arguments) as server:
        with server.websocket() as client:
            client.open("/ws/echo")
            for _ in range(3):
                got = client.frame()
                assert got.opcode == PING
                client.send(frame(PONG, got.payload))
            assert client.frame().opcode == PING
            client.sock.settimeout(5)
            with contextlib.suppress(Incomplete, ConnectionResetError):
                while True:  # a TimeoutError if it is not dropped
                    client.frame()


def test_shutdown_closes_with_1012_or_1001() -> None:
    """SIGTERM: every open WebSocket gets a Close frame with a code that says why."""
    with AsgiServed(TORTURE, "--loops", "2", "--graceful-timeout", "5") as server:
        with ExitStack() as stack:
            clients = [stack.enter_context(server.websocket()) for _ in range(10)]
            for client in clients:
                client.open("/ws/echo")
                client.ask("hello")
            server.process.terminate()
            for client in clients:
                assert client.expect_close().code in (1001, 1012)
        assert server.wait() == 0
