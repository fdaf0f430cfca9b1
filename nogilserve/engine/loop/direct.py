"""A short way from an event loop to our sockets.

asyncio asks its selector what is ready, wraps every answer in a handle, and each handle calls a
transport that reads and calls the protocol. Here one object serves our own connections itself, at
once, as soon as their poller says that they are ready: below asyncio as a part of its selector,
below uvloop behind one descriptor that it watches. That saves about a third of what a small request
costs. The poller is the engine's.
"""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Iterable
from time import monotonic
from typing import Final

from nogilserve.engine.giveway import Waiting
from nogilserve.engine.poller import READ, WRITE, Events, Poller

__all__ = ["DirectSockets", "DirectTransport", "Transport"]

_log = logging.getLogger("nogilserve.engine")

_RECV: Final = 65536
"""Bytes asked for in one call, …"""
_RECV_MOST: Final = 262144
"""… and at most, once a call has brought as much as it could."""
_HIGH: Final = 65536
"""Unsent bytes above which the protocol is told to pause."""
_LOW: Final = 16384
"""Unsent bytes at which it may go on."""
_AT_ONCE: Final = 64
"""Buffers passed to the system in one call."""

_HELD: Final = 16
"""Responses that wait for each other, …"""
_HELD_BYTES: Final = 16384
"""… of each connection so much, …"""
_HELD_SECONDS: Final = 0.001
"""… and so long. After a call that took longer no more wait in this turn."""
_SLOW: Final = 0.005
"""Seconds of a call after which …"""
_SLOW_PAUSE: Final = 10
"""… none waits for this many times as long."""


class DirectSockets:
    """Our connections on one loop. Owner: the thread of the loop.

    Whole responses to requests that were ready together are sent together: each one that is sent
    wakes its client, and a client on the same machine takes the processor for it, whose caches are
    then the client's. None waits for the poller, nor for more than a millisecond and the rest of
    one call.
    """

    def __init__(self, poller: Poller) -> None:
        self.poller = poller
        self.transports: dict[int, DirectTransport] = {}
        """By descriptor."""
        self.waiting = Waiting()
        self.many = False
        """Whether several were ready in the last turn."""
        self.holding = False
        """Whether a whole response may wait."""
        self.held: list[DirectTransport] = []
        """Those which have one that waits; empty outside of `serve`."""
        self._again = 0.0
        """None waits before that."""

    def turn(self) -> None:
        """Serve what is ready. For loops to which all of it is one file."""
        self.serve(self.poller.poll(0))
        if self.many:
            self.waiting.give_way()

    def serve(self, events: Events) -> Events:
        """Serve our connections; the events that are others'."""
        transports, held = self.transports, self.held
        others = []
        now = since = 0.0
        self.many = len(events) > 1
        if self.many:
            now = since = monotonic()
            self.holding = now >= self._again
        try:
            for event in events:
                transport = transports.get(event[0])
                if transport is None:
                    others.append(event)
                    continue
                transport.on_event(event[1])
                if not self.holding:
                    continue
                began, now = now, monotonic()
                if now - began > _HELD_SECONDS:  # so may the next
                    self.holding = False
                    if now - began > _SLOW:
                        self._again = now + (now - began) * _SLOW_PAUSE
                    self._release()
                elif not held:
                    since = now
                elif len(held) >= _HELD or now - since > _HELD_SECONDS:
                    self._release()
                    since = now
        finally:
            self.holding = False
            self._release()
        return others

    def _release(self) -> None:
        """Send what waits."""
        for transport in self.held:
            transport.send_held()
        self.held.clear()

    def close(self) -> None:
        """The loop has ended, and with it the connections that are left."""
        for transport in self.transports.values():
            transport.drop()
        self.transports.clear()
        self.poller.close()


class Transport(asyncio.Transport):
    """What our connections write to. Owner: the thread of the loop."""

    def write_whole(self, data: bytes) -> None:
        """As `write`, for what ends a response: it may wait for others that are ready to be sent
        in a moment. Anything else that is done with the transport comes after it."""
        raise NotImplementedError


class DirectTransport(Transport):
    """The transport of a connected TCP or unix socket. Owner: the thread of the loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sockets: DirectSockets,
        sock: socket.socket,
        protocol: asyncio.Protocol,
    ) -> None:
        """Calls `protocol.connection_made`. Raises OSError when the poller does not take it."""
        super().__init__({"socket": sock})
        self._loop = loop
        self._sockets = sockets
        self._sock = sock
        self._fd = sock.fileno()
        self._protocol = protocol
        self._mask = READ
        """What the poller watches for; 0: it does not know the socket, since a hang-up cannot be
        masked."""
        self._recv = _RECV
        """Bytes asked for in one call."""
        self._held = b""
        """Whole responses that wait for those of others; nothing else is unsent then."""
        self._buffer: deque[memoryview] = deque()
        self._size = 0
        """Bytes in the buffer."""
        self._paused = False
        """The protocol was told to pause writing."""
        self._closing = False
        self._shut = False
        """Our sending side is to be closed when the buffer is empty."""
        self._ended = False
        """The peer has closed its sending side."""
        self._flushed: asyncio.Future[None] | None = None
        """Somebody waits for the socket to take more."""
        sockets.poller.register(self._fd, READ)
        sockets.transports[self._fd] = self
        try:
            protocol.connection_made(self)
        except Exception:
            _log.critical("internal error in %r", protocol, exc_info=True)
            self._lose(None)

    # ---- events

    def on_event(self, mask: int) -> None:
        """The socket is ready. What the protocol raises costs the connection, not the loop."""
        try:
            if mask & ~READ and (self._size or self._flushed is not None):
                self._flush()
            if mask & ~WRITE and self._mask & READ:
                self._read()
            elif mask & ~(READ | WRITE) and not self._mask & WRITE:
                self._watch(0)
        except Exception:
            _log.critical("internal error in %r", self._protocol, exc_info=True)
            self._lose(None)

    def _read(self) -> None:
        try:
            data = self._sock.recv(self._recv)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            self._lose(exc)
            return
        if data:
            size = len(data)
            if size == self._recv < _RECV_MOST:
                self._recv *= 2
            elif size * 4 < self._recv > _RECV:
                self._recv //= 2
            self._protocol.data_received(data)
            return
        self._ended = True
        self._watch(self._mask & ~READ)
        if not self._protocol.eof_received():
            self.close()

    def _watch(self, mask: int) -> None:
        if mask == self._mask:
            return
        poller = self._sockets.poller
        if not mask:
            self._mask = 0
            try:
                poller.unregister(self._fd)
            except OSError:
                pass  # somebody has closed our descriptor; the connection must end all the same
            return
        if self._mask:
            poller.modify(self._fd, mask)
        else:
            poller.register(self._fd, mask)
        self._mask = mask

    # ---- writing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send now what the system takes, and keep the rest."""
        if self._held:
            self.send_held()
        if self._size or self._closing:
            if not self._closing:
                self._keep(memoryview(data))
            return
        try:
            sent = self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as exc:
            self._lose(exc)
            return
        if sent != len(data):
            self._keep(memoryview(data)[sent:])

    def write_whole(self, data: bytes) -> None:
        """See Transport."""
        sockets = self._sockets
        waiting = len(self._held)
        if not sockets.holding or self._size or self._closing or waiting + len(data) > _HELD_BYTES:
            self.write(data)
        elif waiting:
            self._held += data
        else:
            self._held = data
            sockets.held.append(self)

    def send_held(self) -> None:
        """Send what waits."""
        data, self._held = self._held, b""
        if data:
            self.write(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """As `write`, for several pieces in one system call."""
        self.send_held()
        if self._closing:
            return
        waiting = bool(self._size)
        for data in list_of_data:
            self._buffer.append(memoryview(data))
            self._size += len(data)
        if not waiting:
            self._flush()
        if self._size:
            self._watch(self._mask | WRITE)
            self._pause_if_full()

    def _keep(self, data: memoryview) -> None:
        self._buffer.append(data)
        self._size += len(data)
        self._watch(self._mask | WRITE)
        self._pause_if_full()

    def _pause_if_full(self) -> None:
        if self._size > _HIGH and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def _flush(self) -> None:
        """Send what was kept, as far as the system takes it."""
        buffer = self._buffer
        if buffer:
            try:
                sent = self._send_some(buffer)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as exc:
                self._lose(exc)
                return
            self._size -= sent
            while sent:
                first = buffer[0]
                if sent < len(first):
                    buffer[0] = first[sent:]
                    break
                sent -= len(first)
                buffer.popleft()
            while buffer and not buffer[0]:
                buffer.popleft()
        if self._paused and self._size <= _LOW:
            self._paused = False
            self._protocol.resume_writing()
        if not self._size:
            self._emptied()

    def _send_some(self, buffer: deque[memoryview]) -> int:
        if hasattr(self._sock, "sendmsg"):
            return self._sock.sendmsg([buffer[i] for i in range(min(len(buffer), _AT_ONCE))])
        return self._sock.send(buffer[0])

    def _emptied(self) -> None:
        self._watch(self._mask & ~WRITE)
        if self._flushed is not None:
            future, self._flushed = self._flushed, None
            if not future.done():
                future.set_result(None)
        if self._closing:
            self._loop.call_soon(self._finish, None)
        elif self._shut:
            self._shut_down()

    def write_eof(self) -> None:
        """Close our sending side when everything is sent."""
        self.send_held()
        if not self._shut and not self._closing:
            self._shut = True
            if not self._size:
                self._shut_down()

    def _shut_down(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as exc:
            self._lose(exc)

    def can_write_eof(self) -> bool:
        """Yes: TCP and unix sockets can."""
        return True

    async def writable(self) -> int:
        """Wait until everything is sent and the system takes more; the descriptor to write to.
        Raises ConnectionError. One waiter at a time; nobody else writes meanwhile."""
        self.send_held()
        if self._closing:
            raise ConnectionAbortedError("the connection is closed")
        self._flushed = self._loop.create_future()
        self._watch(self._mask | WRITE)
        await self._flushed
        if self._closing:
            # Between the event and now: the number may be another connection's soon.
            raise ConnectionAbortedError("the connection is closed")
        return self._fd

    def get_write_buffer_size(self) -> int:
        """Bytes not sent yet."""
        return self._size + len(self._held)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """(low, high), bytes."""
        return _LOW, _HIGH

    # ---- reading

    def pause_reading(self) -> None:
        """Read nothing for now."""
        self._watch(self._mask & ~READ)

    def resume_reading(self) -> None:
        """Read on."""
        if not self._ended and not self._closing:
            self._watch(self._mask | READ)

    def is_reading(self) -> bool:
        """Whether data is read."""
        return bool(self._mask & READ)

    # ---- the end

    def close(self) -> None:
        """End the connection when everything is sent."""
        self.send_held()
        if self._closing:
            return
        self._closing = True
        self._watch(self._mask & ~READ)
        if not self._size:
            self._loop.call_soon(self._finish, None)

    def abort(self) -> None:
        """End the connection now."""
        self.send_held()
        self._lose(None)

    def is_closing(self) -> bool:
        """Whether it is closed, or will be."""
        return self._closing

    def _lose(self, exc: Exception | None) -> None:
        if self._closing and not self._size:
            return  # it ends already
        self._closing = True
        self._held = b""
        self._buffer.clear()
        self._size = 0
        self._watch(0)
        self._loop.call_soon(self._finish, exc)

    def _finish(self, exc: Exception | None) -> None:
        transports = self._sockets.transports
        if transports.get(self._fd) is not self:
            return  # done already; the number may be another connection's by now
        del transports[self._fd]
        self._watch(0)
        if self._flushed is not None and not self._flushed.done():
            self._flushed.set_exception(exc or ConnectionAbortedError("the connection is closed"))
        try:
            self._protocol.connection_lost(exc)
        finally:
            self.drop()

    def drop(self) -> None:
        """Close the socket, whatever is left to do."""
        try:
            self._sock.close()
        except OSError as exc:
            _log.warning("closing a connection: %s", exc)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Another object takes what comes."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.Protocol:
        """Who takes what comes."""
        return self._protocol
