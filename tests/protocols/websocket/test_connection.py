"""An open connection, by section of RFC 6455: frames, fragments, control frames, closing."""

import gc
import sys

import pytest

from nogilserve.errors import ClientDisconnected, ResponseError
from nogilserve.protocols.websocket import CLOSED, CLOSING, OPEN, Closed, WebSocketConnection
from tests.protocols.websocket.peer import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    close_sent,
    drain,
    fragments,
    frame,
    opened,
    replay,
)

LENGTHS = [0, 1, 3, 4, 5, 125, 126, 127, 2047, 2049, 65535, 65536, 65537]


def failure(*frames: bytes, max_size: int = 1 << 20) -> int:
    """The code with which the frames are refused: told to the peer, and to the application."""
    connection = opened(max_size)
    got, sent = replay(connection, frames)
    assert connection.closed is not None
    assert connection.state == CLOSED
    assert got[-1] == connection.closed
    code = close_sent(sent)
    assert code == connection.close_code
    # Nothing behind the faulty bytes is read.
    connection.receive_data(frame(TEXT, b"behind"))
    assert drain(connection) == [connection.closed]
    assert connection.data_to_send() == b""
    return code


class TestFraming:
    """RFC 6455 §5.2 and §5.3."""

    @pytest.mark.parametrize("size", LENGTHS)
    def test_lengths(self, size: int) -> None:
        """Every form of the length, in and out."""
        connection = opened()
        data = bytes(at * 7 & 127 for at in range(size))
        got, sent = replay(connection, [frame(BINARY, data) + frame(TEXT, data)])
        assert got == [data, data.decode()]
        assert [type(message) for message in got] == [bytes, str]
        assert sent == b""
        head = frame(BINARY, data, mask=None)[: -size or None]
        assert connection.send_bytes(data) == head + data
        assert connection.send_text(data.decode()) == b"\x81" + head[1:] + data

    def test_utf8(self) -> None:
        """Text of all planes, in and out."""
        connection = opened()
        text = "aé€😀\x00\u07ff\uffff"
        got, _ = replay(connection, [frame(TEXT, text.encode())])
        assert got == [text]
        assert connection.send_text(text) == frame(TEXT, text.encode(), mask=None)

    @pytest.mark.parametrize("mask", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1", b"\1\0\0\0"])
    @pytest.mark.parametrize("size", [3, 64, 5000])
    def test_masks(self, mask: bytes, size: int) -> None:
        """Odd keys are keys too."""
        data = bytes(at & 255 for at in range(size))
        assert replay(opened(), [frame(BINARY, data, mask=mask)])[0] == [data]

    def test_unmasked(self) -> None:
        """A client's frame without a mask is refused (§5.1)."""
        for size in (0, 5, 200, 70_000):
            assert failure(frame(TEXT, b"a" * size, mask=None)) == 1002
        assert failure(frame(PING, b"", mask=None)) == 1002

    @pytest.mark.parametrize("rsv", range(1, 8))
    def test_reserved_bits(self, rsv: int) -> None:
        """Reserved bits that were not negotiated are refused."""
        for opcode in (TEXT, BINARY, PING, CLOSE):
            assert failure(frame(opcode, b"", rsv=rsv)) == 1002
        assert failure(frame(TEXT, fin=False), frame(CONTINUATION, rsv=rsv)) == 1002

    @pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
    def test_reserved_opcodes(self, opcode: int) -> None:
        """Unknown opcodes are refused."""
        assert failure(frame(opcode, b"a")) == 1002

    @pytest.mark.parametrize(
        "length",
        [
            b"\x7e\x00\x00",
            b"\x7e\x00\x7d",
            b"\x7f" + bytes(8),
            b"\x7f" + (125).to_bytes(8),
            b"\x7f" + (65535).to_bytes(8),
            b"\x7f" + (1 << 63).to_bytes(8),
            b"\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
        ],
    )
    def test_illegal_lengths(self, length: bytes) -> None:
        """Lengths that are not in their shortest form or have the top bit set are refused."""
        for opcode in (TEXT, BINARY, PING):
            assert failure(frame(opcode, b"a" * 125, length=length)) == 1002

    @pytest.mark.parametrize(
        "head", [b"\x83\x80", b"\x8b\xff", b"\x09\x80", b"\x89\xfe", b"\x88\xff"]
    )
    def test_wrong_from_the_start(self, head: bytes) -> None:
        """What two bytes show to be wrong is refused then: perhaps nothing more comes."""
        assert failure(head) == 1002

    def test_largest_legal_length(self) -> None:
        """2^63 - 1 is a legal length, and too big."""
        assert failure(frame(BINARY, length=b"\x7f" + ((1 << 63) - 1).to_bytes(8))) == 1009


class TestText:
    """RFC 6455 §8.1."""

    BAD = (
        b"\xff",
        b"\xc3",
        b"a\xe2\x82",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xc0\x80",
        b"\x80",
    )

    @pytest.mark.parametrize("data", BAD)
    def test_invalid(self, data: bytes) -> None:
        """Invalid UTF-8 is 1007, wherever the frames are cut."""
        assert failure(frame(TEXT, data)) == 1007
        for at in range(len(data) + 1):
            assert failure(*fragments(TEXT, [b"ok", data[:at], data[at:]])) == 1007
            assert failure(*fragments(TEXT, [data[:at], data[at:], b""])) == 1007

    def test_character_split_across_frames(self) -> None:
        """A character may be cut in two by frames."""
        data = "😀".encode()
        pieces = [data[at : at + 1] for at in range(len(data))]
        assert replay(opened(), fragments(TEXT, pieces))[0] == ["😀"]

    def test_invalid_is_seen_before_the_end(self) -> None:
        """In a fragmented message, as soon as it is certain."""
        assert failure(frame(TEXT, b"a\xff", fin=False)) == 1007

    def test_binary_is_not_looked_at(self) -> None:
        """Binary may be anything."""
        assert replay(opened(), [frame(BINARY, b"\xff\xc3")])[0] == [b"\xff\xc3"]


class TestFragments:
    """RFC 6455 §5.4."""

    def test_assembled(self) -> None:
        """Fragments become one message, empty ones too."""
        frames = fragments(TEXT, [b"", b"a", b"", b"bc", b""]) + fragments(BINARY, [b"", b""])
        assert replay(opened(), frames)[0] == ["abc", b""]

    def test_control_frames_between(self) -> None:
        """Pings amid a message are answered at once."""
        connection = opened()
        first, second = fragments(TEXT, [b"a", b"b"])
        got, sent = replay(connection, [first + frame(PING, b"x")])
        assert (got, sent) == ([], b"\x8a\x01x")
        assert replay(connection, [second])[0] == ["ab"]

    @pytest.mark.parametrize(
        "frames",
        [
            [frame(CONTINUATION, b"a")],
            [frame(CONTINUATION, b"", fin=False)],
            [frame(TEXT, b"a", fin=False), frame(TEXT, b"b")],
            [frame(TEXT, b"a", fin=False), frame(BINARY, b"", fin=False)],
            [*fragments(TEXT, [b"a", b"b"]), frame(CONTINUATION)],
            [frame(TEXT, b"whole"), frame(CONTINUATION, b"c")],
        ],
    )
    def test_out_of_order(self, frames: list[bytes]) -> None:
        """A continuation of nothing and a message amid a message are refused."""
        assert failure(*frames) == 1002

    def test_too_big(self) -> None:
        """More than max_size is 1009, from the header on, whole or in fragments."""
        assert failure(frame(BINARY, b"a" * 11)[:6], max_size=10) == 1009
        assert (
            failure(frame(TEXT, b"a" * 6, fin=False), frame(0, b"b" * 5)[:6], max_size=10) == 1009
        )
        euros = "€€€€".encode()  # 4 characters, 12 bytes
        assert failure(frame(TEXT, euros), max_size=11) == 1009
        assert failure(*fragments(TEXT, [euros[:7], euros[7:]]), max_size=11) == 1009

    def test_just_not_too_big(self) -> None:
        """Exactly max_size passes; each message counts anew, control frames do not count."""
        pieces = fragments(TEXT, [b"a" * 6, b"b" * 4])
        frames = [*pieces, pieces[0], frame(PING, b"c" * 100), pieces[1], frame(BINARY, b"d" * 10)]
        assert replay(opened(10), frames)[0] == ["aaaaaabbbb", "aaaaaabbbb", b"d" * 10]

    def test_tiny_fragments_retain_no_objects(self) -> None:
        """100,000 fragments of one byte, cut from an endless message, take a byte each."""
        for opcode in (TEXT, BINARY):
            connection = opened()
            connection.receive_data(frame(opcode, b"\x00", fin=False))
            stream = frame(CONTINUATION, b"a", fin=False) * 1000
            connection.next_message()
            gc.collect()
            before = sys.getallocatedblocks()
            for _ in range(10):
                connection.receive_data(stream)
                assert connection.next_message() is None
            assert connection.buffered == 10_001
            if sys.getallocatedblocks():  # always 0 on a free-threaded build
                assert sys.getallocatedblocks() - before < 1000
            assert connection._partial is not None
            assert sys.getsizeof(connection._partial) < 20_000
            replay(connection, [frame(CONTINUATION, b"")])

    def test_endless_empty_fragments(self) -> None:
        """Empty fragments take no memory at all."""
        connection = opened()
        connection.receive_data(frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 1000)
        assert connection.next_message() is None
        assert connection.buffered == 0


class TestControl:
    """RFC 6455 §5.5."""

    @pytest.mark.parametrize("size", [0, 1, 125])
    def test_ping(self, size: int) -> None:
        """Each ping gets its pong, in order."""
        frames = frame(PING, b"a" * size) + frame(PING, b"b" * size)
        sent = replay(opened(), [frames])[1]
        assert sent == frame(PONG, b"a" * size, mask=None) + frame(PONG, b"b" * size, mask=None)

    def test_pong(self) -> None:
        """The last pong's payload is kept, asked for or not."""
        connection = opened()
        assert connection.pong_received is None
        assert connection.ping(b"now") == b"\x89\x03now"
        assert replay(connection, [frame(PONG, b"1") + frame(PONG, b"")]) == ([], b"")
        assert connection.pong_received == b""

    @pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
    def test_refused(self, opcode: int) -> None:
        """Control frames are short and in one piece."""
        assert failure(frame(opcode, b"\x03\xe8" + b"a" * 124)) == 1002
        assert failure(frame(opcode, b"", fin=False)) == 1002

    def test_ping_too_long(self) -> None:
        """So are ours."""
        with pytest.raises(ResponseError):
            opened().ping(b"a" * 126)


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


def test_idle_holds_nothing() -> None:
    """Between messages a connection holds no buffer."""
    connection = opened()
    data = frame(TEXT, b"a" * 70_000)
    replay(connection, [data[:10], data[10:], *fragments(TEXT, [b"b", b"c"]), frame(PING)])
    assert connection.buffered == 0
    assert connection._buffer == b""
    assert connection._partial is None


def test_pieces_of_one_byte_are_linear() -> None:
    """A message that comes byte by byte is looked at twice or thrice, not every time."""
    connection = opened()
    data = frame(TEXT, b"a" * 3000)
    looks = 0
    original = WebSocketConnection._read_plain

    class Counting(WebSocketConnection):
        """Counts how often the beginning of a message is looked at."""

        def _read_plain(self, buffer: bytes | bytearray, start: int) -> str | bytes | None:
            nonlocal looks
            looks += 1
            return original(self, buffer, start)

    connection = Counting(1 << 20, None)
    got, _ = replay(connection, [data[at : at + 1] for at in range(len(data))])
    assert got == ["a" * 3000]
    assert looks == 3
