"""WebSockets on streams of HTTP/2 (RFC 8441)."""

import socket
from collections.abc import Iterator

import pytest

from tests.support.http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    RST_STREAM,
    Answer,
    Http2Client,
    frame,
    headers,
    settings_of,
)
from tests.support.server import Server

PROTOCOL_ERROR = 1


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One for all."""
    with Server("tests.apps.http2_asgi:app", "--workers", "1") as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Http2Client]:
    """A connection."""
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    with Http2Client(sock) as connected:
        yield connected


def connect(
    client: Http2Client, number: int, path: str = "/", *more: tuple[str, str], **changed: str
) -> Answer:
    """Ask for a WebSocket; what is answered."""
    told = {"method": "CONNECT", "protocol": "websocket", "scheme": "http", "path": path}
    told |= {"authority": "h"} | changed
    fields = [(f":{name}", value) for name, value in told.items() if value]
    client.answers[number] = answer = Answer()
    fields += [("sec-websocket-version", "13"), *more]
    client.send(headers(number, fields, END_HEADERS))
    client.receive(lambda: answer.heads or answer.over)
    return answer


def masked(opcode: int, payload: bytes) -> bytes:
    """A frame of WebSocket as clients send it, masked with zeros."""
    size = len(payload)
    head = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2)
    return bytes((0x80 | opcode,)) + head + bytes(4) + payload


def test_messages(client: Http2Client) -> None:
    """Announced in SETTINGS, opened by extended CONNECT, and echoed; requests go on beside it."""
    client.receive(lambda: 8 in settings_of(client.frames))
    assert settings_of(client.frames)[8] == 1
    answer = connect(client, 1, "/", ("sec-websocket-protocol", "chat, other"))
    assert answer.status == 200
    assert answer.fields["sec-websocket-protocol"] == "chat"
    assert "sec-websocket-accept" not in answer.fields
    client._next = 3
    client.send(frame(DATA, 0, 1, masked(1, b"hi") + masked(2, b"\x01\x02")[:3]))
    client.send(frame(DATA, 0, 1, masked(2, b"\x01\x02")[3:]))
    client.receive(lambda: len(answer.body) >= 8)
    assert answer.body == b"\x81\x02hi\x82\x02\x01\x02"
    assert client.get("/").body == b"hello\n"
    client.send(frame(DATA, 0, 1, masked(8, (1000).to_bytes(2))))
    client.receive(lambda: answer.over)
    assert answer.body.endswith(b"\x88\x02\x03\xe8")


def test_large_messages(client: Http2Client) -> None:
    """More than the windows hold, both ways."""
    answer = connect(client, 1)
    for _ in range(20):
        before = len(answer.body)
        client.send(frame(DATA, 0, 1, masked(2, b"m" * 15000)))
        client.receive(lambda before=before: len(answer.body) - before >= 15004)  # type: ignore[misc]
    assert answer.body.count(b"m") == 300_000


def test_refused_by_the_application(client: Http2Client) -> None:
    """An ordinary response."""
    answer = connect(client, 1, "/refuse")
    client.receive(lambda: answer.over)
    assert answer.status == 403


def test_reset_by_the_client(client: Http2Client) -> None:
    """The application is told, and the connection serves on."""
    connect(client, 1)
    client.send(frame(RST_STREAM, 0, 1, (8).to_bytes(4)))
    client._next = 3
    assert client.get("/").status == 200


def test_end_without_closing_handshake(client: Http2Client) -> None:
    """END_STREAM is what the end of a TCP connection is elsewhere."""
    answer = connect(client, 1)
    client.send(frame(DATA, END_STREAM, 1))
    client.receive(lambda: answer.over)
    client._next = 3
    assert client.get("/").status == 200


def test_wrong_requests(client: Http2Client) -> None:
    """Malformed ones are reset, unknown versions answered."""
    assert connect(client, 1, "").reset == PROTOCOL_ERROR
    assert connect(client, 3, "/", method="GET").reset == PROTOCOL_ERROR
    assert connect(client, 5, "/", protocol="other").status == 501
    client.answers[7] = answer = Answer()
    fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http")]
    fields += [(":path", "/"), (":authority", "h"), ("sec-websocket-version", "7")]
    client.send(headers(7, fields, END_HEADERS))
    client.receive(lambda: answer.heads)
    assert (answer.status, answer.fields["sec-websocket-version"]) == (426, "13")


def test_not_for_wsgi() -> None:
    """Where nobody could take it up it is not announced."""
    with Server("tests.apps.http2_app:app", "--workers", "1") as running:
        sock = socket.create_connection(("127.0.0.1", running.port), timeout=10)
        with Http2Client(sock) as client:
            assert connect(client, 1).reset == PROTOCOL_ERROR
            assert 8 not in settings_of(client.frames)


def test_server_that_stops() -> None:
    """An open WebSocket is told 1001, as over HTTP/1."""
    with Server("tests.apps.http2_asgi:app", "--workers", "1") as running:
        sock = socket.create_connection(("127.0.0.1", running.port), timeout=10)
        with Http2Client(sock) as client:
            answer = connect(client, 1)
            running.process.terminate()
            client.receive(lambda: b"\x88\x02\x03\xe9" in answer.body)
            client.send(frame(DATA, END_STREAM, 1, masked(8, (1001).to_bytes(2))))
            assert client.goaway() == 0


def test_messages_before_the_answer(client: Http2Client) -> None:
    """They are not lost, nor is the end."""
    client.answers[1] = answer = Answer()
    fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http")]
    fields += [(":path", "/"), (":authority", "h"), ("sec-websocket-version", "13")]
    both = masked(1, b"hi"), masked(1, b"there")
    early = b"".join(frame(DATA, 0, 1, message) for message in both)
    client.send(headers(1, fields, END_HEADERS) + early)
    client.receive(lambda: len(answer.body) >= 11)
    assert answer.status == 200
    assert answer.body == b"\x81\x02hi\x81\x05there"
    client.answers[3] = answer = Answer()
    client.send(headers(3, fields, END_HEADERS | END_STREAM))
    client.receive(lambda: answer.over)
