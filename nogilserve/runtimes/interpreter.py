"""What kind of interpreter this is."""

import _thread
from typing import Final

__all__ = ["IN_SUBINTERPRETER"]

IN_SUBINTERPRETER: Final[bool] = not _thread.daemon_threads_allowed()
"""Whether this is a subinterpreter: no daemon threads, no signals, and many extension modules
refuse to be loaded."""
