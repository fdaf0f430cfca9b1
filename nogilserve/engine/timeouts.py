"""A limit on how long an application may take to begin its response, with threads.

A thread cannot be stopped from outside. So the request is taken away from it: the client gets a
504, another thread takes its place, and what it says when it comes back is thrown away. Without a
limit nothing of this is in the way of a request.

Who answers is decided once, under the lock of the request's turn: the application, when it begins
its response, or the watch, when the time is over.
"""

import logging
import threading
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, BinaryIO, Final, Protocol, cast

from nogilserve.engine.body import BodyStore
from nogilserve.engine.settings import Gateway
from nogilserve.errors import ClientDisconnected
from nogilserve.messages import Exchange, Headers, TimeLimits
from nogilserve.stacks import text_of

__all__ = ["Abandoned", "Turn", "Watch"]

_log = logging.getLogger("nogilserve.engine")

_PART: Final = 10
"""Looks in the time of one limit: so much later than the limit a client may get its answer."""
_SHORTEST: Final = 0.02
_LONGEST: Final = 1.0


class Abandoned(BaseException):
    """The request was taken away from this thread: its connection is not to be touched."""


class Home(Protocol):
    """What a turn needs of a core."""

    def submit(self, what: Callable[[Any], bool]) -> None:
        """Have the driver call `what(core)` soon."""

    def drive_as_spare(self) -> None:
        """Drive it, unless somebody does."""


class Tenant(Exchange, Protocol):
    """What a turn needs of a connection."""

    core: Home

    def time_out(self, turn: "Turn", core: Any) -> bool:
        """Answer 504, and close. The driver of the core."""


class Turn:
    """The exchange as the gateway gets it: the connection's, until the time is over.

    Owner: the thread that runs the request. The watch may set `over`, under the lock; whoever holds
    the lock sees either. Nothing that can block happens under it.
    """

    def __init__(self, exchange: Tenant, seconds: float) -> None:
        """`seconds`: the limit."""
        self._exchange = exchange
        self.lock = threading.Lock()
        self.seconds = seconds
        self.until = monotonic() + seconds
        self.thread = threading.get_ident()
        self.begun = False
        """The application answers."""
        self.over = False
        """It was given up."""
        self.returned = False
        self.request = exchange.request
        self.scheme = exchange.scheme
        self.client = exchange.client
        self.server = exchange.server
        self.tls = exchange.tls
        self.redirects = exchange.redirects
        self.body: BodyStore | None = None
        """The stored body, once the connection has given it up; closed when both have."""

    @property
    def connection(self) -> Tenant:
        """Whose turn it is."""
        return self._exchange

    def expire(self) -> bool:
        """Give the application up. False: it has begun its answer, or has ended. The watch."""
        with self.lock:
            if self.begun or self.over or self.returned:
                return False
            self.over = True
        return True

    def come_back(self) -> bool:
        """The application has returned. False: it was given up meanwhile."""
        with self.lock:
            self.returned = True
            if self.body is not None:
                self.body.close()
            return not self.over

    def keep(self, body: BodyStore | None) -> None:
        """Take over the body that the application may still be reading. The core's driver."""
        with self.lock:
            if not self.returned:
                self.body = body
            elif body is not None:
                body.close()

    def _begin(self) -> None:
        if self.begun:
            return
        with self.lock:
            self._require()
            self.begun = True

    def _require(self) -> None:
        if self.over:
            raise ClientDisconnected("the response has taken too long: the client has got a 504")

    # ---- messages.Exchange

    @property
    def received(self) -> int:
        """Bytes of the request body."""
        return self._exchange.received

    def open_body(self) -> BinaryIO:
        """The request body."""
        with self.lock:
            self._require()
            return self._exchange.open_body()

    def send_early_hints(self, headers: Headers) -> None:
        """Early hints are no response; they count as the beginning of one all the same."""
        self._begin()
        self._exchange.send_early_hints(headers)

    def prepare(self, status: str, headers: Headers) -> None:
        """Check and keep status and field lines."""
        with self.lock:
            self._require()
            self._exchange.prepare(status, headers)

    @property
    def declared_length(self) -> int | None:
        """The Content-Length among the prepared field lines."""
        return self._exchange.declared_length

    def send_whole(self, body: bytes) -> None:
        """Begin and end."""
        self._begin()
        self._exchange.send_whole(body)

    def send_head(self, length: int | None) -> None:
        """Begin."""
        self._begin()
        self._exchange.send_head(length)

    def send_data(self, data: bytes) -> None:
        """Go on."""
        self._exchange.send_data(data)

    def send_file(self, file: BinaryIO, offset: int, count: int) -> None:
        """Go on."""
        self._exchange.send_file(file, offset, count)

    def send_end(self) -> None:
        """End."""
        self._exchange.send_end()

    def abort(self) -> None:
        """Nobody answers any more, unless the watch does."""
        with self.lock:
            if not self.over:
                self.begun = True
                self._exchange.abort()

    @property
    def head_sent(self) -> bool:
        """Whether a final response head was handed over."""
        return self._exchange.head_sent

    @property
    def request_id(self) -> str:
        """Made on first use."""
        return self._exchange.request_id


class Watch:
    """Finds turns that take too long. `run` is the body of a thread of its own; `wrap` is for the
    runtime, what it makes for the threads that run requests, `stuck` for any thread.

    `_running` and `_stuck` are added to and taken from by several threads: single operations of a
    set are atomic.
    """

    def __init__(
        self, limits: TimeLimits, replace: Callable[[Home], None], dismiss: Callable[[], None]
    ) -> None:
        """`replace` starts a thread that first drives the core if nobody
        does, `dismiss` lets one go."""
        self._limits = limits
        self._replace = replace
        self._dismiss = dismiss
        self._running: set[Turn] = set()
        self._stuck: set[Turn] = set()
        self._stopping = threading.Event()

    @property
    def stuck(self) -> int:
        """Threads that are still inside an application that was given up."""
        return len(self._stuck)

    def wrap(self, make: Callable[[], Gateway]) -> Callable[[], Gateway]:
        """What makes gateways whose applications are watched."""
        return lambda: partial(self._call, make())

    def _call(self, gateway: Gateway, exchange: Exchange) -> None:
        seconds = self._limits.of_request(exchange.request)
        if not seconds:
            gateway(exchange)
            return
        turn = Turn(cast(Tenant, exchange), seconds)
        self._running.add(turn)
        try:
            gateway(cast(Exchange, turn))
        finally:
            self._running.discard(turn)
            if not turn.come_back():
                self._stuck.discard(turn)
                self._dismiss()
                _log.warning("request %s: the thread has come back", turn.request_id)
                raise Abandoned

    def run(self) -> None:
        """Look, until `stop`."""
        pause = min(max(self._limits.shortest / _PART, _SHORTEST), _LONGEST)
        while not self._stopping.wait(pause):
            now = monotonic()
            for turn in list(self._running):
                if now >= turn.until and not turn.begun and not turn.over:
                    self._give_up(turn)

    def stop(self) -> None:
        """End `run`. Any thread."""
        self._stopping.set()

    def _give_up(self, turn: Turn) -> None:
        # Before the claim: a thread that comes back at once must find it there.
        self._stuck.add(turn)
        if not turn.expire():
            self._stuck.discard(turn)
            return
        connection = turn.connection
        core = connection.core
        core.submit(partial(connection.time_out, turn))
        try:
            self._replace(core)
        except RuntimeError as exc:
            _log.error("the stuck thread cannot be replaced: %s", exc)
        stack = text_of(turn.thread)
        _log.error(
            "request %s: %s %s has not begun its response in %g s; its thread is replaced. It is "
            "at:\n%s",
            turn.request_id,
            turn.request.method,
            turn.request.target,
            turn.seconds,
            stack,
        )
