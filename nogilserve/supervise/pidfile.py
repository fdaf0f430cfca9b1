"""The file that says which process to send signals to."""

import os

from nogilserve.errors import ConfigError
from nogilserve.supervise.identity import Identity

__all__ = ["PidFile"]


class PidFile:
    """Owner: the main thread. `path` "": there is none."""

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path) if path else ""
        self._written = False

    def write(self, identity: Identity) -> None:
        """Write the id of this process; readers never see half of it. Raises ConfigError for a
        file that belongs to a running process or cannot be written."""
        if not self._path:
            return
        other = self._holder()
        if other not in (None, os.getpid(), os.getppid()):
            raise ConfigError(
                f"option --pid-file: {self._path!r} belongs to process {other}, which is running; "
                "stop it, or remove the file if it is something else"
            )
        new = f"{self._path}.{os.getpid()}"
        try:
            with open(new, "w", encoding="ascii") as file:
                file.write(f"{os.getpid()}\n")
            identity.give(new)
            os.replace(new, self._path)
        except OSError as error:
            raise ConfigError(
                f"option --pid-file: {self._path!r} cannot be written: {error.strerror}"
            ) from None
        self._written = True

    def remove(self) -> None:
        """Remove it, unless it names another process by now."""
        if self._written and self._read() == os.getpid():
            try:
                os.unlink(self._path)
            except OSError:
                pass  # its directory may be root's
        self._written = False

    def _read(self) -> int | None:
        try:
            with open(self._path, encoding="ascii", errors="replace") as file:
                text = file.read(32).strip()
        except OSError:
            return None
        return int(text) if text.isdecimal() else None

    def _holder(self) -> int | None:
        """The running process that an existing file names."""
        pid = self._read()
        if not pid or os.name != "posix":
            return None
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except OSError:
            return pid  # it belongs to somebody else
        return pid
