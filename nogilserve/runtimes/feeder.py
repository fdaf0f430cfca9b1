"""Accepting for members: each new connection goes to the one that has the fewest.

Accepting in each member instead would be a system call cheaper per connection, but then whoever
wakes up first takes all that wait; see docs/runtimes.md for the figures.
"""

import errno
import logging
import queue
import socket
import threading
from collections.abc import Sequence
from time import monotonic, sleep
from typing import Any, Final

from nogilserve.engine.exhaustion import PAUSE, reason_for, report_refusal
from nogilserve.engine.poller import READ, make_poller
from nogilserve.engine.roles import ListeningSocket
from nogilserve.runtimes.intake import Sender
from nogilserve.runtimes.ledger import Ledger

__all__ = ["Feeder", "Seat"]

_log = logging.getLogger("nogilserve.engine")

_AT_ONCE: Final = 64
"""Connections accepted on one listening socket before the others get their turn."""
_SLOW: Final = 0.25
"""Seconds in which a member that works takes at least one of the connections handed to it."""
_FULL: Final = 0.02
"""Seconds until a connection is offered again that no member could take."""
_PARTING: Final = 5.0
"""Seconds for which one is offered that is held at the stop."""


class Seat:
    """A member as the feeder sees it.

    Owner: the feeder's thread. `opened` is written by whoever looks after the members.
    """

    def __init__(self, index: int, ledger: Ledger) -> None:
        self.index = index
        self.opened = False
        """Whether the member takes connections."""
        self.given = 0
        """Connections handed over so far."""
        self._ledger = ledger
        self._seen = 0
        self._progress = 0.0

    def load(self) -> int:
        """Connections the member has, those on their way to it included, and its own."""
        ledger, index = self._ledger, self.index
        return self.given + ledger.begun(index) - ledger.closed(index)

    def is_slow(self, now: float) -> bool:
        """Whether it leaves untaken what it was given: stopped, or blocked in every thread."""
        taken = self._ledger.taken(self.index)
        if taken == self.given or taken != self._seen:
            self._seen = taken
            self._progress = now
            return False
        return now - self._progress > _SLOW


class Feeder:
    """Owner: its thread, from `start` on; the other methods are for any thread."""

    def __init__(self, seats: Sequence[Seat], poller: str) -> None:
        self._seats = seats
        self._poller = make_poller(poller)
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._new: queue.SimpleQueue[tuple[ListeningSocket, Sequence[Sender]]]
        self._new = queue.SimpleQueue()
        self._sources: dict[int, tuple[socket.socket, Sequence[Sender]]] = {}
        """Listening sockets by their descriptors, with the ways to the members."""
        self._watching = False
        self._stopping = False
        self._held: tuple[Sequence[Sender], socket.socket, Any] | None = None
        """An accepted connection that no member could take yet."""
        self.accepted = 0
        self.refused: dict[str, int] = {}
        self._resume_at = 0.0
        self._first = 0
        """Who is asked first among equals."""
        self.stopped = threading.Event()
        """Nothing is accepted any more, and all that was is with the members."""
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._poller.register(self._reader.fileno(), READ)
        self._thread.start()

    def watch(self, listener: ListeningSocket, senders: Sequence[Sender]) -> None:
        """Accept from this listening socket too; the way to each member is given."""
        self._new.put((listener, senders))
        self.wake()

    def wake(self) -> None:
        """Seats have opened or closed."""
        try:
            self._writer.send(b"!")
        except OSError:
            pass  # full: it wakes up anyway; closed: it has ended

    def stop(self) -> None:
        """Take what waits to be accepted, hand it over, and end; see `stopped`."""
        self._stopping = True
        self.wake()

    def close(self) -> None:
        """After `stopped`, or if it was never started: give everything back."""
        if self._thread.ident is not None:
            self._thread.join()
        self._poller.close()
        self._reader.close()
        self._writer.close()

    # ---- the feeder's thread

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
            self._take_new()
            self._watch(False)
            until = monotonic() + _PARTING
            for source in self._sources.values():
                more = True
                while more and self._give_held(until):
                    more = self._accept_some(*source) or self._held is not None
            if not self._give_held(until):
                assert self._held is not None
                self._held[1].close()
                self.refused["no member could take it"] = 1
                self._held = None
        except Exception:
            _log.critical("internal error while accepting", exc_info=True)
        finally:
            self.stopped.set()

    def _turn(self) -> None:
        """Wait for something, and do it."""
        now = monotonic()
        self._take_new()
        if self._held is not None and self._hand_over(*self._held):
            self._held = None
        ready = any(seat.opened for seat in self._seats)
        self._watch(ready and self._held is None and now >= self._resume_at)
        timeout = -1.0
        if ready and not self._watching:
            timeout = _FULL if self._held is not None else max(self._resume_at - now, 0)
        for fd, _ in self._poller.poll(timeout):
            if fd == self._reader.fileno():
                self._reader.recv(4096)
            elif self._held is None:
                self._accept_some(*self._sources[fd])

    def _give_held(self, until: float) -> bool:
        """At the stop: offer what is held, while members are there. False: nobody has taken it."""
        while self._held is not None:
            if self._hand_over(*self._held):
                self._held = None
            elif monotonic() < until and any(seat.opened for seat in self._seats):
                sleep(_FULL)
            else:
                return False
        return True

    def _take_new(self) -> None:
        while not self._new.empty():
            listener, senders = self._new.get()
            self._watch(False)
            self._sources[listener.socket.fileno()] = (listener.socket, senders)

    def _watch(self, wanted: bool) -> None:
        """Watch the listening sockets, or leave them to other processes and to later."""
        if wanted == self._watching:
            return
        self._watching = wanted
        for fd in self._sources:
            if wanted:
                self._poller.register_listener(fd)
            else:
                self._poller.unregister(fd)

    def _accept_some(self, sock: socket.socket, senders: Sequence[Sender]) -> bool:
        """Accept until nothing waits or nobody takes it (False), or enough for one turn."""
        for _ in range(_AT_ONCE):
            try:
                connection, address = sock.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return False
            except OSError as exc:
                if exc.errno != errno.EINVAL:  # the listening socket was shut down
                    self._refuse(exc)
                return False
            self.accepted += 1
            if not self._hand_over(senders, connection, address):
                self._held = (senders, connection, address)
                return False
        return True

    def _hand_over(
        self, senders: Sequence[Sender], connection: socket.socket, address: Any
    ) -> bool:
        """Give a connection to the member with the fewest. False: nobody can take it now."""
        now = monotonic()
        seats = [seat for seat in self._seats if seat.opened]
        first, count = self._first, len(self._seats)
        seats.sort(key=lambda s: (s.is_slow(now), s.load(), (s.index - first) % count))
        for seat in seats:
            try:
                sent = senders[seat.index].send(connection, address)
            except OSError as exc:
                _log.error("a connection cannot be given to a member: %s", exc)
                continue
            if sent:
                seat.given += 1
                self._first = seat.index + 1
                connection.close()
                return True
        return False

    def _refuse(self, exc: OSError) -> None:
        reason = reason_for(exc)
        self.refused[reason] = self.refused.get(reason, 0) + 1
        if not report_refusal(exc):
            return
        # The socket stays readable: without a pause this would spin.
        self._resume_at = monotonic() + PAUSE
