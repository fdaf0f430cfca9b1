"""How the command ends: what went wrong in a sentence, and the exit status.

0 all went well, 1 an address cannot be listened on or another failure, 2 the configuration is
wrong, 3 the application cannot be found or imported, 130 interrupted before it was imported.
"""

import os
import sys
from collections.abc import Callable

from nogilserve.errors import AppImportError, BindError, ConfigError, ControlError

__all__ = ["exit_status"]

FAILED, MISCONFIGURED, NO_APP, INTERRUPTED = 1, 2, 3, 130


def exit_status(run: Callable[[], int]) -> int:
    """That of `run`; what it raises on purpose is told."""
    try:
        return run()
    except ConfigError as error:
        _complain(str(error))
        print("Try nogilserve --help.", file=sys.stderr)
        return MISCONFIGURED
    except (BindError, ControlError) as error:
        _complain(str(error))
        return FAILED
    except AppImportError as error:
        if error.detail:
            print(error.detail, end="", file=sys.stderr)
        _complain(str(error))
        return NO_APP
    except BrokenPipeError:  # `nogilserve memory | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left goes nowhere, at the end too
        return FAILED
    except KeyboardInterrupt:  # while the application was imported; later a signal is a command
        _complain("interrupted")
        return INTERRUPTED


def _complain(message: str) -> None:
    print(f"nogilserve: {message}", file=sys.stderr)
