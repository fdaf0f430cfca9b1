"""The frames that are about the connection or a stream, not about what they carry; and its end."""

from typing import Final

from nogilserve.protocols.http2 import codes
from nogilserve.protocols.http2.budget import Budget
from nogilserve.protocols.http2.faults import Fatal, StreamFault
from nogilserve.protocols.http2.sending import Sender
from nogilserve.protocols.http2.stream import Stream

__all__ = ["Control"]

_CLOSING: Final = b"nogilbye"
_SWITCHES: Final = frozenset(
    (codes.ENABLE_PUSH, codes.ENABLE_CONNECT_PROTOCOL, codes.NO_RFC7540_PRIORITIES)
)


class Control(Sender):
    """Owner: as of `Http2Connection`."""

    __slots__ = (
        "_closing_ping",
        "_glitches",
        "_updates",
        "failure",
        "last_stream",
        "peer_leaves",
        "refusing",
    )

    def __init__(self) -> None:
        Sender.__init__(self)
        self.last_stream = 0
        """The highest stream the peer has opened."""
        self._glitches = Budget(400, 100.0)
        """Frames that cost and bring nothing."""
        self._updates = Budget(1000, 200.0)
        self.failure: Fatal | None = None
        """Why the connection has ended."""
        self.peer_leaves = False
        """The peer has said GOAWAY: it will open no further stream."""
        self.refusing = False
        """We have said GOAWAY with the last stream; later ones are not answered."""
        self._closing_ping = False

    def _control(self, kind: int, flags: int, number: int, payload: bytes, now: float) -> None:
        """A frame that is neither DATA nor about a field section. Raises Fatal, StreamFault."""
        if kind == codes.SETTINGS:
            self._on_settings(flags, number, payload, now)
        elif kind == codes.PING:
            self._on_ping(flags, number, payload, now)
        elif kind == codes.PRIORITY:
            self._on_priority(number, payload, now)
        elif kind == codes.GOAWAY:
            self._on_goaway(number, payload, now)
        elif kind == codes.PRIORITY_UPDATE:
            self._on_priority_update(number, payload, now)
        elif kind == codes.PUSH_PROMISE:
            raise Fatal(codes.PROTOCOL_ERROR, "PUSH_PROMISE from a client (RFC 9113 §8.4)")
        else:  # unknown: ignored (§5.5), but not for ever
            self._glitch(now, "unknown")

    def _glitch(self, now: float, what: str) -> None:
        if not self._glitches.spend(now):
            raise Fatal(codes.ENHANCE_YOUR_CALM, f"too many {what} frames")

    def _closed(self, number: int, what: str) -> Exception | None:
        """What it means that a frame comes for a stream that is not open: an error, or None where
        it is to be ignored (§5.1)."""
        if number > self.last_stream or not number & 1:
            return Fatal(codes.PROTOCOL_ERROR, f"{what} on an idle stream (RFC 9113 §5.1)")
        if self._reset.get(number):
            return None  # it was on its way when we reset the stream
        if number in self._reset:
            return StreamFault(number, codes.STREAM_CLOSED, f"{what} behind RST_STREAM")
        return Fatal(codes.STREAM_CLOSED, f"{what} on a closed stream (RFC 9113 §5.1)")

    def _on_priority(self, number: int, payload: bytes, now: float) -> None:
        """Deprecated: checked, and otherwise ignored (§5.3.2)."""
        if not number:
            raise Fatal(codes.PROTOCOL_ERROR, "PRIORITY on stream 0 (RFC 9113 §6.3)")
        if len(payload) != 5:
            raise StreamFault(number, codes.FRAME_SIZE_ERROR, "PRIORITY must have 5 bytes")
        if int.from_bytes(payload[:4]) & 0x7FFFFFFF == number:
            raise StreamFault(number, codes.PROTOCOL_ERROR, "stream depends on itself")
        self._glitch(now, "PRIORITY")

    def _on_priority_update(self, number: int, payload: bytes, now: float) -> None:
        """RFC 9218 §7.1: checked, and otherwise ignored."""
        if number:
            raise Fatal(codes.PROTOCOL_ERROR, "PRIORITY_UPDATE on a stream (RFC 9218 §7.1)")
        if len(payload) < 4:
            raise Fatal(codes.FRAME_SIZE_ERROR, "PRIORITY_UPDATE too short (RFC 9218 §7.1)")
        if not int.from_bytes(payload[:4]) & 0x7FFFFFFF:
            raise Fatal(codes.PROTOCOL_ERROR, "PRIORITY_UPDATE of stream 0 (RFC 9218 §7.1)")
        self._glitch(now, "PRIORITY_UPDATE")

    def _on_rst_stream(self, number: int, payload: bytes, now: float) -> Stream | None:
        """The stream that is over, if it was open."""
        if not number:
            raise Fatal(codes.PROTOCOL_ERROR, "RST_STREAM on stream 0 (RFC 9113 §6.4)")
        if len(payload) != 4:
            raise Fatal(codes.FRAME_SIZE_ERROR, "RST_STREAM must have 4 bytes (RFC 9113 §6.4)")
        if number > self.last_stream or not number & 1:
            raise Fatal(codes.PROTOCOL_ERROR, "RST_STREAM on an idle stream (RFC 9113 §6.4)")
        stream = self.streams.get(number)
        if stream is None:
            self._glitch(now, "late RST_STREAM")
            return None
        if not self._resets.spend(now):
            raise Fatal(codes.ENHANCE_YOUR_CALM, "too many streams were reset")
        self._remember_reset(number, ours=False)
        self.drop(stream)
        return stream

    def _on_settings(self, flags: int, number: int, payload: bytes, now: float) -> None:
        if number:
            raise Fatal(codes.PROTOCOL_ERROR, "SETTINGS on a stream (RFC 9113 §6.5)")
        if flags & 1:
            if payload:
                raise Fatal(codes.FRAME_SIZE_ERROR, "acknowledgement with settings")
            self._glitch(now, "SETTINGS")
            return
        self._apply_settings(payload)
        self._glitch(now, "SETTINGS")
        self.put(b"\0\0\0\x04\x01\0\0\0\0")

    def _apply_settings(self, payload: bytes) -> None:
        """In their order (§6.5.3). Those that are not known are ignored (§6.5.2)."""
        if len(payload) % 6:
            raise Fatal(codes.FRAME_SIZE_ERROR, "SETTINGS is no multiple of 6 bytes")
        for at in range(0, len(payload), 6):
            key = int.from_bytes(payload[at : at + 2])
            value = int.from_bytes(payload[at + 2 : at + 6])
            if key in _SWITCHES:
                if value > 1:
                    raise Fatal(codes.PROTOCOL_ERROR, f"setting {key} must be 0 or 1")
            elif key == codes.INITIAL_WINDOW_SIZE:
                if value > codes.MOST_WINDOW or not self._change_initial(value):
                    raise Fatal(codes.FLOW_CONTROL_ERROR, "window above 2^31-1 (RFC 9113 §6.5.2)")
            elif key == codes.MAX_FRAME_SIZE and not 16384 <= value <= codes.MOST_FRAME:
                raise Fatal(codes.PROTOCOL_ERROR, "illegal SETTINGS_MAX_FRAME_SIZE")

    def _on_ping(self, flags: int, number: int, payload: bytes, now: float) -> None:
        if number:
            raise Fatal(codes.PROTOCOL_ERROR, "PING on a stream (RFC 9113 §6.7)")
        if len(payload) != 8:
            raise Fatal(codes.FRAME_SIZE_ERROR, "PING must have 8 bytes (RFC 9113 §6.7)")
        if flags & 1:
            if payload == _CLOSING and self._closing_ping:
                self.last_call()
            return
        self._glitch(now, "PING")
        self.put(b"\0\0\x08\x06\x01\0\0\0\0" + payload)

    def _on_goaway(self, number: int, payload: bytes, now: float) -> None:
        if number:
            raise Fatal(codes.PROTOCOL_ERROR, "GOAWAY on a stream (RFC 9113 §6.8)")
        if len(payload) < 8:
            raise Fatal(codes.FRAME_SIZE_ERROR, "GOAWAY too short (RFC 9113 §6.8)")
        self._glitch(now, "GOAWAY")
        self.peer_leaves = True

    def _on_window_update(self, number: int, payload: bytes, now: float) -> None:
        if len(payload) != 4:
            raise Fatal(codes.FRAME_SIZE_ERROR, "WINDOW_UPDATE must have 4 bytes (RFC 9113 §6.9)")
        count = int.from_bytes(payload) & 0x7FFFFFFF
        if not number:
            if not count:
                raise Fatal(codes.PROTOCOL_ERROR, "WINDOW_UPDATE of 0 (RFC 9113 §6.9)")
            self.send_window += count
            if self.send_window > codes.MOST_WINDOW:
                raise Fatal(codes.FLOW_CONTROL_ERROR, "window above 2^31-1 (RFC 9113 §6.9.1)")
        else:
            stream = self.streams.get(number)
            if stream is None:
                if number > self.last_stream or not number & 1:
                    raise Fatal(codes.PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream")
            elif not count:
                raise StreamFault(number, codes.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            elif not self._grow(stream, count):
                raise StreamFault(number, codes.FLOW_CONTROL_ERROR, "window above 2^31-1")
        if self._updates_due > 0:  # a peer that is sent much has to say so often
            self._updates_due -= 1
        elif not self._updates.spend(now):
            raise Fatal(codes.ENHANCE_YOUR_CALM, "too many WINDOW_UPDATE frames")

    # ---- the end

    def ask_to_leave(self) -> None:
        """Tell the peer to open no more streams. What was on its way is served: once the peer has
        answered the PING it has seen this, and the second GOAWAY names the last one (§6.8)."""
        if not self._closing_ping and not self.refusing:
            self._closing_ping = True
            self.put(codes.goaway(codes.MOST_WINDOW, codes.NO_ERROR, "going away"))
            self.put(b"\0\0\x08\x06\0\0\0\0\0" + _CLOSING)

    def last_call(self) -> None:
        """Streams that the peer opens from now on are not answered."""
        if not self.refusing:
            self.refusing = True
            self.put(codes.goaway(self.last_stream, codes.NO_ERROR, "going away"))

    def fail(self, code: int, reason: str) -> None:
        """End the connection with GOAWAY (§5.4.1)."""
        if self.failure is None:
            self.failure = Fatal(code, reason)
            self.put(codes.goaway(self.last_stream, code, reason))
