"""Readiness of file descriptors, the same small interface over epoll, kqueue, poll and select.

All pollers are level-triggered: a descriptor that stays readable is reported again. Masks are
those of poll(2): READ, WRITE, and anything else in the answer means error or hang-up.
"""

import errno
import os
import select
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol

from nogilserve.errors import ConfigError

__all__ = ["POLLERS", "READ", "WRITE", "Events", "Poller", "give_way", "make_poller", "wait_for"]

READ: Final = 1
WRITE: Final = 4
_ERROR: Final = 8

_BATCH: Final = 64
"""Events taken per call: enough to spread the cost of the call, few enough to stay fair."""

Events = list[tuple[int, int]]


class Poller(Protocol):
    """Owner: the thread that holds the core. `peek` alone may be called by any thread."""

    def register(self, fd: int, mask: int) -> None:
        """Watch a new descriptor for the events of `mask` (0: none yet)."""

    def register_listener(self, fd: int) -> None:
        """Watch a listening socket that other pollers watch too."""

    def modify(self, fd: int, mask: int) -> None:
        """Watch a known descriptor for other events; 0 for none."""

    def unregister(self, fd: int) -> None:
        """Forget a descriptor. Call it before the descriptor is closed."""

    def poll(self, timeout: float) -> Events:
        """Wait at most `timeout` seconds (negative: for ever) and return what is ready."""

    def peek(self) -> bool:
        """Whether something is ready now. Any thread."""

    def fileno(self) -> int:
        """A descriptor that is readable while something is ready, for other pollers of the kind;
        -1 if there is none."""

    def close(self) -> None:
        """Release the system's object."""


class EpollPoller:
    """Linux. Owner: the thread that holds the core; `peek`: any thread (the kernel locks)."""

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def register(self, fd: int, mask: int) -> None:
        self._epoll.register(fd, mask)

    def register_listener(self, fd: int) -> None:
        # One waiter is woken per connection instead of all of them (epoll_ctl(2)).
        self._epoll.register(fd, READ | select.EPOLLEXCLUSIVE)

    def modify(self, fd: int, mask: int) -> None:
        self._epoll.modify(fd, mask)

    def unregister(self, fd: int) -> None:
        self._epoll.unregister(fd)

    def poll(self, timeout: float) -> Events:
        return self._epoll.poll(timeout, _BATCH)

    def peek(self) -> bool:
        return bool(self._epoll.poll(0, 1))

    def fileno(self) -> int:
        return self._epoll.fileno()

    def close(self) -> None:
        self._epoll.close()


class _TablePoller:
    """What poll and select share: the table of interest is kept here, not in the kernel.

    Owner: the thread that holds the core. `peek` may run in any thread meanwhile, so the
    table is only touched under `_lock`, which no system call is made under.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._table: dict[int, int] = {}

    def register(self, fd: int, mask: int) -> None:
        with self._lock:
            self._table[fd] = mask

    def register_listener(self, fd: int) -> None:
        self.register(fd, READ)

    def modify(self, fd: int, mask: int) -> None:
        with self._lock:
            self._table[fd] = mask

    def unregister(self, fd: int) -> None:
        with self._lock:
            self._table.pop(fd, None)

    def _interest(self) -> list[tuple[int, int]]:
        with self._lock:
            return [(fd, mask) for fd, mask in self._table.items() if mask]

    def poll(self, timeout: float) -> Events:
        raise NotImplementedError

    def peek(self) -> bool:
        try:
            return bool(self.poll(0))
        except OSError:
            # Closed since the table was read, so somebody is at work there; select says so only.
            return True

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        with self._lock:
            self._table.clear()


class PollPoller(_TablePoller):
    """Any Unix. Costs time in proportion to the number of connections."""

    def poll(self, timeout: float) -> Events:
        poll = select.poll()  # one per call: the object refuses concurrent use
        for fd, mask in self._interest():
            poll.register(fd, mask)
        return poll.poll(None if timeout < 0 else timeout * 1000)


class SelectPoller(_TablePoller):
    """Everywhere, Windows included; limited to descriptors below FD_SETSIZE on Unix."""

    def register(self, fd: int, mask: int) -> None:
        try:
            select.select([fd], [], [], 0)
        except ValueError:
            # Refused here, because otherwise it would break every later call.
            raise OSError(errno.EMFILE, "select cannot watch a file descriptor that high") from None
        super().register(fd, mask)

    def poll(self, timeout: float) -> Events:
        interest = self._interest()
        readers = [fd for fd, mask in interest if mask & READ]
        writers = [fd for fd, mask in interest if mask & WRITE]
        # Windows reports a failed connection only in the third set.
        ready = select.select(readers, writers, writers, None if timeout < 0 else timeout)
        events: dict[int, int] = {}
        for mask, fds in zip((READ, WRITE, _ERROR), ready, strict=True):
            for fd in fds:
                events[fd] = events.get(fd, 0) | mask
        return list(events.items())


class KqueuePoller:
    """macOS and the BSDs, written against kqueue(2); not run by this project's own tests.

    Owner: the thread that holds the core; `peek`: any thread (the kernel locks).
    """

    def __init__(self) -> None:
        self._kqueue: Any = _select.kqueue()

    def _change(self, fd: int, mask: int) -> None:
        changes = []
        for bit, flt in ((READ, _select.KQ_FILTER_READ), (WRITE, _select.KQ_FILTER_WRITE)):
            # EV_ADD with EV_DISABLE never fails, whether or not the filter is there yet.
            flag = _select.KQ_EV_ENABLE if mask & bit else _select.KQ_EV_DISABLE
            changes.append(_select.kevent(fd, flt, _select.KQ_EV_ADD | flag))
        self._kqueue.control(changes, 0, 0)

    def register(self, fd: int, mask: int) -> None:
        self._change(fd, mask)

    def register_listener(self, fd: int) -> None:
        self._change(fd, READ)

    def modify(self, fd: int, mask: int) -> None:
        self._change(fd, mask)

    def unregister(self, fd: int) -> None:
        for flt in (_select.KQ_FILTER_READ, _select.KQ_FILTER_WRITE):
            try:
                self._kqueue.control([_select.kevent(fd, flt, _select.KQ_EV_DELETE)], 0, 0)
            except OSError:
                pass  # this filter was never added

    def poll(self, timeout: float) -> Events:
        events: dict[int, int] = {}
        for event in self._kqueue.control(None, _BATCH, None if timeout < 0 else timeout):
            bit = READ if event.filter == _select.KQ_FILTER_READ else WRITE
            events[event.ident] = events.get(event.ident, 0) | bit
        return list(events.items())

    def peek(self) -> bool:
        return bool(self._kqueue.control(None, 1, 0))

    def fileno(self) -> int:
        number: int = self._kqueue.fileno()
        return number

    def close(self) -> None:
        self._kqueue.close()


def _do_nothing() -> None:
    pass


give_way: Final[Callable[[], None]] = getattr(os, "sched_yield", _do_nothing)
"""Let the threads and processes run that wait for this thread's processor, if any do."""

_select: Any = select  # kqueue is not in the type stubs of the other systems

POLLERS: Final[dict[str, type[Any]]] = {
    name: cls
    for name, needs, cls in (
        ("epoll", "epoll", EpollPoller),
        ("kqueue", "kqueue", KqueuePoller),
        ("poll", "poll", PollPoller),
        ("select", "select", SelectPoller),
    )
    if hasattr(select, needs)
}
"""The pollers of this system, the best first."""


def make_poller(name: str = "auto") -> Poller:
    """The poller of that name, or the best one here for "auto".

    Raises ConfigError if this system has none of that name.
    """
    if name == "auto":
        name = next(iter(POLLERS))
    try:
        poller: Poller = POLLERS[name]()
    except KeyError:
        raise ConfigError(
            f"poller {name!r} does not exist on {sys.platform}; there is: {', '.join(POLLERS)}"
        ) from None
    return poller


def wait_for(fd: int, mask: int, timeout: float) -> bool:
    """Block this thread until `fd` is ready for `mask`; False after `timeout` seconds.

    For a thread that is busy with one request anyway; any thread.
    """
    poller: Poller = POLLERS["poll" if "poll" in POLLERS else "select"]()
    poller.register(fd, mask)
    return bool(poller.poll(max(timeout, 0)))
