"""Accepting for event loops: one thread takes connections and gives each to the least loaded loop.

The system cannot do that: SO_REUSEPORT spreads by hash, and loops that share a listening socket
race for it. The thread hands over descriptors in batches, one wake-up per loop and batch.
"""

import contextlib
import errno
import logging
import queue
import socket
import sys
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Final

from nogilserve.engine.exhaustion import PAUSE, reason_for, report_refusal
from nogilserve.engine.loop.core import Accepted, LoopCore
from nogilserve.engine.poller import READ, make_poller
from nogilserve.engine.roles import ListeningSocket
from nogilserve.engine.shares import Shares
from nogilserve.engine.wheel import NEVER

__all__ = ["Dispatcher"]

_log = logging.getLogger("nogilserve.engine")

_AT_ONCE: Final = 64
"""Connections accepted before they are handed over."""


class Dispatcher:
    """Owner: the thread that runs `run`; `watch`, `stop` and reading `refused` are for any thread.

    Commands cross in a queue; the wake-up socket only says that there is one.
    """

    def __init__(
        self,
        cores: Sequence[LoopCore],
        shares: Shares,
        *,
        poller: str = "auto",
        late: float = 0.0,
    ) -> None:
        """`late`: seconds without a sign of life after which a loop gets no new connections;
        0: that is not looked at."""
        self._cores = cores
        self._shares = shares
        self._late = late
        self._poller = make_poller(poller)
        self._listeners: dict[int, tuple[ListeningSocket, tuple[str, str]]] = {}
        self._commands: queue.SimpleQueue[Sequence[ListeningSocket] | None] = queue.SimpleQueue()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._resume_at = NEVER
        """When accepting goes on after the system has refused."""
        self.refused: dict[str, int] = {}
        """Connections that could not be accepted, by reason."""

    def watch(self, listeners: Sequence[ListeningSocket]) -> None:
        """Accept from these listening sockets too. Any thread."""
        self._commands.put(listeners)
        self._wake()

    def stop(self) -> None:
        """Take what waits in the listen queues, then end. Any thread."""
        self._commands.put(None)
        self._wake()

    def _wake(self) -> None:
        # A thread that was awake may have taken the command since, and ended.
        with contextlib.suppress(OSError):
            self._writer.send(b"!")

    def run(self) -> None:
        """The body of the dispatching thread."""
        poller = self._poller
        poller.register(self._reader.fileno(), READ)
        stopping = False
        while not stopping:
            events = poller.poll(max(self._resume_at - monotonic(), 0) if self._pausing else -1)
            if self._pausing and monotonic() >= self._resume_at:
                self._resume_at = NEVER
                self._register(self._listeners)
            for fd, _ in events:
                entry = self._listeners.get(fd)
                if entry is None:
                    stopping = self._obey()
                elif not self._pausing:
                    self._accept(*entry)
        for listener in list(self._listeners.values()):
            while self._accept(*listener):
                pass
        poller.close()
        self._reader.close()
        self._writer.close()

    @property
    def _pausing(self) -> bool:
        return self._resume_at != NEVER

    def _obey(self) -> bool:
        """Do what was commanded. True: stop."""
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(4096)
        while True:
            try:
                listeners = self._commands.get_nowait()
            except queue.Empty:
                return False
            if listeners is None:
                return True
            added = {}
            for listener in listeners:
                # Interned, so immortal: every request puts them into its scope.
                name, port = map(sys.intern, listener.server)
                added[listener.socket.fileno()] = (listener, (name, port))
            self._listeners.update(added)
            if not self._pausing:
                self._register(added)

    def _register(self, descriptors: Iterable[int]) -> None:
        for fd in descriptors:
            self._poller.register(fd, READ)

    def _pause(self) -> None:
        """Accept nothing for a while: the sockets stay readable, this would spin."""
        if not self._pausing:
            self._resume_at = monotonic() + PAUSE
            for fd in self._listeners:
                self._poller.unregister(fd)

    def _accept(self, listener: ListeningSocket, server: tuple[str, str]) -> bool:
        """Accept until nothing waits (False), or enough for one turn (True)."""
        family = listener.socket.family
        tcp = family != getattr(socket, "AF_UNIX", None)
        batches: dict[int, list[Accepted]] = {}
        more = True
        for _ in range(_AT_ONCE):
            try:
                sock, address = listener.socket.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                more = False
                break
            except OSError as exc:
                more = False
                if exc.errno != errno.EINVAL:  # shut down (`Listener.refuse`)
                    self._refused(exc)
                break
            client = (address[0], str(address[1])) if tcp else None
            index = self._shares.assign(0, self._late_ones())
            read = type(address) is tuple and len(address) == 3  # of an intake
            unread = address[2] if read else b""
            accepted = Accepted(sock.detach(), family, client, server, listener.role, unread)
            batches.setdefault(index, []).append(accepted)
        for index, batch in batches.items():
            self._hand_over(index, batch)
        return more

    def _hand_over(self, index: int, batch: list[Accepted]) -> None:
        try:
            self._cores[index].adopt_soon(batch)
        except RuntimeError as exc:  # it has failed, and is closed
            _log.error("event loop %d takes no connections: %s", index, exc)
            for accepted in batch:
                socket.close(accepted.fd)
                self._shares.release(index)

    def _late_ones(self) -> frozenset[int]:
        """Loops that are blocked, so that new connections would wait there."""
        if not self._late:
            return frozenset()
        return frozenset(core.index for core in self._cores if core.is_late(self._late))

    def _refused(self, exc: OSError) -> None:
        reason = reason_for(exc)
        self.refused[reason] = self.refused.get(reason, 0) + 1
        if not report_refusal(exc):
            return
        self._pause()
