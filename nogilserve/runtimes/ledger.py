"""Counters that a serving process and its members see at the same time, in shared memory.

Each member has a row of its own. It counts there what it has taken from its intake and what it
has closed; whoever feeds it knows what was handed over, and so how many connections it has.
"""

import mmap
import os
import sys
import tempfile
import threading
from typing import Final

from nogilserve.engine.shares import Shares

__all__ = ["Ledger", "Row", "RowShares"]

_ROW: Final = 8
"""Numbers in a row: 64 bytes, a cache line, so that members do not disturb each other."""
_TAKEN: Final = 0
_CLOSED: Final = 1
_BEGUN: Final = 2


class Ledger:
    """The shared memory. Reading is for any thread; each row is written through its `Row`.

    A number is eight aligned bytes, which are stored and loaded as one.
    """

    def __init__(self, members: int, reference: int | str | None = None) -> None:
        """`reference`: that of the ledger to join; None makes a new one."""
        size = members * _ROW * 8
        self._file: int | None = None
        if sys.platform == "win32":
            name = reference or f"nogilserve-{os.getpid()}-{os.urandom(8).hex()}"
            self._map = mmap.mmap(-1, size, tagname=str(name))
            self.reference: int | str = name
        elif reference is None:
            with tempfile.TemporaryFile() as file:
                file.truncate(size)
                self._file = os.dup(file.fileno())
            self._map = mmap.mmap(self._file, size)
            self.reference = self._file
        else:
            assert isinstance(reference, int)
            self._map = mmap.mmap(reference, size)
            self.reference = reference
        self._view = memoryview(self._map).cast("Q")

    def taken(self, member: int) -> int:
        """Connections that the member has taken so far."""
        return self._view[member * _ROW + _TAKEN]

    def begun(self, member: int) -> int:
        """Connections that the member has made itself so far."""
        return self._view[member * _ROW + _BEGUN]

    def closed(self, member: int) -> int:
        """Of both, how many are closed."""
        return self._view[member * _ROW + _CLOSED]

    def bury(self, member: int) -> None:
        """The member is dead, and with it all it had. Nobody else writes its row now."""
        self._view[member * _ROW + _CLOSED] = self.taken(member) + self.begun(member)

    def row(self, member: int) -> "Row":
        """For the member itself: what it writes through."""
        return Row(self._view, member * _ROW)

    def close(self) -> None:
        """Give the memory back. Any further use is an error."""
        self._view.release()
        self._map.close()
        if self._file is not None:
            os.close(self._file)
            self._file = None


class Row:
    """What one member writes. Any of its threads; the lock keeps counts exact."""

    def __init__(self, view: memoryview, start: int) -> None:
        self._view = view
        self._start = start
        self._lock = threading.Lock()

    def take(self) -> None:
        """A connection was taken from the intake."""
        with self._lock:
            self._view[self._start + _TAKEN] += 1

    def begin(self) -> None:
        """A connection was made that did not come through the intake."""
        with self._lock:
            self._view[self._start + _BEGUN] += 1

    def close(self) -> None:
        """A connection is closed, wherever it came from."""
        with self._lock:
            self._view[self._start + _CLOSED] += 1


class RowShares(Shares):
    """The connections of a member's cores; every one that is closed is counted in the row, too.

    Any thread, as its base.
    """

    def __init__(self, cores: int, row: Row) -> None:
        super().__init__(cores)
        self._row = row

    def take(self, core: int) -> None:
        """A connection that did not come through the intake, which counts those that do."""
        super().take(core)
        self._row.begin()

    def release(self, core: int) -> None:
        """A connection of that core is closed."""
        super().release(core)
        self._row.close()
