"""Files that were asked for a moment ago: found again with one system call, small ones with
nothing to read.

What was found counts for a second, and only as long as the path still leads to the very same
file: same place on the disk, size, and times of change to the nanosecond.
"""

import os
from dataclasses import dataclass, replace
from time import monotonic, time
from typing import Final

from nogilserve.gateways.static.answer import Answer, Facts
from nogilserve.gateways.static.lookup import identity

__all__ = ["SMALL", "Entry", "Recent"]

SMALL: Final = 16384
"""Bytes of a file up to which it is read and sent with the head, in one system call, and kept."""
_SECONDS: Final = 1.0
"""After this it is looked whether there is a compressed sibling by now, or the like."""
_ENTRIES: Final = 256
"""Kept for each core: at most so many small files' contents."""
_SETTLED: Final = 2.0
"""Seconds after which a change would show in a file's times, however coarse its clock."""


@dataclass(slots=True)
class Entry:
    """What a path was found to be. Any thread of the core; but for `whole` it does not change,
    and that is set to equal answers only."""

    path: str
    """As it was asked for: links in it are followed each time."""
    identity: tuple[int, ...]
    facts: Facts
    answer: Answer
    """That for a plain GET, sent from the file."""
    until: float
    """Monotonic seconds."""
    whole: Answer | None = None
    """The same, with the content of the file."""

    def keep(self, body: bytes) -> None:
        """The content as it was read, by a descriptor of this very file."""
        modified, changed = self.identity[-2:]
        # A later change within the same tick of the file system's clock would not be seen.
        if max(modified, changed) / 1e9 < time() - _SETTLED:
            self.whole = replace(self.answer, body=body, parts=(), source=None, entry=None)


class Recent:
    """Owner: a core; its threads may overlap. Each use is one operation of a dictionary, and what
    is in there does not change: who comes second finds an equal entry, or makes one."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def find(self, key: str) -> Entry | None:
        """What was put under this key, if it is still true."""
        entry = self._entries.get(key)
        if entry is None or entry.until < monotonic():
            return None
        try:
            status = os.stat(entry.path)
        except OSError:
            return None
        return entry if identity(status) == entry.identity else None

    def put(
        self, key: str, path: str, status: os.stat_result, facts: Facts, answer: Answer
    ) -> Entry:
        """Keep what a path was found to be; `status`: of the file that `answer` sends."""
        if len(self._entries) >= _ENTRIES:
            self._entries.clear()
        entry = Entry(path, identity(status), facts, answer, monotonic() + _SECONDS)
        self._entries[key] = entry
        return entry
