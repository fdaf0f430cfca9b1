"""Flow control of a connection in both directions, and its deadline: what HTTP and WebSocket
connections on an event loop have in common."""

import asyncio
from typing import Final

from nogilserve.engine.loop.core import LoopCore
from nogilserve.engine.loop.direct import Transport
from nogilserve.engine.loop.waiters import Waiters
from nogilserve.engine.records import Recorded
from nogilserve.engine.wheel import NEVER
from nogilserve.errors import ClientDisconnected

__all__ = ["READ_HIGH", "Flow"]

_BURST: Final = 1 << 18
"""What one connection may send without others getting their turn."""
_PIECE: Final = 2048
"""Bytes that a piece counts for besides its own."""

READ_HIGH: Final = 65536
"""Bytes that the application has not taken, above which nothing more is read."""


class Flow(Recorded, asyncio.Protocol):
    """Owner: the thread of its loop."""

    __slots__ = (
        "_burst",
        "_drainers",
        "_paused",
        "_readers",
        "_unsent",
        "congested",
        "core",
        "deadline",
        "due",
        "transport",
    )

    transport: Transport
    """On Windows one of asyncio's, which has no `write_whole`."""

    def __init__(self, core: LoopCore, client: tuple[str, str] | None) -> None:
        Recorded.__init__(self, client)
        self.core = core
        self.congested = False
        """More has been sent than the client takes: `drain` waits."""
        self.deadline = NEVER
        self.due = NEVER
        self._readers = Waiters(core.loop)
        self._drainers = Waiters(core.loop)
        self._paused = False
        """Nothing is read for now."""
        self._burst = 0
        """Bytes sent, plus something for each piece, since the application last had to wait."""
        self._unsent = 0
        """Bytes that waited for the client when its progress was last looked at."""

    # ---- from the client

    def _pause_reading(self) -> None:
        if not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self.transport.resume_reading()

    # ---- to the client

    def _write(self, data: bytes) -> None:
        self.core.counters.sent += len(data)
        self._burst += len(data) + _PIECE
        if not self.transport.is_closing():  # uvloop raises for one that is closed
            self.transport.write(data)

    def _write_parts(self, parts: list[bytes]) -> None:
        """As `_write`, without joining them."""
        size = sum(map(len, parts))
        self.core.counters.sent += size
        self._burst += size + _PIECE
        if not self.transport.is_closing():
            self.transport.writelines(parts)

    @property
    def crowded(self) -> bool:
        """Whether the application should `drain` before it sends more: the client does not keep
        up, or so much was sent that it is others' turn on the loop."""
        return self.congested or self._burst > _BURST

    def pause_writing(self) -> None:
        """The client takes less than is sent (asyncio.BaseProtocol)."""
        self.congested = True
        self._watch_progress()

    def resume_writing(self) -> None:
        """The client has taken most of it (asyncio.BaseProtocol)."""
        self.congested = False
        self._drainers.wake()
        self._resumed()

    def _resumed(self) -> None:
        """Writing goes on: set the deadline that is due now."""
        raise NotImplementedError

    def _live(self) -> bool:
        """Whether there is somebody to send to."""
        raise NotImplementedError

    async def drain(self) -> None:
        """Wait until the client has taken most of what was sent. Raises ClientDisconnected."""
        if self._burst > _BURST:
            self._burst = 0
            await asyncio.sleep(0)
        while self.congested and self._live():
            await self._drainers.wait()
        if not self._live():
            raise ClientDisconnected("the client is gone")

    def _watch_progress(self) -> None:
        """Give the client the write timeout for its next byte."""
        self._unsent = self.transport.get_write_buffer_size()
        self.core.set_deadline(self, self.core.write_timeout)

    def _expire_writing(self) -> None:
        """The write timeout has passed: did the client take anything?"""
        if self.transport.get_write_buffer_size() < self._unsent:
            self._watch_progress()
        else:
            self.core.counters.refuse("response not read")
            self.transport.abort()

    # ---- what the core calls

    def on_deadline(self) -> None:
        """The deadline has passed."""
        raise NotImplementedError

    def stop(self) -> None:
        """The server stops; see `core.Client`."""
        raise NotImplementedError

    def now_running(self) -> str:
        """See `core.Client`. Any thread."""
        raise NotImplementedError

    def cut(self) -> None:
        """End the connection at once."""
        self.transport.abort()
