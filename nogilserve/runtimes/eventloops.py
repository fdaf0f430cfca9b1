"""Which event loop: asyncio's own, or uvloop where it is installed and fit for this build."""

import asyncio
import importlib
import importlib.metadata
import sys
from collections.abc import Callable
from functools import partial

from nogilserve.apps import FREE_THREADED
from nogilserve.apps.interpreter import IN_SUBINTERPRETER
from nogilserve.engine.loop.direct import DirectSockets
from nogilserve.engine.loop.selector import DirectSelector
from nogilserve.engine.poller import make_poller
from nogilserve.errors import ConfigError

__all__ = ["loop_factory"]

_FIRST_FREE_THREADED = (0, 22)
"""The first version of uvloop that leaves the GIL off."""


Made = tuple[asyncio.AbstractEventLoop, DirectSockets | None]
"""An event loop, and what serves our connections on it, if that is not the loop. Whoever closes the
loop closes that, too."""


def loop_factory(choice: str, poller: str) -> tuple[str, Callable[[], Made]]:
    """Name and maker of the event loops for `--loop auto|asyncio|uvloop`.

    Raises ConfigError when uvloop is asked for by name and cannot be had.
    """
    problem = "" if choice == "asyncio" else _problem_with_uvloop()
    if choice == "uvloop" and problem:
        raise ConfigError(f"option --loop: uvloop {problem}")
    if choice == "asyncio" or problem:
        return "asyncio", partial(_asyncio, poller)
    return "uvloop", partial(_uvloop, poller)


def _asyncio(poller: str) -> Made:
    if sys.platform == "win32":
        # There only the other kind of loop can start processes.
        return asyncio.new_event_loop(), None
    selector = DirectSelector(make_poller(poller))
    return asyncio.SelectorEventLoop(selector), selector


def _uvloop(poller: str) -> Made:
    loop: asyncio.AbstractEventLoop = importlib.import_module("uvloop").new_event_loop()
    sockets = DirectSockets(make_poller(poller))
    descriptor = sockets.poller.fileno()
    if descriptor < 0:  # poll, select
        return loop, None
    loop.add_reader(descriptor, sockets.turn)
    return loop, sockets


def _problem_with_uvloop() -> str:
    """Why uvloop cannot be used, "" if it can. Nothing is imported to find out: the import
    alone would switch the GIL on for good."""
    if IN_SUBINTERPRETER:
        return "cannot be loaded in subinterpreters"
    try:
        version = importlib.metadata.version("uvloop")
    except importlib.metadata.PackageNotFoundError:
        return "is not installed (pip install uvloop)"
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if FREE_THREADED and numbers < _FIRST_FREE_THREADED:
        return f"{version} would switch the GIL on (pip install 'uvloop>=0.22')"
    return ""
