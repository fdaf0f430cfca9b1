"""`--reload`: noticing that a file has changed. The only place that knows watchfiles.

A change of many files, as by a branch switch, is one change: it is reported when nothing has
changed for half a second. Links are followed and looked at anew from time to time: one that points
elsewhere by now, as after a deployment, is a change too.
"""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from nogilserve.config import Config
from nogilserve.errors import ConfigError

__all__ = ["Filter", "Watcher", "folders_of"]

_QUIET_MS: Final = 500
_LONGEST_MS: Final = 5000
_LINKS_MS: Final = 2000
"""How often links are looked at."""
_ALWAYS: Final = ("*.py", "nogilserve.toml")
_NEVER: Final = frozenset(
    (
        *(".git", ".hg", ".svn", ".jj", "__pycache__", "__pypackages__", "node_modules"),
        *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox"),
        *("site-packages", "dist-packages", ".venv"),
    )
)


def folders_of(config: Config) -> list[Path]:
    """The directories to watch, in order."""
    given = config.reload_dir or (".", *filter(None, (config.app_dir,)))
    return list(dict.fromkeys(Path(os.path.abspath(name)) for name in given))


class Filter:
    """Which files matter. Immutable but for what it knows of directories.

    Owner: the thread that watches.
    """

    def __init__(self, include: Iterable[str], exclude: Iterable[str]) -> None:
        self._include = (*_ALWAYS, *include)
        self._exclude = tuple(exclude)
        self._environments: dict[str, bool] = {}

    def matters(self, path: str, root: str) -> bool:
        """Whether a change of the file is a change of the application."""
        relative = os.path.relpath(path, root)
        if not any(_matches(relative, pattern) for pattern in self._include):
            return False
        if any(_matches(relative, pattern) for pattern in self._exclude):
            return False
        folder = Path(root)
        for part in Path(relative).parts[:-1]:
            folder /= part
            if part in _NEVER or any(fnmatch(part, pattern) for pattern in self._exclude):
                return False
            if self._is_environment(str(folder)):
                return False
        return True

    def _is_environment(self, folder: str) -> bool:
        """Whether a directory is a virtual environment (PEP 405)."""
        known = self._environments.get(folder)
        if known is None:
            known = os.path.exists(os.path.join(folder, "pyvenv.cfg"))
            self._environments[folder] = known
        return known


def _matches(relative: str, pattern: str) -> bool:
    """A pattern without a slash is about the name, one with it about the path."""
    return fnmatch(relative if "/" in pattern else os.path.basename(relative), pattern)


class Watcher:
    """A thread that calls `report` with a sentence for each change. Owner: who made it."""

    def __init__(self, config: Config, report: Callable[[str], None]) -> None:
        """Raises ConfigError where watchfiles is missing or a directory is."""
        try:
            from watchfiles import watch
        except ImportError:
            raise ConfigError(
                "option --reload needs watchfiles: pip install watchfiles (or nogilserve[reload])"
            ) from None
        self._watch: Any = watch
        self._folders = folders_of(config)
        for folder in self._folders:
            if not folder.is_dir():
                raise ConfigError(f"option --reload-dir: {str(folder)!r} is not a directory")
        self._filter = Filter(config.reload_include, config.reload_exclude)
        self._report = report
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            real = {str(folder.resolve()): str(folder) for folder in self._folders}
            for changes in self._watch(
                *(path for path in real if os.path.isdir(path)),
                watch_filter=None,
                debounce=_LONGEST_MS,
                step=_QUIET_MS,
                stop_event=self._stop,
                rust_timeout=_LINKS_MS,
                yield_on_timeout=True,
                raise_interrupt=False,
                ignore_permission_denied=True,
            ):
                self._tell([path for _, path in changes], real)
                if {str(folder.resolve()) for folder in self._folders} != set(real):
                    self._report("a link points elsewhere")
                    break

    def _tell(self, paths: Sequence[str], real: dict[str, str]) -> None:
        found = []
        for path in paths:
            root = max((r for r in real if path.startswith(r + os.sep)), key=len, default="")
            if root and self._filter.matters(path, root):
                found.append(os.path.relpath(path, root))
        if found:
            first, *rest = sorted(set(found))
            more = f" and {len(rest)} more" if rest else ""
            self._report(f"{first}{more} changed")
