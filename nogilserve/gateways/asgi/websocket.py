"""One WebSocket connection of an ASGI application: `receive` and `send`, and their order."""

import asyncio
from functools import partial
from typing import Final

from nogilserve.errors import ClientDisconnected, ResponseError
from nogilserve.gateways.asgi.calls import (
    Message,
    at_home,
    payload,
    prepare_without_connection_fields,
    response_headers,
    status_text,
    unexpected,
)
from nogilserve.gateways.failures import PLAIN, STATUS
from nogilserve.messages import WebSocketExchange

__all__ = ["WebSocketCall"]

_CONNECTING: Final = 0
"""The application has not answered the handshake."""
_OPEN: Final = 1
_DENYING: Final = 2
"""An ordinary response instead: its head is known, or sent."""
_CLOSED: Final = 3
"""The application has closed, or its response is complete."""

_NO_CODE: Final = 1005
_ABNORMAL: Final = 1006
_NORMAL: Final = 1000
_INTERNAL_ERROR: Final = 1011


class WebSocketCall:
    """`receive` and `send` of one connection. Owner: the loop of the connection; both may be
    called on any other event loop of the process, which then waits for this one: that is what lets
    a broadcast reach clients of every loop."""

    __slots__ = ("_connected", "_denial_sent", "_id", "_state", "exchange", "loop")

    def __init__(self, exchange: WebSocketExchange, loop: asyncio.AbstractEventLoop) -> None:
        self.exchange = exchange
        self.loop = loop
        self._state = _CONNECTING
        self._connected = False
        """The application was told websocket.connect."""
        self._denial_sent = False
        """The head of an ordinary response is on its way."""
        self._id = ""

    @property
    def ended(self) -> bool:
        """Whether there is nobody to send to."""
        exchange = self.exchange
        return bool(
            self._state == _CLOSED
            or exchange.close_code
            or (self._state != _OPEN and exchange.http.gone)
        )

    @property
    def request_id(self) -> str:
        """Names the connection in the logs, also after its end."""
        if not self._id:
            self._id = self.exchange.http.request_id
        return self._id

    # ---- receive

    async def receive(self) -> Message:
        """websocket.connect, then websocket.receive for every message, then
        websocket.disconnect."""
        if asyncio.get_running_loop() is not self.loop:
            return await at_home(self.loop, self.receive)
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        exchange = self.exchange
        while self._state != _CLOSED or exchange.close_code:
            if self._state == _OPEN or exchange.close_code:
                message = exchange.next_message()
                if message is not None:
                    if isinstance(message, str):
                        return {"type": "websocket.receive", "text": message}
                    return {"type": "websocket.receive", "bytes": message}
                if exchange.close_code:
                    return self._disconnect(exchange.close_code, exchange.close_reason)
            elif exchange.http.gone:
                break
            await exchange.news()
        return self._disconnect(_ABNORMAL, "")

    @staticmethod
    def _disconnect(code: int, reason: str) -> Message:
        return {"type": "websocket.disconnect", "code": code, "reason": reason}

    # ---- send

    async def send(self, message: Message) -> None:
        """The next message of the application. Raises ClientDisconnected (an OSError) when the
        client is gone, ResponseError for a message that is wrong or out of order."""
        if asyncio.get_running_loop() is not self.loop:
            return await at_home(self.loop, partial(self.send, message))
        kind = message["type"]
        exchange = self.exchange
        if self._state == _OPEN:
            if kind == "websocket.send":
                self._send(message)
                if exchange.crowded:
                    await exchange.drain()
            elif kind == "websocket.close":
                self._close(message.get("code"), message.get("reason"), _NORMAL)
            else:
                raise unexpected(message, "'websocket.send' or 'websocket.close'")
        elif self._state == _CONNECTING:
            self._answer(message)
        elif self._state == _DENYING:
            await self._deny(message)
        elif exchange.close_code:
            raise ClientDisconnected(f"the WebSocket connection is closed ({exchange.close_code})")
        else:
            raise ResponseError(f"the application sent {kind!r} after the end of the connection")
        return None

    def _send(self, message: Message) -> None:
        text = message.get("text")
        data = message.get("bytes")
        if (text is None) == (data is None):
            raise ResponseError("'websocket.send' needs either 'text' or 'bytes'")
        if text is not None:
            self.exchange.send_text(text)
        else:
            self.exchange.send_bytes(payload(message, "bytes"))

    def _answer(self, message: Message) -> None:
        """To the handshake: accept, close (403), or an ordinary response."""
        kind = message["type"]
        exchange = self.exchange
        if kind == "websocket.accept":
            exchange.accept(message.get("subprotocol"), response_headers(message))
            self._state = _OPEN
        elif kind == "websocket.close":
            self._connected = True
            self._id = self.request_id  # while it is this request's
            self._state = _CLOSED
            exchange.http.prepare("403 Forbidden", [PLAIN])
            exchange.http.send_whole(b"Forbidden\n")
        elif kind == "websocket.http.response.start":
            prepare_without_connection_fields(
                exchange.http, status_text(message.get("status")), response_headers(message)
            )
            self._state = _DENYING
        else:
            raise unexpected(message, "'websocket.accept' or 'websocket.close'")

    async def _deny(self, message: Message) -> None:
        """The body of an ordinary response that refuses the handshake."""
        if message["type"] != "websocket.http.response.body":
            raise unexpected(message, "'websocket.http.response.body'")
        http = self.exchange.http
        body = payload(message)
        if message.get("more_body", False):
            if not self._denial_sent:
                http.send_head(None)
                self._denial_sent = True
            http.send_data(body)
            if http.crowded:
                await http.drain()
            return
        self._id = self.request_id
        if not self._denial_sent:
            http.send_whole(body)
        else:
            http.send_data(body)
            http.send_end()
        self._state = _CLOSED

    def _close(self, code: int | None, reason: str | None, default: int) -> None:
        self.exchange.close(default if code is None else code, reason or "")
        self._state = _CLOSED

    # ---- the end

    def returned(self) -> None:
        """The application is done: what it left open is closed. Raises ResponseError when it has
        not answered the handshake."""
        if self._state == _OPEN:
            self._close(None, None, _NORMAL)
        elif self._state != _CLOSED and not self.ended:
            raise ResponseError("the application returned without an answer to the handshake")

    def fail(self, body: bytes) -> None:
        """The application has failed: 500 instead of the handshake, else close with 1011."""
        http = self.exchange.http
        try:
            if self._state == _OPEN:
                self._close(None, None, _INTERNAL_ERROR)
            elif self._state != _CLOSED and not self._denial_sent:
                self._state = _CLOSED
                http.prepare(STATUS[500], [PLAIN])
                http.send_whole(body)
            elif self._state != _CLOSED:
                http.abort()
        except (ClientDisconnected, ResponseError):
            http.abort()
