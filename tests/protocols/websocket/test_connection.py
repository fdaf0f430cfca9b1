"""An open connection, by section of RFC 6455: frames, text, fragments, control frames."""

import gc
import sys

import pytest

from nogilserve.errors import ResponseError
from nogilserve.protocols.websocket import WebSocketConnection
from tests.protocols.websocket.peer import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    failure,
    fragments,
    frame,
    opened,
    replay,
)

LENGTHS = [0, 1, 3, 4, 5, 125, 126, 127, 2047, 2049, 65535, 65536, 65537]


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
