"""Where the storage is: what `--storage` means, and where the user's data folder is."""

import hashlib
import os
import sys
from pathlib import Path
from typing import Final

from nogilserve.tls.storage.contract import Storage
from nogilserve.tls.storage.folder import FolderStorage

__all__ = ["data_folder", "is_remote", "open_storage", "storage_folder"]

_REMOTE: Final = ("redis://", "rediss://", "unix://")


def data_folder() -> Path:
    """The folder of this user for data of this package; it may not be there yet.

    $XDG_DATA_HOME (XDG Base Directory Specification; absolute paths only), else ~/.local/share;
    %LOCALAPPDATA% on Windows. The home is that of the user this process runs as: a process that
    was started by root and has become somebody else must not look into root's.
    """
    given = os.environ.get("XDG_DATA_HOME", "")
    if os.path.isabs(given):
        return Path(given) / "nogilserve"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "nogilserve"
    return _home() / ".local" / "share" / "nogilserve"


def _home() -> Path:
    home = Path(os.environ.get("HOME") or "/nonexistent")
    try:
        if home.is_dir() and os.access(home, os.W_OK | os.X_OK):
            return home
    except OSError:
        pass
    import pwd

    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        return home


def is_remote(storage: str) -> bool:
    """Whether `--storage` names a server rather than a folder."""
    return storage.startswith(_REMOTE)


def storage_folder(storage: str) -> Path:
    """The local folder of a storage: itself, or where certificates of a remote one are kept as
    well, so that a server starts with them while the other is away."""
    if not storage:
        return data_folder() / "automatic-https"
    if is_remote(storage):
        mark = hashlib.sha256(storage.encode()).hexdigest()[:16]
        return data_folder() / "copies" / mark
    return Path(os.path.abspath(storage))


def open_storage(storage: str) -> Storage:
    """The storage that `--storage` names: a folder, a URL of Redis, "" for the user's data folder.

    Nothing is written or connected yet. Raises ConfigError.
    """
    if is_remote(storage):
        from nogilserve.tls.storage.remote import RedisStorage  # third-party code

        return RedisStorage(storage)
    return FolderStorage(storage_folder(storage))
