"""A real event loop with one core and real sockets; the test is a coroutine on the same loop."""

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine, Generator
from time import monotonic
from typing import Any

from nogilserve.engine.loop.connection import HttpConnection
from nogilserve.engine.loop.core import Accepted, AsyncGateway, LoopCore, LoopSettings
from nogilserve.engine.loop.direct import DirectSockets
from nogilserve.engine.loop.selector import DirectSelector
from nogilserve.engine.poller import make_poller
from nogilserve.engine.shares import Shares
from nogilserve.errors import ClientDisconnected
from nogilserve.messages import AsyncExchange, RequestRecord, WebSocketExchange
from nogilserve.runtimes.eventloops import loop_factory

__all__ = [
    "SECONDS",
    "UVLOOP",
    "LoopRig",
    "Peer",
    "Routes",
    "get",
    "has_bytes",
    "on_loop",
    "reply",
    "turn",
]

UVLOOP = "uvloop"

SECONDS = 10.0
"""What a whole test may take before it fails."""

type Route = Callable[[AsyncExchange], Coroutine[Any, Any, None]]
type WebSocketRoute = Callable[[WebSocketExchange], Coroutine[Any, Any, None]]
type Main[T] = Callable[["LoopRig"], Coroutine[Any, Any, T]]


def get(target: str = "/", *fields: str) -> bytes:
    """The bytes of a request."""
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: test", *fields, "", ""]).encode()


async def reply(exchange: AsyncExchange) -> None:
    """What most applications do; the response names its request."""
    exchange.prepare("200 OK", [])
    exchange.send_whole(exchange.request.target.encode())


class _Turn:
    """One turn of the loop, without a timer."""

    def __await__(self) -> Generator[None]:
        yield


async def turn() -> None:
    """Let everybody else who is ready go first."""
    await _Turn()


class Routes:
    """An `AsyncGateway` of coroutines by path. Owner: the loop of the rig."""

    def __init__(self, routes: dict[str, Route], websocket: WebSocketRoute | None) -> None:
        self.routes = routes
        self._websocket = websocket
        self.ran: list[str] = []
        """Targets of the requests in the order of their beginnings."""
        self.disconnected: list[ClientDisconnected] = []

    async def http(self, exchange: AsyncExchange) -> None:
        """One request."""
        self.ran.append(exchange.request.target)
        try:
            await self.routes.get(exchange.request.path, reply)(exchange)
        except ClientDisconnected as exc:
            self.disconnected.append(exc)

    async def websocket(self, exchange: WebSocketExchange) -> None:
        """One WebSocket connection."""
        assert self._websocket is not None
        try:
            await self._websocket(exchange)
        except ClientDisconnected as exc:
            self.disconnected.append(exc)


class Peer:
    """The client's end of a connection. Owner: the test's coroutine."""

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self.sock = sock
        self._loop = loop
        self._rest = b""

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        await self._loop.sock_sendall(self.sock, data)

    async def receive(self) -> bytes:
        """What comes next, b"" at the end."""
        rest, self._rest = self._rest, b""
        return rest or await self._loop.sock_recv(self.sock, 1 << 16)

    async def until(self, end: bytes) -> bytes:
        """Bytes up to and including `end`."""
        data = b""
        while end not in data:
            piece = await self.receive()
            assert piece, f"closed after {data[-200:]!r}"
            data += piece
        at = data.index(end) + len(end)
        self._rest = data[at:]
        return data[:at]

    async def exactly(self, count: int) -> bytes:
        """So many bytes."""
        data = b""
        while len(data) < count:
            piece = await self.receive()
            assert piece, f"closed after {len(data)} of {count} bytes"
            data += piece
        self._rest = data[count:]
        return data[:count]

    async def rest(self) -> bytes:
        """Everything up to the end, which may be a reset."""
        data = b""
        try:
            while piece := await self.receive():
                data += piece
        except ConnectionError:
            pass
        return data

    def half_close(self) -> None:
        """Nothing more will be sent; reading goes on."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Leave without a farewell."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def has_bytes(peer: Peer) -> bool:
    """Whether something can be read."""
    try:
        return bool(peer.sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


class LoopRig:
    """Owner: the test's thread, which runs the loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sockets: DirectSockets,
        gateway: AsyncGateway,
        settings: LoopSettings,
    ) -> None:
        self.loop = loop
        self.sockets = sockets
        self.shares = Shares(1)
        self.core = LoopCore(0, loop, gateway, settings, self.shares, self._make, sockets)
        self.connections: list[HttpConnection] = []
        """Those of the server, in the order of `connect`."""
        self._peers: list[Peer] = []

    def _make(self, core: LoopCore, accepted: Accepted) -> HttpConnection:
        connection = HttpConnection(core, accepted)
        self.connections.append(connection)
        return connection

    def pair(self, send_buffer: int = 0, *, local: bool = False) -> tuple[socket.socket, Peer]:
        """The two ends of a TCP connection; of a local one, where what is sent is there at once."""
        if local:
            return self._keep(*socket.socketpair())
        with socket.create_server(("127.0.0.1", 0)) as listener:
            theirs = socket.socket()
            if send_buffer:
                theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, send_buffer)
            theirs.connect(listener.getsockname())
            ours = listener.accept()[0]
        if send_buffer:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        return self._keep(ours, theirs)

    def _keep(self, ours: socket.socket, theirs: socket.socket) -> tuple[socket.socket, Peer]:
        ours.setblocking(False)
        theirs.setblocking(False)
        peer = Peer(theirs, self.loop)
        self._peers.append(peer)
        return ours, peer

    async def connect(self, send_buffer: int = 0, *, local: bool = False) -> Peer:
        """A new connection of the core, once it is there."""
        ours, peer = self.pair(send_buffer, local=local)
        before = len(self.connections)
        client = None if local else ("192.0.2.1", "1234")
        accepted = Accepted(ours.detach(), ours.family, client, ("test", "80"))
        self.shares.assign(0)
        self.core.adopt_soon([accepted])
        await self.until(lambda: len(self.connections) > before)
        return peer

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the loop turn until that is so."""
        deadline = monotonic() + SECONDS / 2
        while not condition():
            assert monotonic() < deadline, f"not so in time: {condition}"
            await turn()

    async def turn(self, times: int = 20) -> None:
        """Let the loop turn, so that whatever is ready happens."""
        for _ in range(times):
            await turn()

    def look_after(self, seconds: float) -> None:
        """What the core would do that many seconds from now, without an event until then."""
        for client in self.core.wheel.expire(monotonic() + seconds):
            client.on_deadline()

    @property
    def refused(self) -> dict[str, int]:
        """Refusals by reason."""
        return self.core.counters.refused

    async def end(self) -> None:
        """All clients leave; nothing may be left over."""
        for peer in self._peers:
            peer.sock.close()
        self.core.cut_off()
        await self.until(lambda: not self.core.clients and not self.core.tasks)
        await self.turn(2)
        assert self.shares.counts() == (0,)
        assert self.core.active == 0
        assert not self.sockets.transports


def _make_loop(poller: str) -> tuple[asyncio.AbstractEventLoop, DirectSockets]:
    if poller != UVLOOP:
        selector = DirectSelector(make_poller(poller))
        return asyncio.SelectorEventLoop(selector), selector
    loop, sockets = loop_factory(UVLOOP, "auto")[1]()
    assert sockets is not None
    return loop, sockets


def on_loop[T](
    main: Main[T],
    routes: dict[str, Route] | None = None,
    *,
    websocket: WebSocketRoute | None = None,
    gateway: Callable[[asyncio.AbstractEventLoop], AsyncGateway] | None = None,
    poller: str = "auto",
    records: list[RequestRecord] | None = None,
    **settings: Any,
) -> T:
    """Run a test on a loop of its own; what it returns. Insists that nothing is left over.
    `poller`: that of asyncio's loop, or uvloop."""
    loop, sockets = _make_loop(poller)
    problems: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: problems.append(context))

    async def whole() -> T:
        made = Routes(routes or {}, websocket) if gateway is None else gateway(loop)
        record = None if records is None else records.append
        rig = LoopRig(loop, sockets, made, LoopSettings(record=record, **settings))
        try:
            async with asyncio.timeout(SECONDS):
                result = await main(rig)
        except BaseException:
            for client in list(rig.core.clients):
                client.cut()
            for peer in rig._peers:
                peer.sock.close()
            await turn()
            raise
        async with asyncio.timeout(SECONDS):
            await rig.end()
        return result

    try:
        result = loop.run_until_complete(whole())
    finally:
        loop.close()
        sockets.close()
    assert not problems, problems
    return result
