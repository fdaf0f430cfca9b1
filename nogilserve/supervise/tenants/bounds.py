"""What a tenant may use: memory and processors, and as which user it runs.

A cgroup of its own is exact, and counts its child processes too; it needs a cgroup that was given
to this server (systemd: `Delegate=yes`; containers: as their root). Without one the system's limits
for single processes stand in: RLIMIT_DATA for memory, and a set of processors to stay on.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from nogilserve.config import Config
from nogilserve.errors import ConfigError
from nogilserve.supervise.identity import Identity
from nogilserve.supervise.plainlog import log

__all__ = ["Bounds", "Groups", "apply", "raise_files"]

_ROOT: Final = Path("/sys/fs/cgroup")
_PERIOD: Final = 100_000
"""Microseconds of which a share is given (cgroup v2, cpu.max)."""
_LONGEST: Final = 100
"""Characters of a tenant's name in that of its cgroup."""
_STACK: Final = 8 << 20
_MOST_FILES: Final = 65536
_NEAR: Final = 0.9
"""Share of its memory at which a tenant is started anew, before allocating fails."""


class Groups:
    """Where cgroups of tenants are made. Owner: the main thread of the master."""

    def __init__(self, folder: Path | None, own: Path | None = None) -> None:
        self._folder = folder
        self._own = own

    @classmethod
    def find(cls, *, wanted: bool, root: Path = _ROOT) -> "Groups":
        """Those of this process, if it may divide its cgroup; else none, which is logged."""
        if not wanted:
            return cls(None)
        own: Path | None = None
        try:
            lines = Path("/proc/self/cgroup").read_text().splitlines()
            name = next(line[3:] for line in lines if line.startswith("0::"))
            folder = root / name.lstrip("/")
            own = folder / f"nogilserve-{os.getpid()}"
            own.mkdir()
            # Only a cgroup without processes of its own can be divided (cgroups(7)).
            (own / "cgroup.procs").write_text(str(os.getpid()))
            (folder / "cgroup.subtree_control").write_text("+memory +cpu")
        except (OSError, StopIteration) as error:
            if own is not None:
                with contextlib.suppress(OSError):
                    (own.parent / "cgroup.procs").write_text(str(os.getpid()))
                with contextlib.suppress(OSError):
                    own.rmdir()
            log.info(
                "No cgroups for tenants (%s): memory is limited for each process by RLIMIT_DATA, "
                "processors by keeping a tenant on some of them",
                getattr(error, "strerror", None) or "there are none here",
            )
            return cls(None)
        return cls(folder, own)

    @property
    def there(self) -> bool:
        """Whether there are any."""
        return self._folder is not None

    def make(self, name: str, memory: int, cpu: float) -> Path | None:
        """A cgroup with these limits; None where there are none."""
        if self._folder is None:
            return None
        path = self._folder / f"nogilserve-{os.getpid()}-{name}"
        try:
            path.mkdir(exist_ok=True)
            (path / "memory.max").write_text(str(memory or "max"))
            quota = round(cpu * _PERIOD) if cpu else "max"
            (path / "cpu.max").write_text(f"{quota} {_PERIOD}")
        except OSError as error:
            log.error("No cgroup for %s: %s", name, error)
            return None
        return path

    def close(self) -> None:
        """Give up what was made for the server itself."""
        if self._folder is not None and self._own is not None:
            with contextlib.suppress(OSError):
                (self._folder / "cgroup.procs").write_text(str(os.getpid()))
            with contextlib.suppress(OSError):
                self._own.rmdir()


class Bounds:
    """Those of one tenant. Owner: the main thread of the master."""

    def __init__(self, groups: Groups, name: str, number: int, files: int = 0) -> None:
        """`files`: open files that it may have, 0: as many as the master."""
        self._files = files
        self._groups = groups
        self._name = f"{number}-{name.replace('/', '.')[:_LONGEST]}"
        self._number = number
        self._group: Path | None = None

    def identity(self, config: Config, directory: str) -> Identity:
        """Who its processes are. Raises ConfigError."""
        user = config.tenant_user
        if not user:
            return Identity()
        group = 0
        if user == "owner":
            found = os.stat(directory)
            if found.st_uid == 0:
                raise ConfigError(f"{directory} belongs to root: give it to a user of its own")
            user, group = str(found.st_uid), found.st_gid
        return Identity.of(user, "", group)

    def enter(self, pid: int, config: Config) -> dict[str, Any]:
        """Put a process, which waits, under the limits; what it has to do itself, see `apply`."""
        memory, cpu = config.tenant_memory, config.tenant_cpu
        asked: dict[str, Any] = {"files": self._files} if self._files else {}
        if not memory and not cpu and self._group is None:
            return asked
        # Again for each process: after a reload there may be other limits.
        group = self._groups.make(self._name, memory, cpu)
        if group is not None:
            self._group = group
            try:
                (group / "cgroup.procs").write_text(str(pid))
                return asked
            except OSError as error:
                log.error("%s cannot be put into its cgroup: %s", self._name, error)
        if memory:
            asked["data"] = memory + (config.threads + 8) * _STACK
        if cpu:
            asked["processors"] = processors(cpu, self._number)
        return asked

    def close(self) -> None:
        """Its processes are gone."""
        if self._group is not None:
            with contextlib.suppress(OSError):
                self._group.rmdir()
            self._group = None


def processors(share: float, turn: int) -> list[int]:
    """Which processors one tenant of many is kept on: as many as its share, in turn."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    there = sorted(os.sched_getaffinity(0))
    count = min(max(1, -int(-share // 1)), len(there))
    return [there[(turn * count + index) % len(there)] for index in range(count)]


def near(memory: int, other: int) -> int:
    """The resident memory at which a tenant is started anew, in bytes; 0: none."""
    mine = int(memory * _NEAR)
    return min(mine, other) if mine and other else mine or other


def raise_files() -> int:
    """Let this process have as many open files as it may: some ten for each tenant, and those of
    clients that wait. Returns how many it could have before, 0 where that is not known."""
    try:
        import resource  # POSIX only
    except ImportError:
        return 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if 0 <= soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return soft


def apply(bounds: dict[str, Any]) -> None:
    """In the tenant's own process, before anything of it is imported."""
    import resource  # POSIX only

    files: int = bounds.get("files", 0)
    if files > 0:  # what the master needs, programs that use select() cannot take
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    data: int = bounds.get("data", 0)
    if data:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard != resource.RLIM_INFINITY:
            data = min(data, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (data, data))
    kept: Sequence[int] = bounds.get("processors", ())
    if kept:
        os.sched_setaffinity(0, kept)
