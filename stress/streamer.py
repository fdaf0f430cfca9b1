"""A client of HTTP/2 in a world: it knows what each of its streams must bring, and its windows."""

from typing import Any, Final

import hpack

from stress.stage import STREAMS, Gone, Guest, Stage, piece
from tests.support import http2 as h2

__all__ = ["NO_LAST", "WINDOW", "Streamer"]

WINDOW: Final = 1 << 20
_REFUSED: Final = 7
"""The request was not run, and may be sent again (RFC 9113 §8.7)."""
NO_LAST: Final = (1 << 31) - 1
_FIRST: Final = 65_535
"""The window of a connection before it is widened (RFC 9113 §6.9.2)."""


class Streamer(Guest):
    """A client of HTTP/2 with prior knowledge. Owner: its actor."""

    def __init__(self, stage: Stage, *, window: int = WINDOW, more: int = WINDOW) -> None:
        """`window`: of each stream; `more`: what that of the connection is widened by."""
        super().__init__(stage)
        self._next = 1
        self._decoder = hpack.Decoder()
        self._window = window
        self._rooms = {0: _FIRST + more}
        """What may still come, by stream; 0: on all together."""
        self.generous = True
        """Windows are widened by what was taken."""
        self.nonces: dict[int, tuple[str, bytes]] = {}
        """What streams have asked for: nonce and expected body."""
        self.fields: dict[int, dict[str, str]] = {}
        self.bodies: dict[int, bytes] = {}
        self.done: set[int] = set()
        self.reset: set[int] = set()
        self.last = -1
        """The last stream that the server says it serves; -1: it has not said that it goes,
        `NO_LAST`: it has, but not yet which is the last."""
        self.send(
            h2.PREFACE + h2.settings((4, window)) + (h2.window_update(0, more) if more else b"")
        )

    def start(
        self, kind: str, number: int = 0, *, upload: int | None = None, halts: bool = False
    ) -> int:
        """Ask on a new stream; its number. `upload`: bytes of a body; `halts`: in its middle."""
        stream, self._next = self._next, self._next + 2
        nonce = self.stage.nonce()
        body = nonce.encode()
        if kind == "big":
            body *= number
        elif kind in STREAMS:
            body = b"".join(piece(nonce, place) for place in range(number))
        elif kind == "upload":
            body = b"%d" % (upload or 0)
        self.nonces[stream] = (nonce, body)
        self._rooms[stream] = self._window
        path = (":path", f"/{kind}/{nonce}/{number}")
        fields = [path if name == ":path" else (name, value) for name, value in h2.GET]
        if upload is None:
            self.send(h2.headers(stream, fields))
        else:
            self.send(h2.headers(stream, fields, h2.END_HEADERS))
            half = upload // 2
            self.send(h2.frame(h2.DATA, 0, stream, b"x" * half))
            if not halts:
                self.send(h2.frame(h2.DATA, h2.END_STREAM, stream, b"x" * (upload - half)))
        return stream

    def cancel(self, stream: int) -> None:
        """No interest any more."""
        self.nonces.pop(stream)
        self.send(h2.frame(h2.RST_STREAM, 0, stream, (8).to_bytes(4)))

    def widen(self, stream: int, count: int) -> None:
        """More may come on that stream; 0: on all together."""
        self._rooms[stream] += count
        self.send(h2.window_update(stream, count))

    def take(self) -> None:
        """One frame of the server."""
        head = self._exactly(9)
        payload = self._exactly(int.from_bytes(head[:3]))
        kind, flags = head[3], head[4]
        stream = int.from_bytes(head[5:]) & 0x7FFFFFFF
        if kind == h2.HEADERS:
            decoded: Any = self._decoder.decode(payload)
            self.fields[stream] = dict(decoded)
        elif kind == h2.DATA:
            self._data_came(stream, payload, ends=bool(flags & h2.END_STREAM))
        elif kind == h2.GOAWAY:
            self.last = int.from_bytes(payload[:4])
            if int.from_bytes(payload[4:8]):
                self.world.fail(f"the connection was ended: {payload[8:]!r}")
        elif kind == h2.RST_STREAM:
            self.reset.add(stream)
            if stream in self.nonces:
                self._refused(stream, int.from_bytes(payload))
        elif kind == h2.SETTINGS and not flags & h2.ACK:
            self.send(h2.settings(ack=True))
        elif kind == h2.PING and not flags & h2.ACK:
            self.send(h2.frame(h2.PING, h2.ACK, 0, payload))
        if kind in (h2.HEADERS, h2.DATA) and flags & h2.END_STREAM:
            self.done.add(stream)

    def _refused(self, stream: int, code: int) -> None:
        nonce, _ = self.nonces.pop(stream)
        if code != _REFUSED or stream <= self.last or self.stage.was_run(nonce):
            self.world.fail(f"stream {stream}, {nonce}, was reset with {code}")

    def _data_came(self, stream: int, payload: bytes, *, ends: bool) -> None:
        self.bodies[stream] = self.bodies.get(stream, b"") + payload
        for which in (0, stream):
            self._rooms[which] -= len(payload)
            if self._rooms[which] < 0:
                self.world.fail(f"stream {stream} brought more than window {which} had room for")
        if payload and self.generous:
            self.widen(0, len(payload))
            if not ends:
                self.widen(stream, len(payload))

    def finish(self) -> None:
        """Wait for the answers to everything; each must be the one to its request."""
        while self.nonces.keys() - self.done:
            try:
                self.take()
            except Gone:
                self._ended()
                break
        for stream in self.nonces.keys() & self.done:
            nonce, body = self.nonces[stream]
            fields = self.fields[stream]
            if fields.get(":status") != "200" or fields.get("x-nonce") != nonce:
                self.world.fail(f"stream {stream}, {nonce}, was answered with {fields}")
            if self.bodies.get(stream, b"") != body:
                self.world.fail(f"stream {stream}, {nonce}, got another body")

    def _ended(self) -> None:
        """The connection is over: it was in order, and what was run is answered."""
        left = {number: self.nonces[number][0] for number in self.nonces.keys() - self.done}
        if any(map(self.stage.was_run, left.values())):
            self.world.fail(f"the connection ended without answers to {list(left.values())}")
        if self.last >= 0 and any(number <= self.last for number in left):
            self.world.fail(f"of {list(left)} those up to {self.last} were promised an answer")
