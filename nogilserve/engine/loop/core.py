"""What the connections of one event loop share."""

import asyncio
import logging
import socket
import threading
from asyncio import Task
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final, Protocol

from nogilserve.engine.admission import Admission
from nogilserve.engine.counters import Counters
from nogilserve.engine.date import date_line
from nogilserve.engine.loop.direct import DirectSockets, DirectTransport
from nogilserve.engine.loop.observed import Observed
from nogilserve.engine.meter import Observe
from nogilserve.engine.records import recorder
from nogilserve.engine.roles import ENCRYPTED
from nogilserve.engine.shares import Shares
from nogilserve.engine.wheel import NEVER, Wheel
from nogilserve.messages import AsyncExchange, Limits, RequestRecord, WebSocketExchange
from nogilserve.protocols.http1.tables import KnownHead, Tables
from nogilserve.protocols.proxy import ProxyRules

if TYPE_CHECKING:
    from nogilserve.engine.elsewhere import Elsewhere
    from nogilserve.engine.encryption import Encryption
    from nogilserve.engine.loop.secure import Handshakes

__all__ = ["Accepted", "AsyncGateway", "Client", "LoopCore", "LoopSettings"]

_log = logging.getLogger("nogilserve.engine")

_GIVE_UP: Final = 0.5
"""Seconds after which cancelled requests are not waited for any longer."""

BEAT: Final = 0.2
"""Seconds between two signs of life of a loop with requests in progress."""


class AsyncGateway(Protocol):
    """Runs the application. Owner: one loop. The coroutines never raise."""

    def http(self, exchange: AsyncExchange) -> Coroutine[Any, Any, None]:
        """One request."""

    def websocket(self, exchange: WebSocketExchange) -> Coroutine[Any, Any, None]:
        """One WebSocket connection, from its handshake to its end."""


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """Immutable. Times are in seconds, sizes in bytes; 0 turns a time off where noted."""

    limits: Limits = field(default_factory=Limits)
    keep_alive: float = 5.0
    """Between two requests of a connection."""
    head_timeout: float = 10.0
    """From accepting, or from the first byte of a head, to the end of that head."""
    body_timeout: float = 30.0
    """Between two pieces of a request body that the application waits for."""
    write_timeout: float = 60.0
    """Without the client taking a byte of the response."""
    server_header: bool = True
    """Whether responses say `Server: nogilserve`."""
    http2: Callable[[Any, bytes], None] | None = None
    """Takes over a connection (and bytes read so far) whose client speaks HTTP/2; None where it is
    not spoken."""
    http1: bool = True
    """Whether HTTP/1 is spoken."""
    record: Callable[[RequestRecord], None] | None = None
    """Takes finished requests for the access log; any thread, must not block."""
    proxies: ProxyRules = field(default_factory=ProxyRules)
    """Whom to believe whom requests come from."""
    limit_concurrency: int = 0
    """Requests that the application has not answered yet, on all loops together; 0: no limit."""
    admission: Admission | None = None
    """Counts connections where their number is limited."""
    ws_max_size: int = 1 << 24
    """Longest WebSocket message, decompressed."""
    ws_ping_interval: float = 20.0
    """Between two pings; 0: none are sent."""
    ws_ping_timeout: float = 20.0
    """From a ping to its pong; 0: it is waited for without end."""
    ws_deflate: bool = True
    """Whether permessage-deflate is agreed to (RFC 7692)."""
    encryption: "Encryption | None" = None
    """Where TLS is spoken."""
    elsewhere: "Callable[[], Elsewhere] | None" = None
    """Makes what tells a loop which requests are for other processes; None: none are."""
    observe: Observe | None = None
    """What is counted of requests, where somebody looks."""


class Client(Protocol):
    """A connection as its core knows it."""

    deadline: float
    due: float

    def on_deadline(self) -> None:
        """The deadline has passed."""

    def stop(self) -> None:
        """The server stops: end now when idle, else as soon as it can be done in order."""

    def cut(self) -> None:
        """The server does not wait any longer."""

    def now_running(self) -> str:
        """The request inside the application, "GET /path", "" for none. Any thread."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted connection on its way to its loop. Immutable."""

    fd: int
    """Of the socket, owned by whoever takes this up."""
    family: int
    client: tuple[str, str] | None
    server: tuple[str, str]
    role: str = ENCRYPTED
    """What the connection is to be: see `engine.roles`."""
    unread: bytes = b""
    """What was read from it before it came here."""


class LoopCore:
    """Owner: the thread of its loop. For any thread: `adopt_soon`, `submit`, `is_late`, `silence`,
    reading `counters`, `active`, `beating` and (as a copy) `clients`.
    """

    __slots__ = (
        "_last_beat",
        "_make_client",
        "_server_line",
        "_timer",
        "_timer_at",
        "_touched",
        "active",
        "beating",
        "begin_http2",
        "blocked",
        "body_timeout",
        "careful",
        "clients",
        "common",
        "context",
        "counters",
        "crowd",
        "elsewhere",
        "encryption",
        "gateway",
        "handshakes",
        "head_timeout",
        "heads",
        "idle",
        "index",
        "keep_alive",
        "lag",
        "limit",
        "limits",
        "loop",
        "next_second",
        "on_beating",
        "only_http2",
        "origins",
        "patient",
        "pinged",
        "proxies",
        "record",
        "responses",
        "settings",
        "shares",
        "sockets",
        "stopping",
        "strict_heads",
        "tables",
        "tasks",
        "thread",
        "wheel",
        "write_timeout",
    )

    def __init__(
        self,
        index: int,
        loop: asyncio.AbstractEventLoop,
        gateway: AsyncGateway,
        settings: LoopSettings,
        shares: Shares,
        make_client: "Callable[[LoopCore, Accepted], asyncio.Protocol]",
        sockets: DirectSockets | None = None,
    ) -> None:
        """`sockets`: where connections are not served by the loop's own transports."""
        self.index = index
        self.loop = loop
        self.thread = threading.get_ident()
        self.gateway = gateway
        self.settings = settings
        self.shares = shares
        self._make_client = make_client
        self.sockets = sockets
        self.tables = Tables()
        self.heads: dict[tuple[object, ...], KnownHead] = {}
        """Response heads that gateways have prepared before; see `messages.AsyncExchange`."""
        self.strict_heads: dict[tuple[object, ...], KnownHead] = {}
        """Those that hold the promise of RFC 6797."""
        self.counters = Counters()
        self.clients: set[Client] = set()
        """Open connections."""
        self.tasks: set[asyncio.Task[None]] = set()
        """Requests that did not end in their first step; keeps them alive."""
        self.active = 0
        """Requests that the application has not answered yet."""
        self.wheel: Wheel[Any] = Wheel()
        self.context = Context()
        """Of timers. They would take along that of the request which happens to set them, and keep
        what the application has put there."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = NEVER
        self.stopping = False
        """No further request on any connection."""
        self.patient = False
        """While stopping: another process serves on, idle connections may ask once more."""
        self.idle = asyncio.Event()
        """Set when the core is stopping and has nothing left to do."""
        self.beating = False
        """Whether signs of life are given. Written by the loop, read by any thread."""
        self._last_beat = 0.0
        self._touched = False
        self.on_beating: Callable[[], None] = _nobody
        """Called when signs of life begin. Set by the watch, before the first connection."""
        self.blocked = 0
        """Times the loop was found blocked. Written by the watch."""
        self.lag = 0.0
        """Seconds the last `ping` took. Written by the loop, read by any thread."""
        self.pinged = 0.0
        """When the ping that is on its way was sent, monotonic; 0: none is."""
        self.common = b""
        """The Date and Server field lines of responses."""
        self._server_line = b"Server: nogilserve\r\n" if settings.server_header else b""
        self.next_second = 0.0
        # Copies of the settings that requests need: shared instances are slow to read from.
        self.limits = settings.limits
        self.keep_alive = settings.keep_alive
        self.head_timeout = settings.head_timeout
        self.body_timeout = settings.body_timeout
        self.write_timeout = settings.write_timeout
        self.record = recorder(settings.record, settings.observe)
        """Takes note of finished requests; None where nobody wants to know."""
        if self.record is not None and self.record.meter is not None:
            self.gateway = Observed(gateway, self.record.meter)
        self.begin_http2 = settings.http2
        """Goes on with HTTP/2 on a connection of which the given bytes were read; None where it
        is not spoken."""
        self.only_http2 = not settings.http1
        self.responses: Any = None
        """Response heads of HTTP/2 that are kept; made by the first such connection."""
        self.encryption = settings.encryption
        self.elsewhere = settings.elsewhere() if settings.elsewhere is not None else None
        self.handshakes: Handshakes | None = None
        """Those that wait for their turn, where TLS is spoken."""
        self.limit = settings.limit_concurrency
        self.crowd: Sequence[LoopCore] = (self,)
        """All cores that the limit is for. Set before the first connection."""
        self.careful = bool(self.record is not None or self.limit or not self.keep_alive)
        """Whether there is more to do with a request than to give it to the application."""
        self.proxies = settings.proxies
        self.origins = settings.proxies.reader()

    # ---- any thread

    def adopt_soon(self, batch: Sequence[Accepted]) -> None:
        """Make these accepted sockets connections of this loop."""
        self.submit(self._adopt, batch)

    def submit(self, what: Callable[..., object], *arguments: object) -> None:
        """Have the loop call `what` soon. RuntimeError once the loop is closed."""
        self.loop.call_soon_threadsafe(what, *arguments)

    def is_late(self, seconds: float) -> bool:
        """Whether the loop should have given a sign of life and has not for `seconds`."""
        return self.beating and self.silence() > seconds

    def silence(self) -> float:
        """Seconds since the loop should have turned, at most 0 when it has."""
        return monotonic() - self._last_beat - BEAT

    def ping(self) -> float:
        """Seconds until the loop takes up what it is given: of the last time, or so far. Whoever
        looks calls this, one thread at a time; an idle loop is woken by it."""
        now = monotonic()
        if self.pinged:
            return max(self.lag, now - self.pinged)
        self.pinged = now
        try:
            self.submit(self._pong)
        except RuntimeError:  # closed
            self.pinged = 0.0
        return self.lag

    # ---- the loop

    def _pong(self) -> None:
        self.lag = monotonic() - self.pinged
        self.pinged = 0.0

    def _adopt(self, batch: Sequence[Accepted]) -> None:
        for accepted in batch:
            try:
                # Wrapped here: an attribute whose value another thread has made is slow.
                sock = socket.socket(accepted.family, socket.SOCK_STREAM, fileno=accepted.fd)
            except OSError:
                socket.close(accepted.fd)
                self.shares.release(self.index)
                continue
            try:
                sock.setblocking(False)
                if accepted.client is not None:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client = self._make_client(self, accepted)
                if self.sockets is None:
                    self.spawn(self._connect(sock, client, accepted.unread))
                else:
                    DirectTransport(self.loop, self.sockets, sock, client)
                    if accepted.unread:
                        client.data_received(accepted.unread)
            except OSError:
                self._not_connected(sock)
            except Exception:  # one connection must not cost the others of the batch
                _log.critical("internal error with a new connection", exc_info=True)
                self._not_connected(sock)

    async def _connect(self, sock: socket.socket, client: asyncio.Protocol, unread: bytes) -> None:
        try:
            await self.loop.connect_accepted_socket(lambda: client, sock)
        except OSError:
            self._not_connected(sock)
            return
        if unread:
            client.data_received(unread)

    def _not_connected(self, sock: socket.socket) -> None:
        """The client is gone already, or the poller does not take the socket."""
        sock.close()
        self.shares.release(self.index)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine as an eager task with a context of its own."""
        task = Task(work, loop=self.loop, eager_start=True, context=Context())
        if not task.done():
            self.tasks.add(task)
            task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if self.stopping:
            self.check_idle()

    def crowded(self) -> bool:
        """Whether more requests are with the application than `limit`, the one at hand, which is
        counted in `active` already, among them.

        Each loop writes its own number only, and adds the others' up without a lock. Because each
        counts its request before it looks, of two that come at once at least one sees the other:
        the limit is never exceeded, but both may be refused where one place was left.
        """
        return sum([core.active for core in self.crowd]) > self.limit

    def touch(self) -> None:
        """Something is given to the application: signs of life are due from now on."""
        self._touched = True
        if not self.beating:
            self._beat()
            self.on_beating()

    def _beat(self) -> None:
        """A sign of life, for as long as something happens: an idle loop is left asleep."""
        self._last_beat = monotonic()
        if (self.active or self._touched) and not self.idle.is_set():
            self._touched = False
            self.beating = True
            self.loop.call_later(BEAT, self._beat, context=self.context)
        else:
            self.beating = False

    def opened(self, client: Client) -> None:
        """A connection was made."""
        self.clients.add(client)

    def closed(self, client: Client) -> None:
        """A connection has ended."""
        self.clients.discard(client)
        self.counters.closed += 1
        self.shares.release(self.index)
        if self.stopping:
            self.check_idle()

    def check_idle(self) -> None:
        """Tell who waits for it when nothing is left to do."""
        if not self.clients and not self.tasks:
            self._rest()

    def _rest(self) -> None:
        """The loop is not watched any more: it may end at any moment."""
        self.idle.set()
        self.beating = False

    def stop(self, *, patient: bool) -> None:
        """Serve what was begun and nothing else; see `idle` and `patient`."""
        self.stopping = self.careful = True
        self.patient = patient
        for client in list(self.clients):
            client.stop()
        self.check_idle()

    def cut_off_later(self, seconds: float) -> None:
        """Cut off what is left then."""
        self.loop.call_later(max(seconds, 0), self.cut_off)

    def cut_off(self) -> None:
        """End what is left, at the latest in a moment."""
        self.cut_all("the server stops")
        # An application that does not end in spite of that must not cost the others' shutdown.
        self.loop.call_later(_GIVE_UP, self._rest)

    def cut_all(self, why: str = "it took too long") -> None:
        """Abort all connections and cancel all requests."""
        for client in list(self.clients):
            client.cut()
        for task in list(self.tasks):
            task.cancel(why)

    def set_deadline(self, client: Client, seconds: float) -> None:
        """Call `client.on_deadline` when it is due, up to a second late."""
        client.deadline = deadline = monotonic() + seconds
        if deadline < client.due - 1:
            self.enter(client)

    def enter(self, client: Client) -> None:
        """Have the client's deadline looked after."""
        self.wheel.enter(client)
        if self.wheel.next < self._timer_at:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self.wheel.next
        # A time from now, since uvloop's clock is not the system's monotonic one.
        seconds = max(self._timer_at - monotonic(), 0)
        self._timer = self.loop.call_later(seconds, self._expire, context=self.context)

    def _expire(self) -> None:
        self._timer = None
        self._timer_at = NEVER
        for client in self.wheel.expire(monotonic()):
            try:
                client.on_deadline()
            except Exception:
                _log.critical("internal error in %r", client, exc_info=True)
                client.cut()
        if self.wheel.next < self._timer_at:
            self._set_timer()

    def refresh(self, now: float) -> None:
        """Bring the Date field up to date when its second is over; `now`: monotonic."""
        if now >= self.next_second:
            self.next_second = now // 1 + 1
            self.common = date_line(time()) + self._server_line
            self.tables.try_again()


def _nobody() -> None:
    """Nobody watches."""
