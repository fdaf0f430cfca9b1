"""permessage-deflate (RFC 7692): negotiation, contexts, and bounds on what a peer can inflate."""

import tracemalloc
import zlib

import pytest

from nogilserve.protocols.websocket import Closed
from nogilserve.protocols.websocket.deflate import Deflate
from nogilserve.protocols.websocket.frames import Violation
from tests.protocols.websocket.peer import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    Compressor,
    close_sent,
    fragments,
    frame,
    handshake,
    opened,
    replay,
)

RSV1 = 4
OFFER = "permessage-deflate"
TAIL = b"\x00\x00\xff\xff"


def answer(*offers: str, deflate: bool = True) -> str | None:
    """What the server agrees to; None when it declines."""
    lines = [f"Sec-WebSocket-Extensions: {offer}" for offer in offers]
    fields, _ = handshake(*lines).accept(None, [], deflate=deflate, max_size=1)
    return dict(fields).get("Sec-WebSocket-Extensions")


class TestNegotiation:
    """RFC 7692 §5 and §7.1."""

    @pytest.mark.parametrize(
        ("offer", "agreed"),
        [
            ("", "server_max_window_bits=12"),
            ("; client_max_window_bits", "client_max_window_bits=12; server_max_window_bits=12"),
            ("; client_max_window_bits=15", "client_max_window_bits=12; server_max_window_bits=12"),
            (";client_max_window_bits=9 ", "client_max_window_bits=9; server_max_window_bits=12"),
            ('; client_max_window_bits="8"', "client_max_window_bits=8; server_max_window_bits=12"),
            ("; server_max_window_bits=15", "server_max_window_bits=12"),
            ("; server_max_window_bits = 9", "server_max_window_bits=9"),
            (
                "; server_no_context_takeover; client_no_context_takeover",
                "server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12",
            ),
        ],
    )
    def test_accepted(self, offer: str, agreed: str) -> None:
        """Windows are at most what the client asked for, and small."""
        assert answer(OFFER + offer) == f"{OFFER}; {agreed}"

    @pytest.mark.parametrize(
        "offer",
        [
            "; server_max_window_bits",
            "; server_max_window_bits=8",
            "; server_max_window_bits=16",
            "; server_max_window_bits=012",
            "; client_max_window_bits=7",
            "; client_max_window_bits=x",
            "; client_max_window_bits=10; client_max_window_bits=10",
            "; server_no_context_takeover=1",
            "; client_no_context_takeover; client_no_context_takeover",
            "; unknown",
        ],
    )
    def test_declined(self, offer: str) -> None:
        """Offers with unknown, repeated or wrong parameters are declined, and only those."""
        assert answer(OFFER + offer) is None
        assert answer(OFFER + offer, OFFER) == f"{OFFER}; server_max_window_bits=12"
        assert answer(f"{OFFER}{offer}, {OFFER}") == f"{OFFER}; server_max_window_bits=12"

    def test_others_are_declined(self) -> None:
        """Extensions that we do not know, and ours when it is off."""
        assert answer("x-webkit-deflate-frame, x; a=b") is None
        assert answer("", ",") is None
        assert answer(OFFER, deflate=False) is None
        assert answer() is None


class TestReceiving:
    """RFC 7692 §7.2.2."""

    @pytest.mark.parametrize(
        "payload",
        [
            b"\xf2\x48\xcd\xc9\xc9\x07\x00",  # §7.2.3.1
            b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",  # §7.2.3.3, no compression
            b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",  # §7.2.3.4, BFINAL
            b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",  # §7.2.3.5, two blocks
        ],
    )
    def test_examples_of_the_standard(self, payload: bytes) -> None:
        """Each of them, whole and in fragments, and the connection goes on after it."""
        whole = frame(TEXT, payload, rsv=RSV1)
        for at in range(len(payload) + 1):
            pieces = fragments(TEXT, [payload[:at], payload[at:]], rsv=RSV1)
            got, _ = replay(opened(deflate=OFFER), [whole, *pieces, whole, frame(TEXT, b"plain")])
            assert got == ["Hello"] * 3 + ["plain"]

    def test_window_is_kept(self) -> None:
        """The example of §7.2.3.2: the second message refers to the first."""
        frames = [frame(TEXT, bytes.fromhex("f248cdc9c90700"), rsv=RSV1)]
        frames.append(frame(TEXT, bytes.fromhex("f200110000"), rsv=RSV1))
        assert replay(opened(deflate=OFFER), frames)[0] == ["Hello", "Hello"]

    def test_window_is_not_kept(self) -> None:
        """With client_no_context_takeover it cannot."""
        frames = [frame(TEXT, bytes.fromhex("f248cdc9c90700"), rsv=RSV1)]
        frames.append(frame(TEXT, bytes.fromhex("f200110000"), rsv=RSV1))
        got, _ = replay(opened(deflate=f"{OFFER}; client_no_context_takeover"), frames)
        assert got == ["Hello", Closed(1007, "malformed compressed data")]

    def test_control_frame_between(self) -> None:
        """A ping between compressed fragments is not compressed, and disturbs nothing."""
        payload = Compressor().compress(b"a" * 1000)
        first, second = fragments(BINARY, [payload[:5], payload[5:]], rsv=RSV1)
        got, sent = replay(opened(deflate=OFFER), [first, frame(PING, b"x"), second])
        assert (got, sent) == ([b"a" * 1000], b"\x8a\x01x")

    def test_plain_and_compressed(self) -> None:
        """Each message says for itself, fragmented or not."""
        packer = Compressor()
        frames = [
            frame(TEXT, packer.compress(b"one"), rsv=RSV1),
            *fragments(TEXT, [b"tw", b"o"]),
            *fragments(TEXT, [packer.compress(b"three"), b""], rsv=RSV1),
            frame(TEXT, b"four"),
            frame(TEXT, packer.compress(b""), rsv=RSV1),
        ]
        assert replay(opened(deflate=OFFER), frames)[0] == ["one", "two", "three", "four", ""]

    @pytest.mark.parametrize(
        ("frames", "code"),
        [
            ([frame(PING, rsv=RSV1)], 1002),
            ([frame(TEXT, fin=False), frame(CONTINUATION, rsv=RSV1)], 1002),
            ([frame(TEXT, rsv=RSV1 | 2)], 1002),
            ([frame(TEXT, rsv=1)], 1002),
            ([frame(TEXT, b"\xff\xff", rsv=RSV1)], 1007),
            ([frame(TEXT, b"\xff", fin=False, rsv=RSV1), frame(CONTINUATION, b"\xff")], 1007),
            ([frame(TEXT, Compressor().compress(b"\xff"), rsv=RSV1)], 1007),
            ([frame(TEXT, b"\x03\x00" * 20, rsv=RSV1)], 1007),
        ],
    )
    def test_refused(self, frames: list[bytes], code: int) -> None:
        """RSV1 where it has no place, and what is not compressed data or not text."""
        got, sent = replay(opened(deflate=OFFER), frames)
        assert isinstance(got[-1], Closed)
        assert got[-1].code == close_sent(sent) == code

    def test_closing(self) -> None:
        """After close() nothing is inflated any more, but a message that had begun."""
        packer = Compressor()
        connection = opened(2000, deflate=OFFER)
        first, second = fragments(TEXT, [packer.compress(b"a" * 1000), b""], rsv=RSV1)
        connection.receive_data(first)
        assert connection.next_message() is None
        connection.close()
        bomb = packer.compress(b"b" * 10_000)
        frames = [second, *fragments(TEXT, [bomb, b""], rsv=RSV1), frame(CLOSE)]
        assert replay(connection, frames)[0] == [Closed(1005, "")]


class TestBounds:
    """What a peer can make us hold (CVE-2018-1000518)."""

    @pytest.mark.parametrize("pieces", [1, 2, 50])
    def test_bomb(self, pieces: int) -> None:
        """A hundred megabytes in a hundred kilobytes: 1009 at the limit, in any pieces."""
        packer = zlib.compressobj(9, wbits=-15)
        bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(100))
        bomb += packer.flush(zlib.Z_SYNC_FLUSH)
        step = -(-len(bomb) // pieces)
        parts = [bomb[at : at + step] for at in range(0, len(bomb), step)]
        frames = fragments(BINARY, parts, rsv=RSV1)
        connection = opened(1_000_000, deflate=OFFER)
        tracemalloc.start()
        got, sent = replay(connection, frames)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert got == [Closed(1009, "message too big")]
        assert close_sent(sent) == 1009
        assert peak < 4_000_000

    def test_exact(self) -> None:
        """The limit is on what comes out, to the byte, and passes what is just within."""
        for size, expected in ((1000, b"a" * 1000), (1001, Closed(1009, "message too big"))):
            payload = Compressor().compress(b"a" * size)
            whole = frame(BINARY, payload, rsv=RSV1)
            assert replay(opened(1000, deflate=OFFER), [whole])[0] == [expected]
            pieces = fragments(BINARY, [payload[:-2], payload[-2:], b""], rsv=RSV1)
            assert replay(opened(1000, deflate=OFFER), pieces)[0] == [expected]

    def test_larger_when_compressed(self) -> None:
        """A payload above the limit may be a message within it."""
        stored = b"".join(b"\x00\x01\x00\xfe\xffa" for _ in range(10)) + b"\x00"
        assert len(stored) > 10
        got, _ = replay(opened(10, deflate=OFFER), [frame(TEXT, stored, rsv=RSV1)])
        assert got == ["a" * 10]

    def test_one_byte_too_many_is_the_most(self) -> None:
        """Of a bomb, not more is produced than shows that it is one."""
        produced = []

        class Watched:
            """A decompressor that counts what it gives out."""

            def __init__(self) -> None:
                self.real = zlib.decompressobj(-15)
                self.eof = False
                self.unused_data = b""

            def decompress(self, data: bytes, most: int) -> bytes:
                """As zlib's."""
                produced.append(self.real.decompress(data, most))
                return produced[-1]

        codec = Deflate(12, 15, True, True)
        codec._decompressor = Watched()  # type: ignore[assignment]
        with pytest.raises(Violation) as caught:
            codec.decompress_whole(Compressor().compress(bytes(1 << 20)), 5000)
        assert caught.value.code == 1009
        assert [len(piece) for piece in produced] == [5001]


class TestSending:
    """RFC 7692 §7.2.1."""

    @pytest.mark.parametrize("keeps", [True, False])
    def test_compressed(self, keeps: bool) -> None:
        """Long messages are compressed, short ones not; the window is kept if it may be."""
        offer = OFFER if keeps else f"{OFFER}; server_no_context_takeover"
        connection = opened(deflate=offer)
        text = "".join(chr(97 + at * 7 % 26) for at in range(100))
        inflate = zlib.decompressobj(-12)
        sizes = []
        for _ in range(2):
            data = connection.send_text(text)
            assert data[0] == 0xC1
            if not keeps:
                inflate = zlib.decompressobj(-12)
            assert inflate.decompress(data[2:] + TAIL).decode() == text
            sizes.append(len(data))
        assert (sizes[1] < sizes[0]) is keeps
        assert connection.send_text("a" * 63)[:2] == b"\x81\x3f"
        assert connection.send_bytes(b"a" * 63)[:2] == b"\x82\x3f"
        assert connection.send_bytes(b"a" * 64)[0] == 0xC2

    def test_memory(self) -> None:
        """A connection that has sent and received holds two small windows."""
        offer = f"{OFFER}; client_max_window_bits"
        packer = Compressor(12)
        payload = packer.compress(b"a" * 5000)
        tracemalloc.start()
        connection = opened(deflate=offer)
        assert replay(connection, [frame(TEXT, payload, rsv=RSV1)])[0] == ["a" * 5000]
        connection.send_text("b" * 5000)
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert size < 80_000
