"""Scenes of HTTP/2 on both engines: on cores one connection, its mutex, and streams in many
threads; on event loops a task for each stream."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from nogilserve.engine.http2 import begin
from nogilserve.engine.loop.core import LoopSettings
from nogilserve.engine.loop.http2 import begin as begin_on_loop
from nogilserve.engine.settings import Settings
from stress.loopstage import on_loops
from stress.scenes.guests import Client, several
from stress.scenes.scene import Scene
from stress.stage import Gone, Stage, on_threads, perform
from stress.streamer import NO_LAST, WINDOW, Streamer
from stress.world import World

__all__ = ["SCENES", "asking"]

Build = Callable[[Stage], Any]

_LARGE = 40
"""Pieces of a body, more than a window and what is kept in memory take together."""
_MANY = 64
"""Requests that may be inside an asynchronous application."""


def asking(*asks: tuple[str, int], window: int = WINDOW, kind: type[Streamer] = Streamer) -> Client:
    """A guest with several requests at once."""

    def guest(stage: Stage) -> None:
        try:
            client = kind(stage, window=window)
        except (Gone, OSError):
            return  # too late
        try:
            for what, number in asks:
                client.start(what, number)
        except Gone:
            pass
        client.finish()
        client.leave()

    return guest


def opening(stage: Stage) -> None:
    """A guest who opens one stream after the other until the server says which is the last."""
    try:
        client = Streamer(stage)
    except (Gone, OSError):
        return  # too late
    try:
        for number in range(12):
            client.start("sleep" if number % 3 else "stream", number % 3)
            if client.last not in (-1, NO_LAST):
                break
            client.take()
    except Gone:
        pass
    client.finish()
    client.leave()


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


def hoarding(stage: Stage) -> None:
    """A guest who lets several answers wait for the window of the connection, loses interest in
    some of them, and wants the others."""
    client = Streamer(stage, more=0)
    client.generous = False
    first, *others = [client.start("stream", 3) for _ in range(4)]
    while not client.bodies:
        client.take()
    client.cancel(first)
    client.widen(0, 40_000)
    client.cancel(others.pop())
    client.start("fast")
    client.generous = True
    client.widen(0, 4 * 65_536)
    client.finish()
    client.leave()


def stalling(stage: Stage) -> None:
    """A guest who takes nothing of a large answer until its application waits, then loses interest,
    and does the same again but comes to read."""
    client = Streamer(stage, window=300_000, more=300_000)
    client.generous = False
    client.cancel(client.start("stream", _LARGE))
    lost = client.start("stream", _LARGE)
    while client._rooms[lost] > 0 and client._rooms[0] > 0:
        client.take()
    stage.world.sleep("client.dawdle", 0.01)
    client.cancel(lost)
    client.generous = True
    client.widen(0, 300_000)
    client.start("stream", 3)
    client.start("fast")
    client.finish()
    client.leave()


def uploading(stage: Stage) -> None:
    """A guest who sends bodies, and takes some of them back."""
    client = Streamer(stage)
    for _ in range(3):
        client.start("upload", upload=30_000)
        client.cancel(client.start("upload", upload=30_000))
    client.start("fast")
    client.finish()
    client.leave()


def halting(stage: Stage) -> None:
    """A guest who sends half a body and takes half an answer: the server gives up when its time is
    over, and with it whoever waits for a window."""
    client = Streamer(stage, more=0)
    client.generous = False
    stream = client.start("duplex", 20, upload=2000, halts=True)
    client.nonces.pop(stream)
    while stream not in client.reset:
        client.take()
    client.leave()


def slamming(stage: Stage) -> None:
    """A guest who goes without a word."""
    client = Streamer(stage, window=20_000)
    client.start("stream", 20)
    client.start("sleep", 3)
    client.take()
    client.leave()


def soon(stage: Stage) -> None:
    """Stop while the guests come."""
    stage.world.sleep("drain.soon", 0.0005)
    stage.drain()


_STREAMS = [
    asking(("drip", 4), ("drip", 5), ("drip", 3)),
    asking(("sleep", 3), ("fast", 0), ("big", 20_000), ("stream", 5), ("fast", 0)),
    asking(("stream", 4), ("stream", 4), ("sleep", 2), window=5000),
    several(("fast", 0), ("sleep", 2), ("fast", 0)),
]
_CANCELS = [cancelling, slamming, hoarding, uploading, stalling, asking(("fast", 0), ("stream", 3))]
_DRAINED = [
    asking(("sleep", 2), ("stream", 3), ("fast", 0)),
    asking(("fast", 0), ("sleep", 1)),
    opening,
]


def http2(world: World) -> None:
    """Streams of one connection in several threads: their frames, their ends, the core's loss."""
    perform(world, on_cores, 4, *_STREAMS)


def http2_cancel(world: World) -> None:
    """Streams that are reset, and connections that end, while threads send on them."""
    perform(world, on_cores, 4, *_CANCELS)


def http2_drain(world: World) -> None:
    """The engine stops while streams run and more are opened: each that was begun is answered."""
    perform(world, on_cores, 4, *_DRAINED, meanwhile=soon)


def loop_http2(world: World) -> None:
    """The same streams on event loops: their tasks wait for each other's windows and turns."""
    perform(world, on_two_loops, _MANY, *_STREAMS)


def loop_http2_cancel(world: World) -> None:
    """Streams that are reset while their task sends, or waits for a window."""
    perform(world, on_two_loops, _MANY, *_CANCELS, halting)


def loop_http2_drain(world: World) -> None:
    """Event loops stop while streams run and more are opened."""
    perform(world, on_two_loops, _MANY, *_DRAINED, meanwhile=soon)


SETTINGS = Settings(gateway=lambda: lambda _: None, threads=4, cores=2, http2=begin)
LOOP_SETTINGS = LoopSettings(http2=begin_on_loop)


def on_cores(stage: Stage, **more: Any) -> Any:
    """Four threads on two cores, with HTTP/2."""
    return on_threads(replace(SETTINGS, **more), stage)


def on_two_loops(stage: Stage, **more: Any) -> Any:
    """Two event loops, with HTTP/2."""
    return on_loops(2, stage, replace(LOOP_SETTINGS, **more))


_FOCUS = ("Pump", "Session", "core.lock", "Spares", "client", "StreamExchange")
_LOOP = ("loop", "client", "queue", "dispatcher")

SCENES = [
    Scene("http2", http2.__doc__ or "", http2, _FOCUS),
    Scene("http2-cancel", http2_cancel.__doc__ or "", http2_cancel, _FOCUS),
    Scene("http2-drain", http2_drain.__doc__ or "", http2_drain, (*_FOCUS, "drain")),
    Scene("loop-http2", loop_http2.__doc__ or "", loop_http2, _LOOP),
    Scene("loop-http2-cancel", loop_http2_cancel.__doc__ or "", loop_http2_cancel, _LOOP),
    Scene("loop-http2-drain", loop_http2_drain.__doc__ or "", loop_http2_drain, (*_LOOP, "drain")),
]
