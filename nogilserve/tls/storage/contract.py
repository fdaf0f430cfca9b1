"""What a storage does. Both implementations pass the same tests.

A key is a path: segments of letters, digits, "_", ".", "-" and "@", none of which begins with a
dot, with slashes between them. A value is bytes, written whole or not at all.
"""

import re
from typing import Final, Protocol

__all__ = ["Lease", "Storage", "check_key"]

_SEGMENT: Final = r"[A-Za-z0-9_@-][A-Za-z0-9_.@-]{0,252}"
_KEY: Final = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT}){{0,7}}")


class Lease(Protocol):
    """A lock that was obtained, for a time. Owner: who obtained it; `renew` may be called by
    another thread meanwhile."""

    def renew(self) -> bool:
        """Hold it for another whole term. False: somebody else has it by now, because the term
        was over. Raises StorageError where that cannot be found out."""

    def release(self) -> None:
        """Let others have it at once. Does nothing if it is lost. Never raises: whoever waits
        gets it when the term is over."""


class Storage(Protocol):
    """Any thread, any process. Everything raises StorageError where the storage cannot be reached
    or does not work, and ValueError for a key that is none."""

    @property
    def where(self) -> str:
        """What it is, for people, without passwords."""

    def read(self, key: str) -> bytes | None:
        """The value; None if there is none, its time is over, or it was damaged."""

    def write(self, key: str, value: bytes, ttl: float = 0.0) -> None:
        """Keep a value in place of any other. `ttl`: seconds after which it is gone, 0: never."""

    def remove(self, key: str) -> None:
        """Forget a value, if there is one."""

    def keys(self, prefix: str) -> list[str]:
        """All keys below `prefix`, which is a key itself, sorted."""

    def lock(self, name: str, term: float) -> Lease | None:
        """Try to get a lock, without waiting; None while somebody else holds it.

        It ends with `term` seconds without `Lease.renew`, so that a holder that died, hangs or
        lost its connection stops nobody. `name` is a key.
        """

    def close(self) -> None:
        """Give back connections. Locks that are held end with their term."""


def check_key(key: str) -> str:
    """The key itself. Raises ValueError if it is none: names may come from clients."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no key of a storage")
    return key
