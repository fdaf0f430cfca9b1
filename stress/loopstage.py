"""The runtime of event loops in a world, with an ASGI application."""

import asyncio
from functools import partial
from typing import Any, Final

from nogilserve.engine.loop.core import LoopSettings
from nogilserve.engine.loop.selector import DirectSelector
from nogilserve.engine.poller import make_poller
from nogilserve.runtimes.contract import Served
from nogilserve.runtimes.loops import LoopOptions, LoopRuntime
from stress.stage import STREAMS, Gone, Guest, Stage, piece
from stress.stand_ins import PollerHere
from stress.world import World
from tests.apps.raw_websocket import CLOSE, PONG, TEXT, frame

__all__ = ["Talker", "on_loops"]

_HANDSHAKE: Final = (
    "GET {} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def on_loops(loops: int, stage: Stage, settings: LoopSettings | None = None) -> LoopRuntime:
    """A runtime of so many loops for the stage's application."""
    options = LoopOptions(
        settings or LoopSettings(),
        make_loop=lambda: _loop(stage.world),
        loop_name="asyncio",
        loops=loops,
        find_bound=lambda _: [],
        lifespan="off",
        late=0.0,
    )
    return LoopRuntime(Application(stage), Served("stage", "asgi", "loops"), options)


class _Loop(asyncio.SelectorEventLoop):
    """An event loop with the world's clock. Owner: its thread."""

    def __init__(self, world: World, selector: DirectSelector) -> None:
        self._world = world
        super().__init__(selector)

    def time(self) -> float:
        """Seconds of the world."""
        return self._world.now


def _loop(world: World) -> tuple[asyncio.AbstractEventLoop, DirectSelector]:
    poller: Any = PollerHere(world, make_poller(), "loop")
    selector = DirectSelector(poller)
    loop = _Loop(world, selector)
    world.closers.append(partial(_end, loop))
    return loop, selector


def _end(loop: _Loop) -> None:
    """After a failure: nobody waits for its tasks, and that is no news."""
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    if not loop.is_running():
        loop.close()


class Application:
    """The same paths as those of WSGI, and WebSockets. Owner: whoever has the baton."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._world = stage.world
        self._room: list[Any] = []
        """The `send` of everybody who is in the chat, on whatever loop."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """/KIND/NONCE/NUMBER"""
        kind, nonce, number = scope["path"][1:].split("/")
        self._stage.enter(nonce)
        try:
            if scope["type"] == "websocket":
                await self._talk(kind, int(number), receive, send)
            else:
                await self._answer(kind, nonce, int(number), receive, send)
        finally:
            self._stage.inside -= 1

    async def _answer(self, kind: str, nonce: str, amount: int, receive: Any, send: Any) -> None:
        self._world.point("application")
        body = nonce.encode()
        if kind == "sleep":
            await asyncio.sleep(amount / 1000)
        elif kind == "block":
            self._world.sleep("application.block", amount / 1000)
        elif kind == "big":
            body *= amount
        elif kind == "upload":
            body = b"%d" % await _size_of_body(receive)
        fields = [(b"x-nonce", nonce.encode())]
        streams = kind in STREAMS
        if not streams:
            fields.append((b"content-length", b"%d" % len(body)))
        reading = asyncio.create_task(_size_of_body(receive)) if kind == "duplex" else None
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        for number in range(amount if streams else 0):
            body = piece(nonce, number)
            if kind == "drip":
                await asyncio.sleep(0.001)
            await send({"type": "http.response.body", "body": body, "more_body": True})
        if kind == "break":
            raise RuntimeError("on purpose, in the middle")
        await send({"type": "http.response.body", "body": b"" if streams else body})
        if reading is not None:
            await reading

    async def _talk(self, kind: str, amount: int, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        self._room.append(send)
        ends = 0
        try:
            if kind == "push":
                for number in range(amount):
                    await send({"type": "websocket.send", "text": f"{number}"})
                    await asyncio.sleep(0)
            while (message := await receive())["type"] == "websocket.receive":
                self._world.point("application.message")
                if kind == "hang-up":
                    await send({"type": "websocket.close", "code": 4000})
                for other in list(self._room) if kind == "chat" else [send]:
                    await _send_if_there(other, message["text"])
            ends += 1
        except OSError:
            pass  # the client has left: that is what `send` says
        finally:
            self._room.remove(send)
        if ends == 1:
            again = await receive()
            if again["type"] != "websocket.disconnect":
                self._world.fail(f"after its end a WebSocket brought {again}")


async def _size_of_body(receive: Any) -> int:
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            return size


async def _send_if_there(send: Any, text: str) -> None:
    try:
        await send({"type": "websocket.send", "text": text})
    except OSError:
        pass  # left since


class Talker(Guest):
    """A WebSocket client. Owner: its actor."""

    def open(self, kind: str, number: int = 0) -> bool:
        """Shake hands. False: the server stops."""
        path = f"/{kind}/{self.stage.nonce()}/{number}"
        try:
            self.send(_HANDSHAKE.format(path).encode())
            head = self._until(b"\r\n\r\n")
        except Gone:
            return False
        if not head.startswith(b"HTTP/1.1 101"):
            self.world.fail(f"the handshake was answered with {head[:200]!r}")
        return True

    def say(self, text: str) -> None:
        """A message."""
        self.send(frame(TEXT, text.encode()))

    def hear(self) -> str | int:
        """The next message, or the code of the Close frame. Raises Gone."""
        while True:
            first, size = self._exactly(2)
            if size == 126:
                size = int.from_bytes(self._exactly(2))
            payload = self._exactly(size)
            if first & 15 == CLOSE:
                return int.from_bytes(payload[:2])
            if first & 15 == PONG:
                continue
            return payload.decode()

    def bye(self) -> None:
        """A Close frame."""
        self.send(frame(CLOSE, (1000).to_bytes(2)))
