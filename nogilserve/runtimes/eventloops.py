"""Which event loop: asyncio's own, or uvloop where it is installed and fit for this build."""

import asyncio
import importlib
import importlib.metadata
from collections.abc import Callable

from nogilserve.apps import FREE_THREADED
from nogilserve.errors import ConfigError

__all__ = ["loop_factory"]

_FIRST_FREE_THREADED = (0, 22)
"""The first version of uvloop that leaves the GIL off."""


def loop_factory(choice: str) -> tuple[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Name and maker of the event loops for `--loop auto|asyncio|uvloop`.

    Raises ConfigError when uvloop is asked for by name and cannot be had.
    """
    if choice == "asyncio":
        return "asyncio", asyncio.new_event_loop
    problem = _problem_with_uvloop()
    if not problem:
        make: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(
            "uvloop"
        ).new_event_loop
        return "uvloop", make
    if choice == "uvloop":
        raise ConfigError(f"option --loop: uvloop {problem}")
    return "asyncio", asyncio.new_event_loop


def _problem_with_uvloop() -> str:
    """Why uvloop cannot be used, "" if it can. Nothing is imported to find out: the import
    alone would switch the GIL on for good."""
    try:
        version = importlib.metadata.version("uvloop")
    except importlib.metadata.PackageNotFoundError:
        return "is not installed (pip install uvloop)"
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if FREE_THREADED and numbers < _FIRST_FREE_THREADED:
        return f"{version} would switch the GIL on (pip install 'uvloop>=0.22')"
    return ""
