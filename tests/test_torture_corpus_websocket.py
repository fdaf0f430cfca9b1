"""The WebSocket corpus, sent to a running server over real sockets, on either event loop."""

import random
from collections.abc import Iterator

import pytest

from tests.apps.asgi_served import LOOPS, TORTURE, AsgiServed
from tests.apps.raw_websocket import BINARY, CLOSE, PONG, TEXT, Frame
from tests.corpus.websockets import (
    MAX_SIZE,
    FrameCase,
    HandshakeCase,
    load_frames,
    load_handshakes,
)


@pytest.fixture(scope="module", params=LOOPS)
def server(request: pytest.FixtureRequest) -> Iterator[AsgiServed]:
    """One server gets everything; it must neither die nor log a traceback."""
    arguments = [f"--loop={request.param}", f"--ws-max-size={MAX_SIZE}", "--threads=2"]
    with AsgiServed(TORTURE, *arguments) as running:
        yield running
    assert "Traceback" not in running.log


def compare(message: str | bytes, got: Frame) -> None:
    """The echo of a message; what compressed ones hold is the task of the protocol's own tests."""
    data = message.encode() if isinstance(message, str) else message
    assert got.opcode == (TEXT if isinstance(message, str) else BINARY)
    assert got.payload == data or got.first & 0x40


def converse(server: AsgiServed, case: FrameCase, pieces: list[bytes]) -> None:
    """Send; compare what is echoed, and how it ends."""
    extra = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n"
    with server.websocket() as client:
        client.open("/ws/echo", extra if case.deflate else "")
        for piece in pieces:
            client.send_quietly(piece)
        echoed = 0
        while case.close is not None or echoed < len(case.messages):
            got = client.frame()
            if got.opcode == CLOSE:
                # Of what came together with a mistake not everything need have been echoed.
                assert got.code == case.close, case.why
                return
            if got.opcode != PONG:
                compare(case.messages[echoed], got)
                echoed += 1
        assert client.leave(1000) == 1000, case.why


@pytest.mark.parametrize("case", load_frames(), ids=lambda case: case.name)
def test_frames(server: AsgiServed, case: FrameCase) -> None:
    """Messages come back as they are, a mistake closes with its code; whole and cut once."""
    converse(server, case, [case.sent])
    place = random.Random(case.name).randrange(len(case.sent))
    converse(server, case, [case.sent[:place], case.sent[place:]])


@pytest.mark.parametrize("case", load_handshakes(), ids=lambda case: case.name)
def test_handshakes(server: AsgiServed, case: HandshakeCase) -> None:
    """The status is the one of the corpus."""
    with server.websocket() as client:
        client.send(case.sent)
        answer = client.head()
        assert answer.status == case.status, case.why
        if case.status == 426:
            assert answer.header("sec-websocket-version") == "13"
