"""The torture application in a process that may have few open files and only small ones.

`SCARCE_FILES` and `SCARCE_FILE_BYTES` in the environment are the limits, set on import.
"""

import os
import resource

from .torture import app

__all__ = ["app"]


def _limit(kind: int, variable: str) -> None:
    """Lower the soft limit of this process where the variable says so."""
    value = os.environ.get(variable)
    if value is not None:
        resource.setrlimit(kind, (int(value), resource.getrlimit(kind)[1]))


_limit(resource.RLIMIT_NOFILE, "SCARCE_FILES")
_limit(resource.RLIMIT_FSIZE, "SCARCE_FILE_BYTES")
