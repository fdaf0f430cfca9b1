"""A short way from asyncio's event loop to our sockets.

asyncio asks its selector what is ready, wraps every answer in a handle, and each handle calls a
transport that reads and calls the protocol. This selector is given to asyncio like any other, but
it serves our own connections itself, at once, and tells asyncio only of everything else. That
saves about a third of what a small request costs. The poller behind it is the engine's.
"""

import asyncio
import logging
import selectors
import socket
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from nogilserve.engine.giveway import Waiting
from nogilserve.engine.poller import READ, WRITE, Poller

__all__ = ["DirectSelector", "DirectTransport"]

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

# selectors has its own names for the same bits.
_MASK: Final = {
    0: 0,
    selectors.EVENT_READ: READ,
    selectors.EVENT_WRITE: WRITE,
    selectors.EVENT_READ | selectors.EVENT_WRITE: READ | WRITE,
}


class DirectSelector(selectors.BaseSelector):
    """Owner: the thread of the loop."""

    def __init__(self, poller: Poller) -> None:
        self.poller = poller
        self._waiting = Waiting()
        self.transports: dict[int, DirectTransport] = {}
        """Connections that are served here, by descriptor."""
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._map = _Registered(self._keys)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Serve our connections; what else is ready."""
        transports = self.transports
        others = []
        events = self.poller.poll(0)
        if not events and (timeout is None or timeout > 0):
            events = self._waiting.wait(self.poller, -1 if timeout is None else timeout)
        for fd, mask in events:
            transport = transports.get(fd)
            if transport is not None:
                transport.on_event(mask)
            elif (key := self._keys.get(fd)) is not None:
                # An error or a hang-up is found by reading or writing.
                ready = (selectors.EVENT_READ if mask & ~WRITE else 0) | (
                    selectors.EVENT_WRITE if mask & ~READ else 0
                )
                others.append((key, ready & key.events))
        return others

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See selectors.BaseSelector."""
        fd = _descriptor(fileobj)
        if fd in self._keys or fd in self.transports:
            raise KeyError(f"{fileobj!r} (FD {fd}) is already registered")
        self.poller.register(fd, _MASK[events])
        key = selectors.SelectorKey(fileobj, fd, events, data)
        self._keys[fd] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """See selectors.BaseSelector."""
        key = self._map[fileobj]
        del self._keys[key.fd]
        if key.fd not in self.transports:  # else it was closed, and its number is ours now
            try:
                self.poller.unregister(key.fd)
            except OSError:
                pass  # it was closed first, and the system has forgotten it
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See selectors.BaseSelector."""
        key = self._map[fileobj]
        if events != key.events and key.fd not in self.transports:
            self.poller.modify(key.fd, _MASK[events])
        key = key._replace(events=events, data=data)
        self._keys[key.fd] = key
        return key

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """See selectors.BaseSelector."""
        return self._map

    def close(self) -> None:
        """See selectors.BaseSelector. Connections that are left end with their loop."""
        for transport in self.transports.values():
            transport.drop()
        self.transports.clear()
        self._keys.clear()
        self.poller.close()


class _Registered(Mapping[Any, selectors.SelectorKey]):
    """What is registered, by descriptor or by file; asyncio looks for either. Owner: the
    selector's."""

    def __init__(self, keys: dict[int, selectors.SelectorKey]) -> None:
        self._keys = keys

    def __getitem__(self, fileobj: Any) -> selectors.SelectorKey:
        if isinstance(fileobj, int):
            return self._keys[fileobj]
        try:
            return self._keys[_descriptor(fileobj)]
        except ValueError:
            # Closed already: it has no number any more.
            for key in self._keys.values():
                if key.fileobj is fileobj:
                    return key
            raise KeyError(f"{fileobj!r} is not registered") from None

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def _descriptor(fileobj: Any) -> int:
    """The number of a file, or what is one already. Raises ValueError."""
    try:
        fd = fileobj if isinstance(fileobj, int) else int(fileobj.fileno())
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"Invalid file object: {fileobj!r}") from None
    if fd < 0:
        raise ValueError(f"Invalid file descriptor: {fd}")
    return fd


class DirectTransport(asyncio.Transport):
    """The transport of a connected TCP or unix socket. Owner: the thread of the loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        selector: DirectSelector,
        sock: socket.socket,
        protocol: asyncio.Protocol,
    ) -> None:
        """Calls `protocol.connection_made`. Raises OSError when the poller does not take it."""
        super().__init__({"socket": sock})
        self._loop = loop
        self._selector = selector
        self._sock = sock
        self._fd = sock.fileno()
        self._protocol = protocol
        self._mask = READ
        """What the poller watches for; 0: it does not know the socket, since a hang-up cannot be
        masked."""
        self._recv = _RECV
        """Bytes asked for in one call."""
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
        selector.poller.register(self._fd, READ)
        selector.transports[self._fd] = self
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
        poller = self._selector.poller
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

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """As `write`, for several pieces in one system call."""
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
        return self._size

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
        if self._closing:
            return
        self._closing = True
        self._watch(self._mask & ~READ)
        if not self._size:
            self._loop.call_soon(self._finish, None)

    def abort(self) -> None:
        """End the connection now."""
        self._lose(None)

    def is_closing(self) -> bool:
        """Whether it is closed, or will be."""
        return self._closing

    def _lose(self, exc: Exception | None) -> None:
        if self._closing and not self._size:
            return  # it ends already
        self._closing = True
        self._buffer.clear()
        self._size = 0
        self._watch(0)
        self._loop.call_soon(self._finish, exc)

    def _finish(self, exc: Exception | None) -> None:
        transports = self._selector.transports
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
