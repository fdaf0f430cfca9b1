"""The storage in a folder: for one machine, or several that share a file system with locks.

    ROOT/certificates/example.com   a value: a line with its digest and end, then the value itself
    ROOT/locks/…                    a lock: who holds it and until when, and a lock of the system
    ROOT/tmp/…                      files that are being written

Folders are 0700, files 0600. A file is written beside, synced, and renamed, so a reader sees the
old value or the new one, also after a power cut.
"""

import contextlib
import hashlib
import json
import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from nogilserve.errors import StorageError
from nogilserve.tls.storage.contract import check_key
from nogilserve.tls.storage.filelock import try_lock_file

__all__ = ["FolderLease", "FolderStorage"]

_HEADER: Final = re.compile(rb"nogilserve-storage-1 sha256=([0-9a-f]{64}) until=([0-9.]+|-)\n")
_PATIENCE: Final = 5.0
"""Seconds to wait for another process that is just changing a lock."""
_ABANDONED: Final = 3600.0
"""Seconds after which a file in ROOT/tmp belongs to nobody."""

Stamp = tuple[int, int, int]


class FolderStorage:
    """Any thread, any process: nothing here changes after it was made; what is shared is files."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.time) -> None:
        """The folder is made when something is first written. `clock`: seconds since the epoch."""
        self.root = root
        self._clock = clock

    @property
    def where(self) -> str:
        """The folder."""
        return str(self.root)

    def path(self, key: str) -> Path:
        """The file of a value. Its first line is ours; PEM readers pass over it."""
        return self.root / check_key(key)

    def read(self, key: str) -> bytes | None:
        """As of Storage."""
        try:
            data = self.path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise self._failure("read", key, error) from error
        header = _HEADER.match(data)
        if header is None:
            return None
        value = data[header.end() :]
        digest, until = header[1].decode(), header[2].decode()
        if hashlib.sha256(value).hexdigest() != digest:
            return None
        return None if until != "-" and float(until) <= self._clock() else value

    def write(self, key: str, value: bytes, ttl: float = 0.0) -> None:
        """As of Storage."""
        path = self.path(key)
        until = f"{self._clock() + ttl:.3f}" if ttl else "-"
        header = f"nogilserve-storage-1 sha256={hashlib.sha256(value).hexdigest()} until={until}\n"
        try:
            self._make_folder(path.parent)
            with self._new_file() as (fd, temporary):
                _write_all(fd, header.encode() + value)
                os.fsync(fd)
                temporary.replace(path)
            _sync_folder(path.parent)
        except OSError as error:
            raise self._failure("write", key, error) from error

    def remove(self, key: str) -> None:
        """As of Storage."""
        try:
            self.path(key).unlink(missing_ok=True)
        except (NotADirectoryError, IsADirectoryError):
            pass
        except OSError as error:
            raise self._failure("remove", key, error) from error

    def keys(self, prefix: str) -> list[str]:
        """As of Storage."""
        base = self.path(prefix)
        try:
            files = [Path(folder) / name for folder, _, names in os.walk(base) for name in names]
        except OSError as error:
            raise self._failure("list", prefix, error) from error
        found = []
        for file in files:
            key = file.relative_to(self.root).as_posix()
            with contextlib.suppress(ValueError):  # a file of somebody else
                if self._alive(key):
                    found.append(key)
        return sorted(found)

    def stamps(self, prefix: str) -> dict[str, Stamp]:
        """By key directly below `prefix` something that is another whenever the value has been
        written again. Much quicker than reading; damaged values are among them."""
        found = {}
        try:
            with os.scandir(self.path(prefix)) as entries:
                for entry in entries:
                    status = entry.stat()
                    key = f"{prefix}/{entry.name}"
                    found[key] = (status.st_ino, status.st_mtime_ns, status.st_size)
        except FileNotFoundError:
            return found
        except OSError as error:
            raise self._failure("list", prefix, error) from error
        return found

    def _alive(self, key: str) -> bool:
        """Whether a listed value counts; one whose time is over is removed by the way."""
        path = self.path(key)
        try:
            with path.open("rb") as file:
                header = _HEADER.match(file.readline(200))
        except OSError:
            return False
        if header is None:
            return False
        until = header[2].decode()
        if until != "-" and float(until) <= self._clock():
            with contextlib.suppress(OSError):
                path.unlink()
            return False
        return True

    # ---- locks

    def lock(self, name: str, term: float) -> "FolderLease | None":
        """As of Storage. What it adds: the lock of a process that is dead is free at once."""
        path = self.root / "locks" / check_key(name)
        try:
            self._make_folder(path.parent)
            with self._guard():
                fd = self._take(path)
                return None if fd < 0 else FolderLease(self, path, fd, term)
        except OSError as error:
            raise self._failure("lock", name, error) from error

    def _take(self, path: Path) -> int:
        """A descriptor that holds the lock, -1 if somebody else has it. Under the guard."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return self._replace(path)
        try:
            if try_lock_file(fd):
                return os.dup(fd)  # the holder has ended without letting go
            if _expiry(fd) > self._clock():
                return -1
        finally:
            os.close(fd)
        with contextlib.suppress(PermissionError):  # Windows: the holder hangs, but has it open
            return self._replace(path)
        return -1

    def _replace(self, path: Path) -> int:
        with self._new_file() as (fd, temporary):
            try_lock_file(fd)
            temporary.replace(path)
            return os.dup(fd)

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """Nobody else changes a lock meanwhile."""
        deadline = time.monotonic() + _PATIENCE
        fd = os.open(self.root / "locks" / ".guard", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not try_lock_file(fd):
                if time.monotonic() > deadline:
                    raise OSError("another process does not let go of it")
                time.sleep(0.002)
            yield
        finally:
            os.close(fd)

    # ---- files

    def _make_folder(self, folder: Path) -> None:
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for path in reversed(missing):
            path.mkdir(mode=0o700, exist_ok=True)

    @contextlib.contextmanager
    def _new_file(self) -> Iterator[tuple[int, Path]]:
        """An empty file beside all others; removed unless it was renamed."""
        folder = self.root / "tmp"
        self._make_folder(folder)
        self._sweep(folder)
        path = folder / secrets.token_hex(8)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            yield fd, path
        finally:
            os.close(fd)
            path.unlink(missing_ok=True)

    def _sweep(self, folder: Path) -> None:
        """Remove what processes have left that died while they wrote."""
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if time.time() - entry.stat().st_mtime > _ABANDONED:
                    os.unlink(entry.path)

    def _failure(self, what: str, key: str, error: OSError) -> StorageError:
        return StorageError(f"cannot {what} {key} in {self.root}: {error.strerror or error}")

    def close(self) -> None:
        """As of Storage: there is nothing to give back."""


class FolderLease:
    """Owner: who obtained it; renewing and releasing exclude each other by the guard."""

    def __init__(self, storage: FolderStorage, path: Path, fd: int, term: float) -> None:
        """`fd` is open and locked; under the guard."""
        self._storage = storage
        self._path = path
        self._fd = fd
        self._term = term
        self._note()

    def renew(self) -> bool:
        """As of Lease."""
        try:
            with self._storage._guard():  # noqa: SLF001 - one class in two parts
                if not self._ours():
                    return False
                self._note()
                return True
        except OSError as error:
            raise StorageError(f"cannot renew the lock {self._path}: {error}") from error

    def release(self) -> None:
        """As of Lease."""
        with contextlib.suppress(OSError), self._storage._guard():  # noqa: SLF001
            if self._ours():
                self._path.unlink()
            self._close()
        self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _ours(self) -> bool:
        if self._fd < 0:
            return False
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self._fd))

    def _note(self) -> None:
        """Write down who holds it, and until when."""
        until = self._storage._clock() + self._term  # noqa: SLF001
        note = {"until": round(until, 3), "host": socket.gethostname(), "pid": os.getpid()}
        os.lseek(self._fd, 0, os.SEEK_SET)
        os.ftruncate(self._fd, 0)
        _write_all(self._fd, json.dumps(note).encode())


def _expiry(fd: int) -> float:
    """When a lock ends; at once if its note cannot be read."""
    os.lseek(fd, 0, os.SEEK_SET)
    try:
        return float(json.loads(os.read(fd, 4096))["until"])
    except (ValueError, KeyError, TypeError):
        return 0.0


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _sync_folder(folder: Path) -> None:
    """Have a rename survive a power cut; what a folder cannot do (Windows) is left out."""
    if hasattr(os, "O_DIRECTORY"):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
