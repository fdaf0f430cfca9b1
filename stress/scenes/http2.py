"""Scenes of HTTP/2 on the thread engine: one connection, its mutex, and streams in many threads."""

from functools import partial
from typing import Any

import hpack

from nogilserve.engine.http2 import begin
from nogilserve.engine.settings import Settings
from stress.scenes.guests import Client, several
from stress.scenes.scene import Scene
from stress.stage import Gone, Guest, Stage, on_threads, perform, piece
from stress.world import World
from tests.support import http2 as h2

__all__ = ["SCENES"]

_WINDOW = 1 << 20


class Streamer(Guest):
    """A client of HTTP/2 with prior knowledge. Owner: its actor."""

    def __init__(self, stage: Stage, *, window: int = _WINDOW) -> None:
        super().__init__(stage)
        self._next = 1
        self._decoder = hpack.Decoder()
        self.nonces: dict[int, tuple[str, bytes]] = {}
        """What streams have asked for: nonce and expected body."""
        self.fields: dict[int, dict[str, str]] = {}
        self.bodies: dict[int, bytes] = {}
        self.done: set[int] = set()
        self.going = False
        """The server has said that it goes."""
        self.send(h2.PREFACE + h2.settings((4, window)) + h2.window_update(0, _WINDOW))

    def start(self, kind: str, number: int = 0) -> int:
        """Ask on a new stream; its number."""
        stream, self._next = self._next, self._next + 2
        nonce = self.stage.nonce()
        body = {
            "big": nonce.encode() * number,
            "stream": b"".join(piece(nonce, n) for n in range(number if kind == "stream" else 0)),
        }.get(kind, nonce.encode())
        self.nonces[stream] = (nonce, body)
        path = (":path", f"/{kind}/{nonce}/{number}")
        fields = [path if name == ":path" else (name, value) for name, value in h2.GET]
        self.send(h2.headers(stream, fields))
        return stream

    def cancel(self, stream: int) -> None:
        """No interest any more."""
        self.nonces.pop(stream)
        self.send(h2.frame(h2.RST_STREAM, 0, stream, (8).to_bytes(4)))

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
            self.bodies[stream] = self.bodies.get(stream, b"") + payload
            if payload:
                self.send(h2.window_update(0, len(payload)))
                if not flags & h2.END_STREAM:
                    self.send(h2.window_update(stream, len(payload)))
        elif kind == h2.GOAWAY:
            self.going = True
            if int.from_bytes(payload[4:8]):
                self.world.fail(f"the connection was ended: {payload[8:]!r}")
        elif kind == h2.RST_STREAM and stream in self.nonces:
            self.world.fail(f"stream {stream} was reset with {int.from_bytes(payload)}")
        elif kind == h2.SETTINGS and not flags & h2.ACK:
            self.send(h2.settings(ack=True))
        if kind in (h2.HEADERS, h2.DATA) and flags & h2.END_STREAM:
            self.done.add(stream)

    def finish(self) -> None:
        """Wait for the answers to everything; each must be the one to its request."""
        while self.nonces.keys() - self.done:
            try:
                self.take()
            except Gone:
                left = [self.nonces[number][0] for number in self.nonces.keys() - self.done]
                if any(map(self.stage.was_run, left)):
                    self.world.fail(f"the connection ended without answers to {left}")
                break
        for stream in self.nonces.keys() & self.done:
            nonce, body = self.nonces[stream]
            fields = self.fields[stream]
            if fields.get(":status") != "200" or fields.get("x-nonce") != nonce:
                self.world.fail(f"stream {stream}, {nonce}, was answered with {fields}")
            if self.bodies.get(stream, b"") != body:
                self.world.fail(f"stream {stream}, {nonce}, got another body")


def asking(*asks: tuple[str, int], window: int = _WINDOW) -> Client:
    """A guest with several requests at once."""

    def guest(stage: Stage) -> None:
        try:
            client = Streamer(stage, window=window)
        except (Gone, OSError):
            return  # too late
        try:
            for kind, number in asks:
                client.start(kind, number)
        except Gone:
            client.going = True
        client.finish()
        client.leave()

    return guest


def cancelling(stage: Stage) -> None:
    """A guest who loses interest in the middle."""
    client = Streamer(stage, window=20_000)
    slow = client.start("sleep", 2)
    large = client.start("stream", 8)
    client.start("fast")
    client.take()
    client.cancel(large)
    client.start("fast")
    client.cancel(slow)
    client.finish()
    client.leave()


def slamming(stage: Stage) -> None:
    """A guest who goes without a word."""
    client = Streamer(stage, window=20_000)
    client.start("stream", 20)
    client.start("sleep", 3)
    client.take()
    client.leave()


def http2(world: World) -> None:
    """Streams of one connection in several threads: their frames, their ends, the core's loss."""
    _perform(
        world,
        asking(("sleep", 3), ("fast", 0), ("big", 20_000), ("stream", 5), ("fast", 0)),
        asking(("stream", 4), ("stream", 4), ("sleep", 2), window=5000),
        several(("fast", 0), ("sleep", 2), ("fast", 0)),
    )


def http2_cancel(world: World) -> None:
    """Streams that are reset, and connections that end, while threads send on them."""
    _perform(world, cancelling, slamming, cancelling, asking(("fast", 0), ("stream", 3)))


def http2_drain(world: World) -> None:
    """The engine stops while streams run: each that was begun is answered."""

    def soon(stage: Stage) -> None:
        stage.world.sleep("drain.soon", 0.0005)
        stage.drain()

    guests = [asking(("sleep", 2), ("stream", 3), ("fast", 0)), asking(("fast", 0), ("sleep", 1))]
    _perform(world, *guests, meanwhile=soon)


def _perform(world: World, *guests: Client, meanwhile: Client | None = None) -> None:
    settings = Settings(gateway=lambda: lambda _: None, threads=4, cores=2, http2=begin)
    perform(world, partial(on_threads, settings), 4, *guests, meanwhile=meanwhile)


_FOCUS = ("Pump", "Session", "core.lock", "Spares", "client", "StreamExchange")

SCENES = [
    Scene("http2", http2.__doc__ or "", http2, _FOCUS),
    Scene("http2-cancel", http2_cancel.__doc__ or "", http2_cancel, _FOCUS),
    Scene("http2-drain", http2_drain.__doc__ or "", http2_drain, (*_FOCUS, "drain")),
]
