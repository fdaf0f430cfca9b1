"""Sending on a connection that many threads have something to send on, one at a time."""

import logging
import threading
from typing import TYPE_CHECKING, Final

from nogilserve.engine.connection import Connection
from nogilserve.engine.http2.pieces import FilePiece, SharedFile
from nogilserve.engine.takeover import Successor
from nogilserve.protocols.http2 import Http2Connection, Output

if TYPE_CHECKING:
    from nogilserve.engine.http2.exchange import StreamExchange

__all__ = ["Pump"]

_log = logging.getLogger("nogilserve.engine")

_ROUND: Final = 1 << 17
"""Bytes made into frames and sent at once."""
_PUMPED: Final = 1 << 20
"""Bytes sent before others get their turn."""


class Pump(Successor):
    """Owner: the driver of the core. `mutex` guards `protocol`, its streams, `waiting` and all that
    begins with an underscore here, for any thread. It is held for steps of the protocol, never
    across a call of the application or of the system. `_rest` belongs to the thread that has set
    `_pumping`: it alone sends, and reads files.
    """

    __slots__ = (
        "_blocked",
        "_broken",
        "_closed",
        "_pumping",
        "_rest",
        "_sent",
        "_unclosed",
        "mutex",
        "protocol",
        "waiting",
    )

    def __init__(self, connection: Connection, protocol: Http2Connection) -> None:
        self.connection = connection
        self.protocol = protocol
        self.mutex = threading.Lock()
        self.waiting: dict[StreamExchange, int] = {}
        """Responses that wait until no more than so many bytes are left."""
        self._closed = False
        """Nothing is sent any more."""
        self._broken = False
        """The connection has to be closed."""
        self._pumping = False
        """A thread sends."""
        self._blocked = False
        """The system takes nothing more for now; the driver waits until it does."""
        self._rest: memoryview | None = None
        """Frames that the system has not taken."""
        self._sent = 0
        """Bytes sent and not counted yet."""
        self._unclosed: list[SharedFile] = []
        """Files that the thread that sends may be reading; closed by it."""

    def flush(self) -> bool:
        """Send what there is, unless another thread is at it, which then sends this too. True: the
        driver has to go on with it."""
        with self.mutex:
            if self._pumping or self._blocked or self._closed:
                return False
            if self._rest is None and not self.protocol.sendable:
                return False
            self._pumping = True
        left = _PUMPED
        while True:
            rest = self._rest
            if rest is None:
                with self.mutex:
                    out = [] if left <= 0 or self._broken else self.protocol.take(_ROUND)
                    self._wake_waiting()
                    if not out:
                        return self._stop_pumping(left <= 0)
                rest = self._join(out)
            try:
                sent = self.connection.sock.send(rest)
            except BlockingIOError:
                sent = 0
            except OSError:
                sent = -1
            with self.mutex:
                if sent < 0 or self._broken:
                    self._broken = True
                    return self._stop_pumping(True)
                self._sent += sent
                left -= sent
                if sent == len(rest):
                    self._rest = None
                    continue
                self._rest = rest[sent:]
                self._blocked = True
                return self._stop_pumping(True)

    def _stop_pumping(self, more: bool) -> bool:
        """Let another thread send. The mutex is held. Whether the driver has to look."""
        self._pumping = False
        return more or self._broken or bool(self._unclosed)

    def _wake_waiting(self) -> None:
        """The applications that have room again. The mutex is held."""
        for exchange, low in self.waiting.items():
            if exchange.stream.queued <= low and exchange.room is not None:
                exchange.room.set()

    def _join(self, out: Output) -> memoryview:
        """Frames as bytes; what lies in files is read."""
        parts: list[bytes | memoryview] = []
        for part in out:
            # Not a union of both: that would be made anew for each.
            if type(part) is bytes or isinstance(part, memoryview):
                parts.append(part)
            else:
                assert isinstance(part, FilePiece)
                data = self._read(part)
                if not data:
                    break  # what follows would be taken for what the frame has announced
                parts.append(data)
        return memoryview(b"".join(parts))

    def _read(self, piece: FilePiece) -> bytes:
        """What a frame has announced, b"" if that is not there. A file that has become shorter ends
        the connection: there is no other way to tell the client."""
        try:
            return piece.read()
        except OSError as exc:
            _log.error("cannot read what is to be sent: %s", exc)
            with self.mutex:
                self._broken = True
            return b""
