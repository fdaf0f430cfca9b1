"""The corpus of frames and handshakes, on the protocol objects, in every kind of pieces."""

import random

import pytest

from nogilserve.errors import ProtocolError
from nogilserve.messages import Limits
from nogilserve.protocols.http1 import Http1Connection
from nogilserve.protocols.websocket import Closed, Handshake, wants_websocket
from tests.corpus.websockets import (
    MAX_SIZE,
    FrameCase,
    HandshakeCase,
    load_frames,
    load_handshakes,
)
from tests.protocols.websocket.peer import close_sent, cut, opened, replay


def outcome(case: FrameCase, pieces: list[bytes]) -> tuple[list[str | bytes], int | None]:
    """The messages, and the code of the Close frame that was sent."""
    connection = opened(MAX_SIZE, "permessage-deflate" if case.deflate else "")
    got, sent = replay(connection, pieces)
    messages = [message for message in got if not isinstance(message, Closed)]
    return messages, close_sent(sent) if connection.closed is not None else None


@pytest.mark.parametrize("case", load_frames(), ids=lambda case: case.name)
def test_frames(case: FrameCase) -> None:
    """The outcome is the one that the corpus says, however the bytes are cut."""
    expected = (case.messages, case.close)
    assert outcome(case, [case.sent]) == expected, case.why
    chance = random.Random(case.name)
    for _ in range(4):
        places = [chance.randrange(len(case.sent) + 1) for _ in range(chance.randrange(1, 8))]
        assert outcome(case, cut(case.sent, places)) == expected, f"cut at {places}"
    if len(case.sent) < 2000:
        bytewise = [case.sent[at : at + 1] for at in range(len(case.sent))]
        assert outcome(case, bytewise) == expected


@pytest.mark.parametrize("case", load_handshakes(), ids=lambda case: case.name)
def test_handshakes(case: HandshakeCase) -> None:
    """Accepted, refused with the status of the corpus, or no handshake at all."""
    connection = Http1Connection(Limits())
    connection.receive_data(case.sent)
    status = 101
    try:
        request = connection.next_request()
        assert request is not None
        if wants_websocket(request):
            Handshake(request)
        else:
            status = 404
    except ProtocolError as error:
        status = error.status
    assert status == case.status, case.why
