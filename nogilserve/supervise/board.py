"""A page of memory on which a generation writes how it is, for the master to read even after
the generation is dead.

Nothing is written per request: the generation's main thread looks around about once a second.
"""

import json
import math
import mmap
import os
import struct
import sys
from typing import Any, Final, Self

__all__ = ["Board"]

_HALF: Final = 32768
_MOST: Final = 2**63
"""No number is greater."""
_TABLES: Final = {
    "counters": ("refused",),
    "prepared": ("gc", "left"),
    "collections": ("0", "1", "2"),
}
"""What is told in numbers, and which of them are tables."""
_TURN: Final = struct.Struct("=I")
_LENGTH: Final = struct.Struct("=I")


class Board:
    """Two halves and the number of the one that holds. Owner: whoever opened it; one process
    writes, another reads. A write goes to the half that does not hold, then the number changes:
    a writer that dies half-way leaves what was there before.
    """

    def __init__(self, memory: mmap.mmap, descriptor: int) -> None:
        self._memory = memory
        self.descriptor = descriptor
        """What the writer's process has to inherit; -1 where memory has a name instead."""

    @classmethod
    def create(cls, name: str) -> Self:
        """A new one. `name` tells it from others where memory has names (Windows)."""
        size = _TURN.size + 2 * _HALF
        if sys.platform == "win32":
            return cls(mmap.mmap(-1, size, tagname=name), -1)
        if hasattr(os, "memfd_create"):
            fd = _sealed(size)
        else:
            import tempfile  # the master stays small where it is not needed

            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
            os.truncate(fd, size)
        return cls(mmap.mmap(fd, size), fd)

    @classmethod
    def open(cls, name: str, descriptor: int) -> Self:
        """The one that another process has created; the descriptor is used up."""
        size = _TURN.size + 2 * _HALF
        if sys.platform == "win32":
            return cls(mmap.mmap(-1, size, tagname=name), -1)
        try:
            return cls(mmap.mmap(descriptor, size), -1)
        finally:
            os.close(descriptor)

    def write(self, data: dict[str, Any]) -> None:
        """Replace what stands there; data that is too long is left out."""
        text = json.dumps(data).encode()
        if len(text) > _HALF - _LENGTH.size:
            return
        turn = _TURN.unpack_from(self._memory, 0)[0] + 1
        start = _TURN.size + turn % 2 * _HALF
        _LENGTH.pack_into(self._memory, start, len(text))
        self._memory[start + _LENGTH.size : start + _LENGTH.size + len(text)] = text
        _TURN.pack_into(self._memory, 0, turn % 2**32)

    def read(self) -> dict[str, Any]:
        """What stands there; empty if nothing does, or if it was written at this very moment."""
        turn = _TURN.unpack_from(self._memory, 0)[0]
        start = _TURN.size + turn % 2 * _HALF
        length = _LENGTH.unpack_from(self._memory, start)[0]
        try:
            found = json.loads(self._memory[start + _LENGTH.size : start + _LENGTH.size + length])
        except (ValueError, RecursionError):
            return {}
        return _checked(found) if isinstance(found, dict) else {}

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _checked(found: dict[str, Any]) -> dict[str, Any]:
    """What a generation writes, and nothing else: the application could write there, too."""
    known: dict[str, Any] = {}
    beat, running = found.get("beat"), found.get("running")
    if isinstance(beat, float) and math.isfinite(beat):
        known["beat"] = beat
    if isinstance(running, list):
        known["running"] = [str(item) for item in running]
    for name, tables in _TABLES.items():
        if isinstance(found.get(name), dict):
            known[name] = _numbers(found[name], tables)
    return known


def _numbers(data: dict[str, Any], tables: tuple[str, ...] = ()) -> dict[str, Any]:
    """Numbers by name, and tables of such where they are expected."""
    known: dict[str, Any] = {
        name: value
        for name, value in data.items()
        if isinstance(value, int | float)
        and -_MOST < value < _MOST
        and name not in tables
        and name.isprintable()
    }
    for name in tables:
        if isinstance(data.get(name), dict):
            known[name] = _numbers(data[name])
    return known


def _sealed(size: int) -> int:
    """A file in memory that nobody can shorten: reading what is gone would be a SIGBUS."""
    import fcntl  # POSIX only

    fd = os.memfd_create("nogilserve-board", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.truncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return fd
