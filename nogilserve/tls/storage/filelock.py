"""Locks on open files that end with the process that holds them."""

import os
import sys
from typing import Final

__all__ = ["try_lock_file"]

_FAR: Final = 1 << 30
"""The byte that is locked on Windows: locked ones cannot be read there."""

if sys.platform == "win32":
    import msvcrt

    def try_lock_file(fd: int) -> bool:
        """Lock an open file against every other descriptor of it, until `fd` is closed. False:
        somebody else has it."""
        here = os.lseek(fd, 0, os.SEEK_CUR)
        try:
            os.lseek(fd, _FAR, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(fd, here, os.SEEK_SET)
        return True

else:
    import fcntl

    def try_lock_file(fd: int) -> bool:
        """Lock an open file against every other descriptor of it, until `fd` is closed. False:
        somebody else has it."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
