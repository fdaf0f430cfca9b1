"""Micro-benchmarks of HTTP/2 with the thread engine: frames in, frames out."""

from benchmarks.micro_operations import require
from benchmarks.micro_threads import Threads, hello
from nogilserve.engine.http2 import begin
from nogilserve.engine.poller import READ
from nogilserve.engine.scheduler import Spares

__all__ = ["Hello"]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS = b"\0\0\0\x04\0\0\0\0\0"
_ACK = b"\0\0\0\x04\x01\0\0\0\0"
# :method GET, :scheme http, :path / of the static table, and the authority.
_BLOCK = b"\x82\x86\x84\x01\x09localhost"
_HEAD = len(_BLOCK).to_bytes(3) + b"\x01\x05"
_TOGETHER = 10
_WINDOW = b"\0\0\x04\x08\0\0\0\0\0" + (1 << 12).to_bytes(4)


class _StandingBy(Spares):
    """A thread is there that could take over, so that responses may wait for each other. It never
    does: what it did would be missing in the processor time of the one that is measured."""

    def parked(self) -> int:
        """As of Spares."""
        return super().parked() + 1


class Hello(Threads):
    """Requests of which ten come together; one of them is one operation."""

    def __init__(self) -> None:
        super().__init__(hello, _StandingBy())
        self._next = 1
        self._reads: list[bytes] = []
        self.core.begin_http2 = begin
        self.wire.coming = _PREFACE + _SETTINGS + _ACK
        self.connection.on_event(self.core, READ)
        self._session = self.core.table[self.connection.fd]

    def prepare(self, count: int) -> None:
        """Streams need new numbers."""
        self._reads.clear()
        for _ in range(max(count // _TOGETHER, 1)):
            frames = [_WINDOW]
            for _ in range(_TOGETHER):
                frames += [_HEAD, self._next.to_bytes(4), _BLOCK]
                self._next += 2
            self._reads.append(b"".join(frames))

    def run(self, count: int) -> None:
        """What was prepared."""
        core, wire, on_event = self.core, self.wire, self._session.on_event
        wire.sent = 0
        for data in self._reads:
            wire.coming = data
            on_event(core, READ)
        answers = len(self._reads) * _TOGETHER
        right = 30 * answers < wire.sent < 250 * answers
        require(right and not core.counters.refused, bytes(wire.last))
        require(core.counters.requests >= answers, bytes(wire.last))

    def close(self) -> None:
        """The connection is the session's."""
        if self.core.table.get(self.connection.fd) is self._session:
            self.wire.coming = b""
            self._session.on_event(self.core, READ)
        super().close()
