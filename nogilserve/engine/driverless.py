"""Cores that nobody drives, where fewer threads are free than there are cores.

The driver of a core is about to make a call that will be long, or has gone to help another core,
and no spare thread is parked. Then whoever drives something else has to serve that core, too, and
at once: the monitor, which looks once a tick, would find it late. So the pollers of all such cores
are watched by one more poller, which a driver that has nothing else to do watches beside its own.
"""

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nogilserve.engine.poller import READ, Poller, make_poller

if TYPE_CHECKING:
    from nogilserve.engine.core import Core

__all__ = ["Driverless"]


class Driverless:
    """The cores that were left, for whoever has time. Any thread.

    Guarantees: a core is given to one thread at a time, and to none as long as somebody drives it.
    It does not guarantee that somebody looks; the monitor does (`Monitor.look`).
    """

    def __init__(self, cores: Sequence["Core"], poller: str) -> None:
        """`poller`: the kind that the cores have."""
        self._lock = threading.Lock()
        self._cores = tuple(cores)
        self._left: dict[Core, None] = {}
        """Those that were left first before the others."""
        self._poller: Poller | None = None
        """Over the pollers of the cores that were left; None where pollers cannot be watched."""
        self._by_fd = {core.poller.fileno(): core for core in cores}
        if -1 not in self._by_fd:
            self._poller = make_poller(poller)
        for core in cores:
            core.driverless = self
            if self._poller is not None:
                core.beside = make_poller(poller)
                core.beside.register(core.poller.fileno(), READ)
                core.beside.register(self._poller.fileno(), READ)

    def add(self, core: "Core") -> None:
        """That core was left, by a thread that does not hold it any more. Should another one drive
        it by now, that is found out by whoever picks it.
        """
        with self._lock:
            if core not in self._left:
                self._left[core] = None
                if self._poller is not None:
                    self._poller.register(core.poller.fileno(), READ)
                self._tell()
        self.find_lookout()

    def remove(self, core: "Core") -> None:
        """The caller drives that core, and has written so to `driver`."""
        with self._lock:
            if core in self._left:
                self._take_out(core)

    def pick(self) -> "Core | None":
        """One of the cores that have something to do, in turn. The caller is to drive it. None,
        too, while another thread is about to take one: waiting for it costs more than looking
        again.
        """
        if not self._lock.acquire(blocking=False):
            return None
        try:
            for core in self._with_work():
                self._take_out(core)
                # Whoever leaves it says so before he adds it: it is added again if he has not yet.
                if not core.driver:
                    return core
            return None
        finally:
            self._lock.release()

    def _with_work(self) -> "list[Core]":
        if self._poller is not None:
            return [self._by_fd[fd] for fd, _ in self._poller.poll(0)]
        return [core for core in self._left if core.has_work()]

    def _take_out(self, core: "Core") -> None:
        del self._left[core]
        if self._poller is not None:
            self._poller.unregister(core.poller.fileno())
        self._tell()

    def _tell(self) -> None:
        """Tell all drivers whether there is something to look for. They do not read it from here:
        what all threads read for every batch of events must not be counted for each of them."""
        some = bool(self._left)
        for core in self._cores:
            core.lookout = some

    def is_watched(self) -> bool:
        """Whether a driver that waits looks out for these cores. A hint."""
        return any(core.parked and core.watching for core in self._cores)

    def find_lookout(self) -> None:
        """Have one of the drivers that wait look out, unless one does."""
        if self._poller is None or self.is_watched():
            return
        for core in self._cores:
            if core.parked and not core.door:
                core.wake()
                return

    def close(self) -> None:
        """Release the system's objects. No thread drives any more."""
        if self._poller is not None:
            self._poller.close()
        for core in self._cores:
            if core.beside is not None:
                core.beside.close()
