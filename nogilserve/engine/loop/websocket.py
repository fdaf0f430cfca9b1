"""One WebSocket connection on an event loop: its handshake, its messages, its end (RFC 6455).

HANDSHAKE ──accept──▶ OPEN ──close, of either side──▶ ENDED (the transport may still flush)
    └──refused by an ordinary response: the connection stays with HTTP
"""

import asyncio
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final

from nogilserve.engine.loop.flow import READ_HIGH, Flow
from nogilserve.engine.wheel import NEVER
from nogilserve.errors import ClientDisconnected, ResponseError
from nogilserve.messages import Headers
from nogilserve.protocols.websocket import CLOSING, Closed, Handshake, WebSocketConnection

if TYPE_CHECKING:
    from nogilserve.engine.loop.connection import HttpConnection

__all__ = ["WebSocketSession"]

_ABNORMAL: Final = 1006
_GOING_AWAY: Final = 1001
_RESTARTING: Final = 1012
_KEEPALIVE_LOST: Final = 1011
_CLOSE_SECONDS: Final = 5.0
"""How long the client may take to answer our Close."""
_LARGE: Final = 16384
"""Bytes from which on a message is not copied any more."""
_MESSAGE_COST: Final = 64
"""Bytes that a waiting message counts for besides its own."""


class WebSocketSession(Flow):
    """Owner: the thread of its loop. Implements `messages.WebSocketExchange`."""

    __slots__ = (
        "_handshake",
        "_heard",
        "_messages",
        "_ping_at",
        "_pong_by",
        "_queued",
        "_sent_pings",
        "_ws",
        "close_code",
        "close_reason",
        "http",
        "subprotocols",
    )

    def __init__(self, http: "HttpConnection", handshake: Handshake) -> None:
        Flow.__init__(self, http.core, http.client)
        self.http = http
        self.transport = http.transport
        self._handshake = handshake
        self.subprotocols = handshake.subprotocols
        self._ws: WebSocketConnection | None = None
        self._messages: deque[str | bytes] = deque()
        """Received and not taken by the application yet."""
        self._queued = 0
        """What these count for, in bytes."""
        self.close_code = 0
        self.close_reason = ""
        interval = http.core.settings.ws_ping_interval
        self._ping_at = monotonic() + interval if interval else NEVER
        """When the next ping is due."""
        self._pong_by = NEVER
        """When the answer to a ping is due."""
        self._heard = False
        """Something came from the client since the ping that is to be answered."""
        self._sent_pings = 0

    # ---- the handshake

    def accept(self, subprotocol: str | None, headers: Headers) -> None:
        """Answer 101; from here on this object owns the transport."""
        settings = self.core.settings
        fields, ws = self._handshake.accept(
            subprotocol, headers, deflate=settings.ws_deflate, max_size=settings.ws_max_size
        )
        trailing = self.http.switch(fields)
        self._ws = ws
        self.transport.set_protocol(self)
        self.congested = self.http.congested
        self.core.opened(self)
        self.core.counters.websockets += 1
        if self.congested:
            self._watch_progress()  # of a response before
        else:
            self._await_pong_or_ping()
        if trailing:
            self._receive(ws, trailing)
        if self.http.gone:
            self.eof_received()
        if self.core.stopping:
            self.stop()

    # ---- what the transport calls

    def data_received(self, data: bytes) -> None:
        """Bytes of the client (asyncio.Protocol)."""
        self.core.counters.received += len(data)
        if self._ws is not None:
            self._receive(self._ws, data)

    def _receive(self, ws: WebSocketConnection, data: bytes) -> None:
        self._heard = True
        if not self.core.beating:
            self.core.touch()
        ws.receive_data(data)
        self._take_messages(ws)

    def _take_messages(self, ws: WebSocketConnection) -> None:
        """Read messages until there are enough for the application to go on with."""
        messages = self._messages
        ended = False
        while self._queued < READ_HIGH:
            message = ws.next_message()
            if message is None:
                break
            if isinstance(message, Closed):
                self._ended(message.code, message.reason)
                ended = True
                break
            messages.append(message)
            self._queued += len(message) + _MESSAGE_COST
            self.http.received += len(message)
        else:
            self._pause_reading()
        data = ws.data_to_send()
        if data:
            self._write(data)
        if ended:  # not before: after our Close the client's is waited for
            self._finish()
        if messages or ended:
            self._readers.wake()

    def eof_received(self) -> bool:
        """The client has closed its sending side (asyncio.Protocol)."""
        if self._ws is not None:
            self._ws.receive_data(b"")
            self._take_messages(self._ws)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended, by either side (asyncio.Protocol)."""
        self._ended(_ABNORMAL, "")
        self.deadline = NEVER
        self._readers.wake()
        self._drainers.wake()
        self.http.finish_upgraded()
        self._left()

    def _left(self) -> None:
        self.core.closed(self)

    def _ended(self, code: int, reason: str) -> None:
        if not self.close_code:
            self.close_code = code
            self.close_reason = reason

    def _finish(self) -> None:
        """After the closing handshake the server closes first (RFC 6455 §7.1.1)."""
        self.deadline = NEVER
        if self.transport.get_write_buffer_size():
            self._watch_progress()
        self.transport.close()

    # ---- what the core calls

    def _resumed(self) -> None:
        self._await_pong_or_ping()

    def _live(self) -> bool:
        return not self.close_code and not self.transport.is_closing()

    def _await_pong_or_ping(self) -> None:
        ws = self._ws
        if ws is not None and ws.state == CLOSING:
            self.core.set_deadline(self, _CLOSE_SECONDS)
            return
        soonest = min(self._ping_at, self._pong_by)
        if soonest == NEVER:
            self.deadline = NEVER
        else:
            self.core.set_deadline(self, max(soonest - monotonic(), 0))

    def on_deadline(self) -> None:
        """A ping is due, or the client has not answered in time."""
        ws = self._ws
        if self.congested or self.transport.is_closing():
            self._expire_writing()
        elif ws is None:
            return
        elif ws.state == CLOSING:
            self._ended(_ABNORMAL, "")
            self.transport.abort()
        else:
            self._keep_alive(ws)

    def _keep_alive(self, ws: WebSocketConnection) -> None:
        """Ask whether the client is there, and end the connection when it has not said so in time.
        Whatever it sends says that it is."""
        settings = self.core.settings
        now = monotonic()
        if self._pong_by <= now:
            self._pong_by = NEVER
            # What is not read, because the application does not keep up, proves nothing.
            if not self._heard and not self._paused:
                self.core.counters.refuse("WebSocket ping not answered")
                self._write(ws.close(_KEEPALIVE_LOST, "keepalive ping timeout"))
                self._ended(_KEEPALIVE_LOST, "keepalive ping timeout")
                self._finish()
                self._readers.wake()
                return
        if self._ping_at <= now:
            self._sent_pings += 1
            self._write(ws.ping(self._sent_pings.to_bytes(4)))
            self._ping_at = now + settings.ws_ping_interval
            if settings.ws_ping_timeout and self._pong_by == NEVER:
                self._heard = False
                self._pong_by = now + settings.ws_ping_timeout
        self._await_pong_or_ping()

    def stop(self) -> None:
        """The server stops: ask the client to leave, or to come again."""
        ws = self._ws
        if ws is None or ws.state:
            return
        code = _RESTARTING if self.core.patient else _GOING_AWAY
        self.close(code, "")
        self._ended(code, "")
        self._readers.wake()

    def now_running(self) -> str:
        """An open WebSocket is not a request that is waited for. Any thread."""
        return ""

    # ---- the exchange

    def next_message(self) -> str | bytes | None:
        """The next message; see `messages.WebSocketExchange`."""
        messages = self._messages
        if not messages:
            return None
        message = messages.popleft()
        self._queued -= len(message) + _MESSAGE_COST
        if self._paused and self._queued < READ_HIGH // 2 and self._ws is not None:
            self._resume_reading()
            self._take_messages(self._ws)
        return message

    def news(self) -> "asyncio.Future[None]":
        """Wait for a message or the end."""
        return self.http.news() if self._ws is None else self._readers.wait()

    def _open(self) -> WebSocketConnection:
        ws = self._ws
        if ws is None:
            raise ResponseError("message before the handshake was accepted")
        if self.close_code or self.transport.is_closing():
            raise ClientDisconnected(f"the WebSocket connection is closed ({self.close_code})")
        return ws

    def send_text(self, data: str) -> None:
        """A text message."""
        self._write(self._open().send_text(data))

    def send_bytes(self, data: bytes) -> None:
        """A binary message."""
        ws = self._open()
        head = ws.head_of_bytes(len(data)) if len(data) > _LARGE else b""
        if head:
            self._write_parts([head, data])
        else:
            self._write(ws.send_bytes(data))

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; the client gets some seconds to answer."""
        ws = self._ws
        if ws is None:
            raise ResponseError("close before the handshake was accepted")
        data = ws.close(code, reason)
        if data:
            self._write(data)
            self._messages.clear()
            self._queued = 0
            if not self.congested:
                self._await_pong_or_ping()
            if self._paused:  # what has come, and still comes, is dropped, up to the Close
                self._resume_reading()
                self._take_messages(ws)
