"""The sending side of an HTTP/2 connection: frames, windows, whose turn it is."""

from collections import deque
from typing import Final

from nogilserve.protocols.http2 import codes
from nogilserve.protocols.http2.budget import Budget
from nogilserve.protocols.http2.stream import Piece, Stream

__all__ = ["Output", "Sender"]

Output = list[bytes | memoryview | Piece]

_FRAME: Final = 16384
"""Bytes of a DATA frame at most: what every peer takes (RFC 9113 §4.2), so that one stream does not
keep the others waiting."""
_MOST_RESET: Final = 128
"""Streams remembered because they were reset."""
_DIRECT: Final = 65536
"""Bytes waiting to be taken above which bodies are kept with their streams."""


class Sender:
    """Owner: as of `Http2Connection`."""

    __slots__ = (
        "_out",
        "_out_size",
        "_ready",
        "_reset",
        "_resets",
        "_updates_due",
        "initial_window",
        "send_window",
        "streams",
    )

    def __init__(self) -> None:
        self._out: Output = []
        self._out_size = 0
        self._ready: deque[Stream] = deque()
        """Streams that have something to send and a window for it, in turn."""
        self._reset: dict[int, bool] = {}
        """Streams that were reset lately; True: by us, what still comes for them is no mistake."""
        self._resets = Budget(200, 20.0)
        """Streams that end before they are answered (CVE-2023-44487, CVE-2025-8671)."""
        self._updates_due = 0
        """WINDOW_UPDATE frames that our DATA frames give reason for, two each."""
        self.streams: dict[int, Stream] = {}
        """Those that are open."""
        self.initial_window = codes.DEFAULT_WINDOW
        """That the peer gives to new streams."""
        self.send_window = codes.DEFAULT_WINDOW
        """Bytes that the connection may send on all streams together."""

    @property
    def out_size(self) -> int:
        """Bytes of frames that wait to be taken."""
        return self._out_size

    @property
    def sendable(self) -> bool:
        """Whether `take` has something."""
        return bool(self._out) or any(
            not stream.queued or (self.send_window > 0 and stream.send_window > 0)
            for stream in self._ready
        )

    def put(self, frame: bytes) -> None:
        """A frame that no window holds back."""
        self._out.append(frame)
        self._out_size += len(frame)

    def put_head(self, stream: Stream, block: bytes, *, ends: bool) -> None:
        """A field section: the head of a response, or trailers."""
        if stream.gone or stream.sent_end:
            return
        number = stream.id.to_bytes(4)
        flag = 1 if ends else 0
        if len(block) <= _FRAME:
            self.put(b"%b\x01%c%b%b" % (len(block).to_bytes(3), 4 | flag, number, block))
        else:
            kind = 1
            for at in range(0, len(block), _FRAME):
                part = block[at : at + _FRAME]
                last = 4 if at + _FRAME >= len(block) else 0
                self.put(b"%b%c%c%b%b" % (len(part).to_bytes(3), kind, last | flag, number, part))
                kind, flag = 9, 0
        if ends:
            self._sent_all(stream)

    def respond(self, stream: Stream, block: bytes, body: bytes) -> None:
        """A whole response."""
        size = len(body)
        if (
            0 < size <= 16384
            and size <= self.send_window
            and size <= stream.send_window
            and len(block) <= 16384
            and self._out_size < _DIRECT
            and not self._ready
            and not stream.gone
        ):
            number = stream.id.to_bytes(4)
            head = b"%b\x01\x04%b" % (len(block).to_bytes(3), number)
            self._out += (head, block, b"%b\x00\x01%b" % (size.to_bytes(3), number), body)
            self._out_size += 18 + len(block) + size
            self.send_window -= size
            stream.send_window -= size
            self._updates_due += 2
            self._sent_all(stream)
            return
        self.put_head(stream, block, ends=not body)
        if body:
            self.put_body(stream, memoryview(body))
            self.put_end(stream)

    def put_body(self, stream: Stream, piece: memoryview | Piece) -> None:
        """A piece of a body, sent as the windows allow."""
        if stream.gone or not len(piece):
            return
        stream.pending.append(piece)
        stream.queued += len(piece)
        self._schedule(stream)

    def put_end(self, stream: Stream, tail: bytes = b"") -> None:
        """The body is complete; `tail`: a field section with its trailers."""
        if stream.gone or stream.sent_end:
            return
        stream.tail = tail
        self._schedule(stream)

    def _schedule(self, stream: Stream) -> None:
        if not stream.scheduled and (stream.send_window > 0 or not stream.queued):
            stream.scheduled = True
            self._ready.append(stream)

    def take(self, most: int) -> Output:
        """Frames to be sent now, about `most` bytes of them. What is no memory stands between the
        head of its frame and the next one."""
        out, self._out = self._out, []
        size, self._out_size = self._out_size, 0
        ready = self._ready
        waiting = []
        while ready and size < most:
            stream = ready.popleft()
            if stream.gone:
                continue
            if stream.queued:
                room = min(self.send_window, stream.send_window, _FRAME)
                if room <= 0:
                    if stream.send_window > 0:
                        waiting.append(stream)  # for the window of the connection
                    else:
                        stream.scheduled = False
                    continue
                size += self._frame_body(stream, room, out)
            if stream.queued:
                ready.append(stream)
                continue
            stream.scheduled = False
            if stream.tail is not None and not stream.sent_end:
                self._finish(stream, out)
        ready.extend(waiting)
        return out

    def _frame_body(self, stream: Stream, room: int, out: Output) -> int:
        """A DATA frame of the next piece of a stream."""
        piece = stream.pending[0]
        size = len(piece)
        if size > room:
            size = room
            if isinstance(piece, memoryview):
                stream.pending[0] = piece[room:]
                piece = piece[:room]
            else:
                piece = piece.split(room)
        else:
            stream.pending.popleft()
        stream.queued -= size
        stream.sent += size
        self.send_window -= size
        stream.send_window -= size
        self._updates_due += 2
        ends = stream.tail == b"" and not stream.queued
        out.append(b"%b\x00%c%b" % (size.to_bytes(3), int(ends), stream.id.to_bytes(4)))
        out.append(piece)
        if ends:
            self._sent_all(stream)
        return size + 9

    def _finish(self, stream: Stream, out: Output) -> None:
        if stream.tail:
            self.put_head(stream, stream.tail, ends=True)
            out += self._out
            self._out, self._out_size = [], 0
        else:
            out.append(b"\0\0\0\0\x01%b" % stream.id.to_bytes(4))
            self._sent_all(stream)

    def _sent_all(self, stream: Stream) -> None:
        stream.sent_end = True
        if stream.unwanted and not stream.ended:
            self.reset(stream, codes.NO_ERROR)
        else:
            self.end_if_done(stream)

    def stop_receiving(self, stream: Stream) -> None:
        """The rest of the body is not wanted: once the response is sent, say so (§8.1)."""
        stream.unwanted = True
        if stream.sent_end and not stream.ended:
            self.reset(stream, codes.NO_ERROR)

    def reset(self, stream: Stream, code: int) -> None:
        """End a stream: the response cannot be completed, or (NO_ERROR, behind a complete response)
        the rest of the body is not wanted."""
        if stream.gone or stream.id not in self.streams:
            return
        self.put(codes.rst_stream(stream.id, code))
        self._remember_reset(stream.id, ours=True)
        self.drop(stream)

    def _remember_reset(self, number: int, *, ours: bool) -> None:
        reset = self._reset
        if len(reset) >= _MOST_RESET:
            del reset[next(iter(reset))]
        reset[number] = ours

    def end_if_done(self, stream: Stream) -> None:
        """Let a stream go that is closed by both sides."""
        if stream.sent_end and stream.ended:
            self.streams.pop(stream.id, None)
            self._resets.give()

    def drop(self, stream: Stream) -> None:
        """A stream is over before its end."""
        stream.gone = True
        stream.queued = 0
        self.streams.pop(stream.id, None)

    # ---- what the peer allows

    def _grow(self, stream: Stream, count: int) -> bool:
        """Widen the window of a stream. False: it is too much (§6.9.1)."""
        window = stream.send_window + count
        if window > codes.MOST_WINDOW:
            return False
        stream.send_window = window
        if window > 0 and stream.queued:
            self._schedule(stream)
        return True

    def _change_initial(self, size: int) -> bool:
        """SETTINGS_INITIAL_WINDOW_SIZE: changes those of open streams too (§6.9.2). False: too
        much."""
        change = size - self.initial_window
        self.initial_window = size
        return all(self._grow(stream, change) for stream in self.streams.values())
