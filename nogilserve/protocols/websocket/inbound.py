"""What wsproto's frame decoder does not do by itself: bounds, and compression within them."""

from typing import Final

from wsproto.extensions import Extension
from wsproto.frame_protocol import (
    CloseReason,
    FrameDecoder,
    FrameProtocol,
    Opcode,
    RsvBits,
)

from nogilserve.protocols.websocket.deflate import Deflate
from nogilserve.protocols.websocket.frames import PROTOCOL_ERROR, TOO_BIG, Violation

__all__ = ["Inbound"]

_NO_BITS: Final = RsvBits(False, False, False)
_COMPRESSED: Final = RsvBits(True, False, False)


class Inbound(Extension):
    """Looks at every frame that the decoder reads, as its only extension.

    wsproto's own permessage-deflate would inflate without a limit, and loses its place when a
    control frame comes between compressed fragments. Raises Violation out of the decoder. Owner:
    as the connection.
    """

    name = "nogilserve"

    def __init__(self, max_size: int, deflate: Deflate | None) -> None:
        self._max_size = max_size
        self._deflate = deflate
        self._room = max_size
        """Bytes that the current message may still grow by."""
        self._compressed = False
        """Of the current message."""
        self._control = False
        """Whether the current frame is one, which may come amid a message."""
        self._dropped = False
        """Whether the current message is of no interest any more."""
        self._open = False
        """Whether the current message goes on in a further frame."""
        self.drop = False
        """Whether messages that begin from now on are not even decompressed."""

    def offer(self) -> bool | str:
        """Not used: the handshake is not wsproto's."""
        return False

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """Which reserved bits are in order; wsproto refuses the others (RFC 6455 §5.2). Called
        once more for the same frame when its mask was not there yet."""
        self._control = opcode.iscontrol()
        if self._control:
            return _NO_BITS
        allowed = _NO_BITS
        # Checked here, or a mistake in the content of the wrong frame might be seen first (§5.4).
        if (opcode is Opcode.CONTINUATION) is not self._open:
            got = "a new message" if self._open else "a continuation"
            raise Violation(PROTOCOL_ERROR, f"unexpected frame: {got}")
        if opcode is not Opcode.CONTINUATION:
            # RFC 7692 §6: the first frame's bit speaks for the whole message.
            self._compressed = self._deflate is not None and rsv.rsv1
            self._room = self._max_size
            self._dropped = self.drop
            if self._compressed:
                allowed = _COMPRESSED
        if payload_length > self._room and not self._compressed and not self._dropped:
            raise Violation(TOO_BIG, "message too big")
        return allowed

    def frame_inbound_payload_data(
        self, proto: FrameDecoder | FrameProtocol, data: bytes
    ) -> bytes | CloseReason:
        """A piece of a frame, decompressed."""
        if self._control:
            return data
        if self._dropped:
            return b""
        if self._compressed and self._deflate is not None:
            data = self._deflate.decompress(data, self._room)
        self._room -= len(data)
        return data

    def frame_inbound_complete(
        self, proto: FrameDecoder | FrameProtocol, fin: bool
    ) -> bytes | CloseReason | None:
        """What is left to be said at the end of a message."""
        if self._control:
            return None
        self._open = not fin
        if not fin or self._dropped or not self._compressed:
            return None
        return None if self._deflate is None else self._deflate.finish(self._room)
