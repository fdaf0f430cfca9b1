"""Threads of the engine."""

import contextvars
import sys
import threading
from collections.abc import Callable
from typing import Any

from nogilserve.apps.interpreter import IN_SUBINTERPRETER

__all__ = ["daemon"]


def daemon(target: Callable[[], None], name: str) -> threading.Thread:
    """A thread for the engine, not started yet."""
    # An empty context: inherited context variables are slow to read from several threads.
    # Daemon, where there may be any (not in subinterpreters): a thread that is stuck in the
    # application must not keep the process alive.
    extra: dict[str, Any] = {}
    if sys.version_info >= (3, 14):
        extra["context"] = contextvars.Context()
    return threading.Thread(target=target, name=name, daemon=not IN_SUBINTERPRETER, **extra)
