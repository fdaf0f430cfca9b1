"""From the path of a request to a file below a folder, and never to anything else.

A path is first split into names, which refuses whatever has no business in one. Then the system
is asked where the file really is, by a handle that opens nothing (O_PATH): devices and FIFOs are
told from files without being opened, and what symbolic links lead to is compared with the
folder. What is opened in the end must be the very file that was looked at.
"""

import errno
import os
import stat
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

__all__ = ["Folder", "Located", "Replaced", "by_name", "identity", "names_of"]

_HANDLES: Final = hasattr(os, "O_PATH") and os.path.exists("/proc/self/fd")
_LOOK: Final = getattr(os, "O_PATH", 0) | getattr(os, "O_CLOEXEC", 0)
_READ: Final = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    # Should the file have become something else meanwhile: no waiting, no terminal, no link.
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
)
_WINDOWS: Final = os.name == "nt"
_WELL_KNOWN: Final = ".well-known"
"""RFC 8615: the one name with a leading dot that is meant for everybody."""
_LONGEST: Final = 4096
_DELETED: Final = " (deleted)"
_NOTHING: Final = frozenset(
    getattr(errno, name)
    for name in ("ENAMETOOLONG", "ELOOP", "EINVAL", "ENXIO", "EILSEQ")
    if hasattr(errno, name)
)
"""Why there can be nothing at a path, besides what has exceptions of its own."""
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})
"""What opening says of a file that has become nothing, a link or a socket."""


def names_of(path: str) -> list[str] | None:
    """The names that a request's path (still encoded, without the route) is made of.

    The last one is "" where the path ends with a slash. None: no file has such a path, or nobody is
    to be served it: names that begin with a dot, "." and "..", empty ones, NUL, and slashes and
    backslashes in encoded form.
    """
    if len(path) > _LONGEST:
        return None
    raw = unquote_to_bytes(path.encode("latin-1")) if "%" in path else path.encode("latin-1")
    if raw.count(b"/") != path.count("/") or b"\\" in raw or b"\0" in raw:
        return None
    names = [os.fsdecode(name) for name in raw.split(b"/")]
    for index, name in enumerate(names):
        last = index == len(names) - 1
        if not name and not last:
            return None
        if name.startswith(".") and not (name == _WELL_KNOWN and index == 0):
            return None
        if _WINDOWS and _is_odd(name):
            return None
    return names


def _is_odd(name: str) -> bool:
    """Whether Windows takes a name for a device, a stream or another name."""
    return ":" in name or name.endswith((".", " ")) or os.path.isreserved(name)  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Located:
    """What was found at a path. Immutable: it holds nothing open."""

    path: str
    """Where it really is."""
    status: os.stat_result

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.status.st_mode)

    @property
    def is_folder(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.status.st_mode)

    def open(self) -> int:
        """A descriptor of the file. Raises Replaced when it is not what was looked at any more."""
        try:
            fd = os.open(self.path, _READ)
        except OSError as exc:
            if exc.errno in _GONE:
                raise Replaced(exc.errno, "the file was removed", self.path) from exc
            raise
        now, before = os.fstat(fd), self.status
        if identity(now) != identity(before):
            os.close(fd)
            raise Replaced(errno.EAGAIN, "the file was changed", self.path)
        return fd


class Replaced(OSError):
    """While a file was looked at, or before it was opened, it was changed: look again."""


def identity(status: os.stat_result) -> tuple[int, ...]:
    """What is another for another file, and for another content."""
    return (
        *(status.st_dev, status.st_ino, status.st_mode, status.st_size),
        *(status.st_mtime_ns, status.st_ctime_ns),
    )


class Folder:
    """A folder whose files are served. Immutable; any thread.

    Where a link stands in its place, it is followed once, here: files stay those of the
    release that was started.
    """

    def __init__(self, path: str, *, follow: bool = False) -> None:
        """`follow`: symbolic links may lead anywhere."""
        self.path = os.path.realpath(path)
        self._below = self.path if self.path.endswith(os.sep) else self.path + os.sep
        self._follow = follow

    def locate(self, names: list[str]) -> Located | None:
        """What `names` lead to; None: nothing, or it lies elsewhere.

        Raises OSError when the system has other reasons not to tell than that there is nothing.
        """
        path = self.path_of(names)
        try:
            found = _by_handle(path) if _HANDLES else by_name(path)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        except OSError as exc:
            if exc.errno in _NOTHING:
                return None
            raise
        return found if self.contains(found.path) else None

    def path_of(self, names: list[str]) -> str:
        """Where `names` lead to, links not followed."""
        return self._below + os.sep.join(names)

    def contains(self, real: str) -> bool:
        """Whether a path without links in it may be served."""
        return self._follow or real.startswith(self._below) or real == self.path


def _by_handle(path: str) -> Located:
    """Look at a file by a handle: links, status and name are of one and the same file."""
    fd = os.open(path, _LOOK)
    try:
        status = os.fstat(fd)
        real = os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    if real.endswith(_DELETED) and not status.st_nlink:
        # Removed, or, more likely, another file was put in its place.
        raise Replaced(errno.EAGAIN, "the file was removed while it was looked at", path)
    return Located(real, status)


def by_name(path: str) -> Located:
    """Look at a file where the system has no such handles: `Located.open` then finds out whether
    it was exchanged between two of these calls."""
    real = os.path.realpath(path, strict=True)
    return Located(real, os.lstat(real))
