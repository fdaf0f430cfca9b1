"""Who the processes are: user, group, umask. POSIX; elsewhere asking for a user is an error."""

import os
from typing import Any, Self

from nogilserve.errors import ConfigError
from nogilserve.values import Value

__all__ = ["Identity"]


class Identity(Value):
    """A user and group to become, None: the present ones. Immutable."""

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()
    """The other groups of the user."""

    @classmethod
    def of(cls, user: str, group: str, otherwise: int = 0) -> Self:
        """Look names or numbers up ("": no change). A number that has no entry in /etc/passwd gets
        the group `otherwise`, or that of its own number: never root's. Raises ConfigError."""
        if not user and not group:
            return cls()
        if os.name != "posix":
            raise ConfigError("options --user and --group: this system has no such users")
        import grp  # POSIX only
        import pwd

        uid = gid = None
        groups: tuple[int, ...] = ()
        if user:
            try:
                entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
            except KeyError:
                if not user.isdecimal():
                    raise ConfigError(f"option --user: there is no user {user!r}") from None
                uid = int(user)
            else:
                uid, gid = entry.pw_uid, entry.pw_gid
                groups = tuple(os.getgrouplist(entry.pw_name, gid))
        if group:
            try:
                gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
            except KeyError:
                raise ConfigError(f"option --group: there is no group {group!r}") from None
        others = groups or (() if gid is None else (gid,))
        if gid is None and os.geteuid() == 0:
            gid = otherwise or uid
        made = cls(uid, gid, others)
        made._require_right(user, group)
        return made

    def _require_right(self, user: str, group: str) -> None:
        if os.geteuid() == 0:
            return
        if self.uid not in (None, os.geteuid()):
            raise ConfigError(f"option --user: only root can become {user!r}")
        if self.gid not in (None, os.getegid()):
            raise ConfigError(f"option --group: only root can change to {group!r}")

    @property
    def changes(self) -> bool:
        """Whether there is anything to become, and the right to."""
        return (self.uid is not None or self.gid is not None) and os.geteuid() == 0

    def for_child(self) -> dict[str, Any]:
        """Arguments of subprocess.Popen."""
        if not self.changes:
            return {}
        found: dict[str, Any] = {"extra_groups": list(self.groups)}
        if self.gid is not None:
            found["group"] = self.gid
        if self.uid is not None:
            found["user"] = self.uid
        return found

    def give(self, path: str) -> None:
        """Make a file the user's."""
        if self.changes:
            os.chown(
                path, -1 if self.uid is None else self.uid, -1 if self.gid is None else self.gid
            )

    def become(self) -> None:
        """Give up what this process was. There is no way back."""
        if not self.changes:
            return
        os.setgroups(self.groups)
        if self.gid is not None:
            os.setgid(self.gid)
        if self.uid is not None:
            os.setuid(self.uid)
