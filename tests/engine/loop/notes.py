"""A protocol that keeps what its transport tells it."""

import asyncio
from typing import Any

from nogilserve.engine.loop.direct import DirectTransport
from tests.engine.loop.rig import LoopRig

__all__ = ["BIG", "Notes", "ended", "open_one"]

BIG = b"0123456789abcdef" * (1 << 16)
"""More than any socket buffer of these tests takes."""


class Notes(asyncio.Protocol):
    """A protocol that keeps what it is told. Owner: the loop."""

    def __init__(self, *, stays: bool = True) -> None:
        self.stays = stays
        self.data = bytearray()
        self.events: list[str] = []
        self.error: Exception | None = None
        self.transport: DirectTransport
        self.raises: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Noted."""
        self.events.append("made")
        assert isinstance(transport, DirectTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Noted, or fails."""
        if self.raises is not None:
            raise self.raises
        self.data += data

    def eof_received(self) -> bool:
        """Noted."""
        self.events.append("eof")
        return self.stays

    def pause_writing(self) -> None:
        """Noted."""
        self.events.append("pause")

    def resume_writing(self) -> None:
        """Noted."""
        self.events.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        """Noted."""
        self.events.append("lost")
        self.error = exc


def open_one(rig: LoopRig, notes: Notes, send_buffer: int = 0, *, local: bool = False) -> Any:
    """A connection that is served directly, and its other end."""
    ours, peer = rig.pair(send_buffer, local=local)
    DirectTransport(rig.loop, rig.sockets, ours, notes)
    return peer


async def ended(rig: LoopRig, notes: Notes) -> None:
    """Wait for `connection_lost`, which comes once."""
    await rig.until(lambda: "lost" in notes.events)
    await rig.turn()
    assert notes.events.count("lost") == 1
    assert notes.transport.get_extra_info("socket").fileno() == -1
