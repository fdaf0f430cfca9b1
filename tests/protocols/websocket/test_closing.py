"""The end of a connection, by section of RFC 6455: who may say what, and when."""

import pytest

from nogilserve.errors import ClientDisconnected, ResponseError
from nogilserve.protocols.websocket import CLOSED, CLOSING, OPEN, Closed
from tests.protocols.websocket.peer import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    drain,
    failure,
    fragments,
    frame,
    opened,
    replay,
)

# RFC 6455 §7.4: what may stand in a Close frame, for either side.
LEGAL = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
ILLEGAL = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


class TestClose:
    """RFC 6455 §5.5.1 and §7."""

    @pytest.mark.parametrize("code", LEGAL)
    def test_received(self, code: int) -> None:
        """The peer's code is told to the application and echoed."""
        connection = opened()
        got, sent = replay(connection, [frame(CLOSE, code.to_bytes(2) + "wég".encode())])
        assert got == [Closed(code, "wég")]
        assert sent == frame(CLOSE, code.to_bytes(2), mask=None)
        assert (connection.state, connection.close_code) == (CLOSED, code)
        assert connection.close_reason == "wég"

    def test_received_without_code(self) -> None:
        """No code is 1005, and is echoed as none."""
        assert replay(opened(), [frame(CLOSE)]) == ([Closed(1005, "")], b"\x88\x00")

    @pytest.mark.parametrize("code", ILLEGAL)
    def test_illegal_received(self, code: int) -> None:
        """A code that may not be sent is refused."""
        assert failure(frame(CLOSE, code.to_bytes(2))) == 1002

    def test_malformed_received(self) -> None:
        """Half a code, or a reason that is not UTF-8, is refused."""
        assert failure(frame(CLOSE, b"\x03")) == 1002
        assert failure(frame(CLOSE, b"\x03\xe8\xff")) == 1007
        assert failure(frame(CLOSE, b"\x03\xe8\xe2\x82")) == 1007

    def test_behind_close(self) -> None:
        """What the peer sends behind its Close frame is not read."""
        frames = frame(TEXT, b"a") + frame(CLOSE, b"\x03\xe8") + frame(TEXT, b"b") + frame(PING)
        assert replay(opened(), [frames]) == (["a", Closed(1000, "")], b"\x88\x02\x03\xe8")

    def test_amid_a_message(self) -> None:
        """A message that was cut off by Close is dropped."""
        connection = opened()
        got, _ = replay(connection, [frame(TEXT, b"a", fin=False), frame(CLOSE)])
        assert got == [Closed(1005, "")]
        assert connection.buffered == 0

    @pytest.mark.parametrize("code", LEGAL)
    def test_sent(self, code: int) -> None:
        """Our Close frame, then what the peer sends is dropped until its own comes."""
        connection = opened()
        assert connection.close(code, "x") == b"\x88\x03" + code.to_bytes(2) + b"x"
        assert connection.state == CLOSING
        frames = [frame(TEXT, b"a"), frame(PING, b"b"), *fragments(BINARY, [b"c", b"d"])]
        assert replay(connection, frames) == ([], b"")
        assert connection.buffered == 0
        assert replay(connection, [frame(CLOSE, b"\x03\xe9")]) == ([Closed(1001, "")], b"")
        assert connection.state == CLOSED

    def test_sent_amid_a_message(self) -> None:
        """The rest of a message that had begun is dropped too, and may be of any size."""
        connection = opened(10)
        connection.receive_data(frame(TEXT, b"\xe2", fin=False))
        assert connection.next_message() is None
        connection.close()
        frames = [frame(CONTINUATION, b"\x82\xac"), frame(BINARY, b"a" * 99), frame(CLOSE)]
        assert replay(connection, frames) == ([Closed(1005, "")], b"")

    def test_violation_after_close(self) -> None:
        """A peer that breaks the rules now is told nothing more."""
        connection = opened()
        connection.close()
        got, sent = replay(connection, [frame(3)])
        assert sent == b""
        assert isinstance(got[0], Closed)
        assert got[0].code == 1002

    @pytest.mark.parametrize("code", ILLEGAL)
    def test_illegal_sent(self, code: int) -> None:
        """A code that may not be sent is the application's mistake; nothing has happened then."""
        connection = opened()
        with pytest.raises(ResponseError, match="illegal close code"):
            connection.close(code)
        assert connection.state == OPEN

    def test_illegal_types(self) -> None:
        """So is everything that is not a code or a text."""
        connection = opened()
        for code, reason in (("1000", ""), ([], ""), (1000.0, ""), (1000, b"x"), (1000, "\ud800")):
            with pytest.raises(ResponseError):
                connection.close(code, reason)  # type: ignore[arg-type]
        assert connection.state == OPEN

    def test_long_reason(self) -> None:
        """A reason is cut to what fits, at a character."""
        data = opened().close(1000, "a" + "é" * 100)
        assert data == b"\x88\x7d\x03\xe8a" + "é".encode() * 61
        assert len(opened().close(1000, "a" * 200)) == 127

    def test_end_of_stream(self) -> None:
        """The end without a Close frame is 1006, after all messages that were complete."""
        connection = opened()
        connection.receive_data(frame(TEXT, b"a") + frame(TEXT, b"b")[:-1])
        connection.receive_data(b"")
        assert drain(connection) == ["a", Closed(1006, "")]
        assert connection.data_to_send() == b""
        assert connection.next_message() == Closed(1006, "")

    def test_end_of_stream_while_closing(self) -> None:
        """So it is when the peer does not answer our Close frame."""
        connection = opened()
        connection.close()
        assert replay(connection, [b""])[0] == [Closed(1006, "")]


class TestSend:
    """What may be sent when."""

    def test_after_close(self) -> None:
        """A message after close() is the application's mistake; a second close is none."""
        connection = opened()
        connection.close()
        with pytest.raises(ResponseError):
            connection.send_text("a")
        with pytest.raises(ResponseError):
            connection.send_bytes(b"a")
        assert connection.ping() == b""
        assert connection.close(3000) == b""

    def test_after_the_peer_has_closed(self) -> None:
        """A message to a peer that is gone is nobody's mistake."""
        for ending in (frame(CLOSE), b"", frame(3)):
            connection = opened()
            replay(connection, [ending])
            with pytest.raises(ClientDisconnected):
                connection.send_text("a")
            with pytest.raises(ClientDisconnected):
                connection.send_bytes(b"a")
            assert connection.close() == b""
            assert connection.ping() == b""

    def test_kinds_of_bytes(self) -> None:
        """Everything that is bytes counts by its bytes."""
        connection = opened()
        wide = memoryview(bytes(range(8))).cast("I")
        for data in (bytearray(range(8)), memoryview(bytes(range(8))), wide):
            assert connection.send_bytes(data) == b"\x82\x08" + bytes(range(8))

    @pytest.mark.parametrize("data", ["a", None, 5, ["a"]])
    def test_not_bytes(self, data: object) -> None:
        """Anything else is refused."""
        with pytest.raises(ResponseError):
            opened().send_bytes(data)  # type: ignore[arg-type]

    @pytest.mark.parametrize("data", [b"a", None, 5, "\ud800"])
    def test_not_text(self, data: object) -> None:
        """So is text that is none."""
        with pytest.raises(ResponseError):
            opened().send_text(data)  # type: ignore[arg-type]
